"""The summary verifier beyond its cases: properties, time, references that are refused."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.rewards.kinds.summary import check, score
from qwenlong.types import Example

REFERENCE = "Profits doubled in 2019. The company hired 40 people and opened two offices."
WORDS = st.lists(
    st.sampled_from("profits doubled in two offices and sales fell".split()), max_size=20
)
PIECES = (
    "</think>", "<think>", "Therefore, the answer is ", "Answer:", "Summary:", "\\boxed{", "}",
    "\n", " ", "profits ", "offices ", "公司", "利", "ال", "#", "*", "\ud800", "\x00", "\u202e",
    "\u0301", "x", "two\n",
)  # fmt: skip


def example(*answers: str) -> Example:
    return Example("1", "test", "Summarise.", (), answers, kind="summary")


def value(summary: str, *answers: str) -> float:
    return score(example(*answers), f"I think.</think>\n{summary}").value


def by_table(said: list[str], reference: list[str]) -> float:
    """ROUGE-L F1 by the textbook's table."""
    row = [0] * (len(reference) + 1)
    for word in said:
        diagonal = 0
        for at, other in enumerate(reference, start=1):
            above = row[at]
            row[at] = diagonal + 1 if word == other else max(above, row[at - 1])
            diagonal = above
    return 2 * row[-1] / (len(said) + len(reference))


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=80))
def test_any_response_gets_one_verdict(response: str) -> None:
    for text in (response, f"</think>{response}"):
        verdict = score(example(REFERENCE, "公司利润翻倍。"), text)
        assert verdict == score(example(REFERENCE, "公司利润翻倍。"), text)
        assert 0.0 <= verdict.value <= 1.0
        assert all(isinstance(value, str) for value in verdict.breakdown.values())


@settings(max_examples=300)
@given(WORDS.filter(bool), WORDS.filter(bool))
def test_equals_the_textbook(said: list[str], reference: list[str]) -> None:
    got = value(" ".join(said), " ".join(reference))
    assert got == pytest.approx(by_table(said, reference))


@settings(max_examples=100)
@given(WORDS, st.integers(1, 30))
def test_saying_it_again_never_gains(more: list[str], times: int) -> None:
    assert value(" ".join([REFERENCE, *more]), REFERENCE) <= 1.0
    repeated = value(" ".join([REFERENCE] * (times + 1)), REFERENCE)
    assert repeated <= 0.67
    assert repeated < value(" ".join([REFERENCE] * times), REFERENCE) or repeated == 0.0


@pytest.mark.parametrize(
    "piece", [*PIECES, "Answer: x\n", "Here is a summary", "Summary:\n", "a b ", ". "]
)
def test_long_responses_are_quick(piece: str) -> None:
    for prefix in ["", "Therefore, the answer is ", "\\boxed{", "Summary:\n"]:
        response = "</think>" + prefix + piece * (200_000 // len(piece)) + "}"
        start = time.thread_time()
        score(example(REFERENCE), response)
        assert time.thread_time() - start < 0.5


@pytest.mark.parametrize("characters", [39_000, 200_000])
def test_the_longest_reference_is_quick(characters: int) -> None:
    draw = random.Random(1)
    text = "".join(chr(0x4E00 + draw.randrange(3000)) for _ in range(characters))
    reference = "".join(chr(0x4E00 + draw.randrange(3000)) for _ in range(9_900))
    check(example(reference))
    start = time.thread_time()
    value(text, reference)
    assert time.thread_time() - start < 0.5


def test_breakdown_says_why() -> None:
    verdict = score(example("Sales fell.", REFERENCE), "</think>Profits doubled in 2019.")
    assert verdict.verifier == "summary"
    assert verdict.breakdown == {
        "extracted": "Profits doubled in 2019.",
        "rule": "all that follows the thinking",
        "compared_with": f"Sales fell. | {REFERENCE}",
        "precision": "1",
        "recall": "0.3077",
        "reference": "2",
        "why": "partly: ROUGE-L F1 0.4706 with reference 2 of 2",
    }
    long = score(example(REFERENCE), "</think>" + "word " * 1000)
    assert long.breakdown["why"] == "wrong: 4999 characters, where the references allow 804"
    assert "never closed" in score(example(REFERENCE), REFERENCE).breakdown["why"]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ((), "must be texts with words"),
        (("...",), "must be texts with words"),
        (("Sales fell.", ""), "must be texts with words"),
        (("word " * 11_000,), "take too long"),
        (tuple(f"word{n} " * 4000 for n in range(8)), "take too long"),
    ],
)
def test_unreadable_references(answers: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check(example(*answers))
