"""Every file of cases/ with the verifier of its kind: each response is worth what is written."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qwenlong.types import Example

FILES = sorted((Path(__file__).parent / "cases").glob("*.jsonl"))
LEAST = 60
"""Cases that a verifier must have; half of them or more are worth less than a right answer."""

MODULES = {"list": "listing", "format": "form"}
"""Kinds whose verifier is not named like them: Python has those names."""

SAYS = ("right:", "partly:", "wrong:", "no answer:")


def module(file: Path) -> ModuleType:
    name = f"qwenlong.rewards.{MODULES.get(file.stem, file.stem)}"
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not written yet")
    return importlib.import_module(name)


def lines(file: Path) -> list[tuple[int, str]]:
    """The numbered lines of a file; JSON is read later, so that a bad line fails by itself."""
    text = file.read_text(encoding="utf-8")
    return [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]


def name_of(line: str) -> str:
    try:
        return str(json.loads(line)["why"])
    except (ValueError, KeyError, TypeError):
        return "unreadable"


def example_of(case: dict[str, Any], name: str) -> Example:
    metadata = dict(case.get("metadata", {}))
    metadata |= {key: case[key] for key in ("options", "gold_citations") if key in case}
    answers = tuple(case["answers"])
    return Example(name, "cases", case["question"], (), answers, metadata=metadata)


CASES = [
    pytest.param(file, line, id=f"{file.stem}:{number}:{name_of(line)}")
    for file in FILES
    for number, line in lines(file)
]


@pytest.mark.parametrize(("file", "line"), CASES)
def test_case(file: Path, line: str) -> None:
    verifier = module(file)
    case = json.loads(line)
    example = example_of(case, file.stem)
    getattr(verifier, "check", lambda _: None)(example)
    verdict = verifier.score(example, case["response"], case.get("thinking", True))
    assert verdict.value == pytest.approx(case["value"], abs=1e-3), dict(verdict.breakdown)
    assert verdict.verifier == verifier.NAME == file.stem
    assert verdict.breakdown["why"].startswith(SAYS)
    assert {"extracted", "rule", "compared_with"} <= verdict.breakdown.keys()
    assert all(isinstance(value, str) for value in verdict.breakdown.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_enough_cases_and_half_of_them_refused(file: Path) -> None:
    module(file)
    cases = [json.loads(line) for _, line in lines(file)]
    refused = sum(case["value"] < 1 for case in cases)
    assert len(cases) >= LEAST
    assert 2 * refused >= len(cases)
    assert len({json.dumps(case, sort_keys=True) for case in cases}) == len(cases)
