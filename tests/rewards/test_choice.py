"""The choice verifier beyond its cases: properties, time, golds and options that are refused."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.rewards.kinds.choice import check, score
from qwenlong.types import Example

CITIES = ("Paris", "London", "Greater London", "Apple")
PIECES = (
    "</think>", "<think>", "Therefore, the answer is ", "Answer: ", "\\boxed{", "}", "\n", " ",
    "B", "A", "b", "(", ")", ".", ":", ",", " and ", "London", "Paris", "option ", "选项", "项",
    "不是", "because ", "not ", "*", "$", "\\text{", "`", "\ud800", "\x00", "\u202e", "\u0301",
    "Ｂ", "[", "{",
)  # fmt: skip


def example(*answers: str, options: Any = CITIES) -> Example:
    metadata = {} if options is None else {"options": options}
    return Example("1", "test", "Which?", (), answers, kind="choice", metadata=metadata)


def said(answer: str, *answers: str, options: Any = CITIES) -> float:
    response = f"I think.</think>\nTherefore, the answer is {answer}"
    return score(example(*answers, options=options), response).value


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=80))
def test_any_response_gets_one_verdict(response: str) -> None:
    for text in (response, f"</think>Therefore, the answer is {response}"):
        for options in (CITIES, {"a": "x", "b": "y"}, None):
            gold = example("B", options=options)
            verdict = score(gold, text)
            assert verdict == score(gold, text)
            assert verdict.value in (0.0, 1.0)
            assert all(isinstance(value, str) for value in verdict.breakdown.values())


@settings(max_examples=300)
@given(st.text(max_size=40))
def test_one_answer_is_right_for_one_option_at_most(answer: str) -> None:
    values = [said(answer, letter) for letter in "ABCD"]
    assert sum(values) <= 1


@pytest.mark.parametrize("piece", [*PIECES, "A or ", "(A)(B)", "London ", "A. Paris\n", "{}", "选"])
def test_long_responses_are_quick(piece: str) -> None:
    for prefix in ["", "Therefore, the answer is ", "\\boxed{", "Answer: B"]:
        response = "</think>" + prefix + piece * (200_000 // len(piece)) + "}"
        start = time.thread_time()
        score(example("B"), response)
        assert time.thread_time() - start < 0.5


@pytest.mark.parametrize(
    "piece", ["A ", "(", "\\text{", "B. ", "London, ", "the ", "not ", "选", "\u0301"]
)
def test_answers_just_within_the_bound_are_quick(piece: str) -> None:
    response = "</think>\\boxed{" + piece * (950 // len(piece)) + "}"
    start = time.thread_time()
    score(example("B"), response)
    assert time.thread_time() - start < 0.5


def test_breakdown_says_why() -> None:
    right = score(example("B"), "</think>Answer: B. London")
    assert right.verifier == "choice"
    assert right.breakdown == {
        "extracted": "B. London",
        "rule": "Answer: …",
        "compared_with": "B: london",
        "claimed": "B",
        "why": "right: option B is claimed, by its letter and text",
    }
    wrong = score(example("B"), "</think>Answer: A and B").breakdown
    assert wrong["why"] == "wrong: two options are claimed: A and B"
    other = score(example("B"), "</think>Answer: Paris").breakdown
    assert other["why"] == "wrong: option A is claimed, by its text, not option B"
    assert "never closed" in score(example("B"), "Answer: B").breakdown["why"]


@pytest.mark.parametrize("gold", ["B", "(B)", "b", "B. London", "London", "Option B"])
def test_golds_in_every_form(gold: str) -> None:
    check(example(gold))
    assert said("B", gold) == 1.0
    assert said("London", gold) == 1.0
    assert said("A", gold) == 0.0


@pytest.mark.parametrize(
    ("answers", "options"),
    [
        (("E",), CITIES),
        (("Rome",), CITIES),
        (("A", "B"), CITIES),
        (("A and B",), CITIES),
        ((), CITIES),
        (("London",), None),
    ],
)
def test_unreadable_golds(answers: tuple[str, ...], options: Any) -> None:
    with pytest.raises(ValueError, match=r"^answers=.*must name exactly one"):
        check(example(*answers, options=options))


@pytest.mark.parametrize(
    "options", ["Apple", (), ("London",), ("London", "London"), (1, 2), {"B": 3}, ("A", " ")]
)
def test_unreadable_options(options: Any) -> None:
    with pytest.raises(ValueError, match=r"^options="):
        check(example("B", options=options))


def test_too_many_options_without_labels() -> None:
    with pytest.raises(ValueError, match="27 of them"):
        check(example("A", options=[f"text {n}" for n in range(27)]))


def test_letters_without_options() -> None:
    assert said("B", "B", options=None) == 1.0
    assert said("(b)", "B", options=None) == 1.0
    assert said("B. London", "B", options=None) == 1.0
    assert said("A company", "A", options=None) == 0.0
    assert said("B or C", "B", options=None) == 0.0


def test_two_options_with_one_text_go_by_letter_only() -> None:
    twice = ("London", "London", "Paris")
    assert said("B", "B", options=twice) == 1.0
    assert said("London", "B", options=twice) == 0.0


def test_labels_that_are_part_of_the_options_are_taken_off() -> None:
    for options in (
        ["A. x y", "B. z"],
        ["A) x y", "B) z"],
        ["A: x y", "B: z"],
        ["(A) x y", "(B) z"],
    ):
        assert said("x y", "A", options=options) == 1.0
        assert said("B. z", "A", options=options) == 0.0
