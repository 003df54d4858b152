"""The citation verifier beyond its cases: properties, time, other verifiers of the answer."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.rewards.kinds.citation import check, score
from qwenlong.types import Example

PIECES = (
    "</think>", "<think>", "Therefore, the answer is ", "Answer: ", "\\boxed{", "}", "\n", " ",
    "Paris", "[1]", "[3]", "[1, 3]", "[2-9]", "[1-999999]", "【1】", "(Passage 1)", "Passages ",
    "1, ", "Sources: ", "第1段", "文档3", "[", "]", "(", ")", "^", "†", "\ud800", "\x00", "\u202e",
    "\u0301", "٣", "²",
)  # fmt: skip


def example(*answers: str, cited: Any = (1, 3), **metadata: Any) -> Example:
    metadata = {"gold_citations": cited, **metadata}
    return Example("1", "test", "Which?", (), answers, kind="citation", metadata=metadata)


def said(final: str, **metadata: Any) -> float:
    return score(example("Paris", **metadata), f"I think.</think>\n{final}").value


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=80))
def test_any_response_gets_one_verdict(response: str) -> None:
    for text in (response, f"</think>Therefore, the answer is Paris {response}"):
        for gold in (example("Paris"), example("Paris", cited=["P1", "doc-a"])):
            verdict = score(gold, text)
            assert verdict == score(gold, text)
            assert 0.0 <= verdict.value <= 1.0
            assert all(isinstance(value, str) for value in verdict.breakdown.values())


@settings(max_examples=200)
@given(st.sets(st.integers(1, 9), max_size=9), st.sampled_from([0.5, 1.0, 2.0]))
def test_f_beta_is_what_it_is_called(cited: set[int], beta: float) -> None:
    marks = "".join(f"[{number}]" for number in sorted(cited))
    value = said(f"Therefore, the answer is Paris {marks}.", beta=beta)
    right = len(cited & {1, 3})
    # F-beta by its other formula, from counts.
    weight = beta**2
    wanted = (1 + weight) * right / (weight * 2 + len(cited)) if cited else 0.0
    assert value == pytest.approx(wanted)
    assert said(f"Therefore, the answer is London {marks}.", beta=beta) == 0.0


@pytest.mark.parametrize(
    "piece", [*PIECES, "[1,", "Passage 1 and ", "\nSources: 1, ", "(see ", "[a]", " ."]
)
@pytest.mark.parametrize("length", [29_000, 200_000])
def test_long_responses_are_quick(piece: str, length: int) -> None:
    for prefix in ["", "Therefore, the answer is Paris ", "Sources: "]:
        response = "</think>" + prefix + piece * (length // len(piece))
        for gold in (example("Paris"), example("Paris", cited=["P1"])):
            start = time.thread_time()
            score(gold, response)
            assert time.thread_time() - start < 0.5


def test_breakdown_says_why() -> None:
    verdict = score(example("Paris"), "</think>Answer: Paris [3][10][2]")
    assert verdict.verifier == "citation"
    assert verdict.value == pytest.approx(0.4)
    assert verdict.breakdown["extracted"].startswith("Paris")
    assert verdict.breakdown["answer_value"] == "1"
    assert verdict.breakdown["answer_verifier"] == "extractive"
    assert verdict.breakdown["cited"] == "2, 3, 10"
    assert verdict.breakdown["gold_citations"] == "1, 3"
    assert verdict.breakdown["f_beta"] == "0.4"
    why = "partly: the answer is right, 1 of 2 gold passages among 3 cited; F1 0.4"
    assert verdict.breakdown["why"] == why
    wrong = score(example("Paris"), "</think>Answer: London [1][3]").breakdown
    assert wrong["why"].startswith("wrong: citations count for nothing: wrong: 'london'")
    assert wrong["f_beta"] == "1"


def test_another_verifier_may_judge_the_answer() -> None:
    response = "</think>Answer: B. Paris [1][3]"
    assert score(example("B", options=["Rome", "Paris"]), response).value == 0.0
    verdict = score(example("B", options=["Rome", "Paris"], answer_kind="choice"), response)
    assert verdict.value == 1.0
    assert verdict.breakdown["answer_verifier"] == "choice"
    cities = example("Paris", "Rome", answer_kind="list")
    assert score(cities, "</think>Answer: Paris, Rome [1][3]").value == 1.0
    # Half an answer is not right.
    assert score(cities, "</think>Answer: Paris [1][3]").value == 0.0
    revenue = example("-32.4%", answer_kind="numeric")
    assert score(revenue, "</think>Answer: -32.4 % [1, 3]").value == 1.0
    assert score(revenue, "</think>Answer: 32.4 % [1, 3]").value == 0.0


def test_the_answers_kind_and_gold_are_checked() -> None:
    with pytest.raises(
        ValueError, match=r"answer_kind='summary'.*must be one of choice, date, extractive"
    ):
        check(example("Paris", answer_kind="summary"))
    with pytest.raises(ValueError, match="must be a number"):
        check(example("Paris", answer_kind="numeric"))


@pytest.mark.parametrize(
    "cited", [[1, 3], ["1", "3"], ["[1]", "[3]"], ["Passage 1", "Doc 3"], (1, 3)]
)
def test_gold_citations_in_every_form(cited: Any) -> None:
    check(example("Paris", cited=cited))
    assert said("Therefore, the answer is Paris [1][3].", cited=cited) == 1.0
    assert said("Therefore, the answer is Paris [1][2].", cited=cited) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("answers", "metadata", "told"),
    [
        (("Paris",), {"cited": None}, "must be a list of passage numbers"),
        (("Paris",), {"cited": []}, "must be a list of passage numbers"),
        (("Paris",), {"cited": "1, 3"}, "must be a list of passage numbers"),
        (("Paris",), {"beta": 0}, "beta=0: .*above 0"),
        (("Paris",), {"beta": "1"}, "beta='1': .*above 0"),
        (("Paris",), {"beta": float("nan")}, "beta=nan: .*above 0"),
        ((), {}, "none of them blank"),
    ],
)
def test_unreadable_golds(answers: tuple[str, ...], metadata: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check(example(*answers, **metadata))
