"""The order verifier beyond its cases: properties, time, golds that are refused."""

from __future__ import annotations

import time
from itertools import combinations
from math import log2
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.rewards.kinds.order import check, score
from qwenlong.types import Example

PIECES = (
    "</think>", "<think>", "Therefore, the answer is ", "Answer:", "\\boxed{", "}", "\n", "\n1. ",
    " ", "3", "1", "2", "4", " > ", "<", "→", ",", ", ", ";", "then ", "first ", "Passage ", "[",
    "]", "第", "段", "not ", "③", "\u241e", "\ud800", "\x00", "\u202e", "\u0301", "(", ")",
)  # fmt: skip


def example(*answers: str, **metadata: Any) -> Example:
    return Example("1", "test", "Which?", (), answers, kind="order", metadata=metadata)


def said(answer: str, *answers: str, **metadata: Any) -> float:
    response = f"I think.</think>\nTherefore, the answer is {answer}"
    return score(example(*answers, **metadata), response).value


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=80))
def test_any_response_gets_one_verdict(response: str) -> None:
    for text in (response, f"</think>Therefore, the answer is {response}"):
        for gold in (example("3", "1", "2"), example("A", "B", options=["x, y", "z"])):
            verdict = score(gold, text)
            assert verdict == score(gold, text)
            assert 0.0 <= verdict.value <= 1.0
            assert all(isinstance(value, str) for value in verdict.breakdown.values())


@settings(max_examples=200)
@given(st.permutations(range(6)))
def test_metrics_are_what_they_are_called(places: list[int]) -> None:
    gold = [f"event {place}" for place in range(6)]
    answer = " > ".join(gold[place] for place in places)
    pairs = [first < second for first, second in combinations(places, 2)]
    assert said(answer, *gold) == pytest.approx(sum(pairs) / len(pairs))
    gains = sum((6 - place) / log2(at + 2) for at, place in enumerate(places))
    best = sum((6 - place) / log2(place + 2) for place in range(6))
    assert said(answer, *gold, metric="ndcg") == pytest.approx(gains / best)
    assert said(answer, *gold, metric="exact") == float(places == sorted(places))


@settings(max_examples=200)
@given(st.lists(st.sampled_from("ABCDE"), max_size=7))
def test_only_permutations_gain(items: list[str]) -> None:
    for metric in ("pairwise", "ndcg", "exact"):
        value = said(" > ".join(items), "B", "D", "A", "C", metric=metric)
        if sorted(items) != ["A", "B", "C", "D"]:
            assert value == 0.0
        assert (value == 1.0) == (items == ["B", "D", "A", "C"])


@pytest.mark.parametrize(
    "piece", [*PIECES, "3 > ", "Passage 3, ", "\n- 3", "\nAnswer:\n", ">", "最后", ", then "]
)
def test_long_responses_are_quick(piece: str) -> None:
    for prefix in ["", "Therefore, the answer is ", "\\boxed{", "Answer:\n"]:
        response = "</think>" + prefix + piece * (200_000 // len(piece)) + "}"
        start = time.thread_time()
        score(example("3", "1", "2"), response)
        assert time.thread_time() - start < 0.5


def test_many_items_are_quick() -> None:
    gold = tuple(f"event {n}" for n in range(500))
    start = time.thread_time()
    assert said(" > ".join(reversed(gold)), *gold) == 0.0
    assert said(" > ".join(gold), *gold) == 1.0
    assert time.thread_time() - start < 0.5


def test_breakdown_says_why() -> None:
    verdict = score(example("3", "1", "2"), "</think>Answer: 1 > 3 > 2")
    assert verdict.verifier == "order"
    assert verdict.breakdown == {
        "extracted": "1 > 3 > 2",
        "rule": "Answer: …",
        "compared_with": "3 > 1 > 2",
        "pairwise": "0.6667",
        "ndcg": "0.9225",
        "exact": "0",
        "why": "partly: not the gold order; pairwise 0.6667",
    }
    missing = score(example("3", "1", "2"), "</think>Answer: 3 > 1")
    assert missing.breakdown["why"] == "wrong: missing: 2"
    repeated = score(example("3", "1", "2"), "</think>Answer: 3 > 1 > 1")
    assert repeated.breakdown["why"] == "wrong: an item is repeated"


@pytest.mark.parametrize("gold", ["C > A > B", "C, A, B", "[C, A, B]", "CAB", "C A B", "C → A → B"])
def test_the_gold_order_as_one_text(gold: str) -> None:
    for metadata in ({}, {"options": ["x", "y", "z"]}):
        check(example(gold, **metadata))
        assert said("C > A > B", gold, **metadata) == 1.0
        assert said("C > B > A", gold, **metadata) < 1.0


@pytest.mark.parametrize(
    ("answers", "metadata", "told"),
    [
        ((), {}, "at least two different items"),
        (("Paris",), {}, "at least two different items"),
        (("a", "a"), {}, "at least two different items"),
        (("a", "b"), {"metric": "tau"}, "metric='tau': .*one of pairwise, ndcg, exact"),
        (("A", "E"), {"options": ["x", "y"]}, "each of them an option"),
        (("A > E",), {"options": ["x", "y"]}, "each of them an option"),
    ],
)
def test_unreadable_golds(answers: tuple[str, ...], metadata: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check(example(*answers, **metadata))
