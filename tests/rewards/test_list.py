"""The list verifier beyond its cases: properties, time, metadata that is refused."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.rewards.kinds.list import check, score
from qwenlong.types import Example

CITIES = ("Paris", "London", "Rome")
PIECES = (
    "</think>", "<think>", "Therefore, the answer is ", "Answer:", "\\boxed{", "}", "\n", "\n- ",
    " ", "Paris", "London", "Rome", "Oslo", ",", ", ", ";", " and ", "、", "和", " و", "[", "]",
    '"', "1. ", "not ", "respectively", "*", "\u241e", "\ud800", "\x00", "\u202e", "\u0301",
    "1,000", "{", "(",
)  # fmt: skip
RESPONSES = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=80)


def example(*answers: str, **metadata: Any) -> Example:
    return Example("1", "test", "Which?", (), answers, kind="list", metadata=metadata)


def said(answer: str, *answers: str, **metadata: Any) -> float:
    response = f"I think.</think>\nTherefore, the answer is {answer}"
    return score(example(*answers, **metadata), response).value


@settings(max_examples=300)
@given(RESPONSES)
def test_any_response_gets_one_verdict(response: str) -> None:
    for text in (response, f"</think>Therefore, the answer is {response}"):
        for gold in (example(*CITIES), example("1,000", "a, b and c", ordered=True)):
            verdict = score(gold, text)
            assert verdict == score(gold, text)
            assert 0.0 <= verdict.value <= 1.0
            assert all(isinstance(value, str) for value in verdict.breakdown.values())


ITEMS = st.lists(
    st.sampled_from(["Paris", "London", "Rome", "Oslo", "Bern"]), min_size=1, max_size=8
)


@settings(max_examples=200)
@given(ITEMS, st.sampled_from(["Paris", "Oslo", "Vienna", "Paris London", "x" * 300]))
def test_more_than_the_gold_items_never_gains(items: list[str], more: str) -> None:
    answer = ", ".join([*CITIES, *items])
    for metric in ("f1", "iou"):
        value = said(answer, *CITIES, metric=metric)
        assert value < 1.0
        assert said(f"{answer}, {more}", *CITIES, metric=metric) < value


@settings(max_examples=200)
@given(ITEMS)
def test_metrics_are_what_they_are_called(items: list[str]) -> None:
    right = len(set(items) & set(CITIES))
    f1 = said(", ".join(items), *CITIES)
    iou = said(", ".join(items), *CITIES, metric="iou")
    assert f1 == pytest.approx(2 * right / (len(items) + 3))
    assert iou == pytest.approx(right / (len(items) + 3 - right))
    assert said(", ".join(items), *CITIES, metric="exact") == float(sorted(items) == sorted(CITIES))


@pytest.mark.parametrize(
    "piece", [*PIECES, "Paris, ", "a,", "\n- x", "\nAnswer:\n", "1,", "[[", '"a",', "和a"]
)
def test_long_responses_are_quick(piece: str) -> None:
    for prefix in ["", "Therefore, the answer is ", "\\boxed{", "Answer:\n"]:
        response = "</think>" + prefix + piece * (200_000 // len(piece)) + "}"
        start = time.thread_time()
        score(example(*CITIES, "a, b, c, d and e"), response)
        assert time.thread_time() - start < 0.5


@pytest.mark.parametrize("piece", ["a, ", "a and ", "item 1, part 2; ", "1. ", "\n- a", "和a"])
def test_answers_just_within_the_bound_are_quick(piece: str) -> None:
    golds = tuple(f"item {n}, part {n} and a" for n in range(50))
    response = "</think>\\boxed{" + piece * (8000 // len(piece)) + "}"
    start = time.thread_time()
    score(example(*golds), response)
    assert time.thread_time() - start < 0.5


def test_breakdown_says_why() -> None:
    verdict = score(example(*CITIES), "</think>Answer: Paris, Rome and Oslo")
    assert verdict.verifier == "list"
    assert verdict.value == pytest.approx(2 / 3)
    assert verdict.breakdown == {
        "extracted": "Paris, Rome and Oslo",
        "rule": "Answer: …",
        "compared_with": "Paris | London | Rome",
        "f1": "0.6667",
        "iou": "0.5",
        "not_asked_for": "Oslo",
        "why": "partly: 2 of 3 gold items among 3 claimed; f1 0.6667",
    }
    lines = score(example(*CITIES), "</think>**Answer:**\n\n- Paris\n- London\n- Rome")
    assert lines.breakdown["extracted"] == "Paris; London; Rome"
    assert lines.breakdown["why"] == "right: 3 of 3 gold items among 3 claimed; f1 1"


@pytest.mark.parametrize(
    ("answers", "metadata", "told"),
    [
        ((), {}, "at least one item"),
        (("", " "), {}, "at least one item"),
        (("a",), {"metric": "recall"}, "metric='recall': .*one of f1, iou, exact"),
        (("a",), {"ordered": "yes"}, "ordered='yes': .*true or false"),
        (("a",), {"aliases": {"b": ["c"]}}, "must map gold items"),
        (("a",), {"aliases": ["b"]}, "must map gold items"),
    ],
)
def test_unreadable_golds(answers: tuple[str, ...], metadata: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check(example(*answers, **metadata))


def test_an_empty_gold_item_is_left_out() -> None:
    check(example("Paris", ""))
    assert said("Paris", "Paris", "") == 1.0


def test_aliases_count_once() -> None:
    aliases = {"Rome": ["Roma", "the Eternal City"]}
    assert said("Paris, Roma", "Paris", "Rome", aliases=aliases) == 1.0
    assert said("Rome, Roma", "Paris", "Rome", aliases=aliases) == 0.5
