"""Every file of cases/ with the verifier of its kind: each response is worth what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwenlong.rewards.registry import find, kinds
from qwenlong.types import Example

KINDS = "extractive numeric choice yes_no list order date summary citation format".split()
CASES = Path(__file__).parent / "cases"
FILES = sorted(CASES.glob("*.jsonl"))
LEAST = 60
"""Cases that a verifier must have; half of them or more are worth less than a right answer."""

SAYS = ("right:", "partly:", "wrong:", "no answer:")


def lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a file with their numbers."""
    text = file.read_text(encoding="utf-8")
    return [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]


def example_of(case: dict[str, Any], name: str) -> Example:
    metadata = dict(case.get("metadata", {}))
    metadata |= {key: case[key] for key in ("options", "gold_citations") if key in case}
    answers = tuple(case["answers"])
    return Example(name, "cases", case["question"], (), answers, metadata=metadata)


def test_every_kind_has_its_file_and_its_verifier() -> None:
    assert {file.stem for file in FILES} == set(KINDS)
    assert {kind for kind in kinds() if not kind.startswith("official_")} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_cases(kind: str) -> None:
    wrong = []
    file = CASES / f"{kind}.jsonl"
    for number, line in lines(file):
        case = json.loads(line)
        example = example_of(case, kind)
        find(kind).check(example)
        verdict = find(kind).score(example, case["response"], case.get("thinking", True))
        if verdict.value != pytest.approx(case["value"], abs=1e-3):
            wrong.append(f"{file}:{number}: {case['why']}: {dict(verdict.breakdown)}")
        assert verdict.verifier == kind
        assert verdict.breakdown["why"].startswith(SAYS)
        assert {"extracted", "rule", "compared_with"} <= verdict.breakdown.keys()
        assert all(isinstance(value, str) for value in verdict.breakdown.values())
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_enough_cases_and_half_of_them_refused(file: Path) -> None:
    cases = [json.loads(line) for _, line in lines(file)]
    refused = sum(case["value"] < 1 for case in cases)
    assert len(cases) >= LEAST
    assert 2 * refused >= len(cases)
    assert len({json.dumps(case, sort_keys=True) for case in cases}) == len(cases)
