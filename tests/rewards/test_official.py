"""The compatible mode does what ../shared/recipes.md says of the official rules, case by case."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenlong.rewards import registry
from qwenlong.rewards.kinds import official_docmath, official_docqa
from qwenlong.types import Example, InputError

DOCQA, DOCMATH, CHOICE = "official_docqa", "official_docmath", "official_choice"
PAPER = "Therefore, the answer is {}."
MULTIPLE_CHOICE = "The correct answer is {}."


def example(kind: str, *golds: str) -> Example:
    return Example("e1", "test", "Which?", (), golds, kind=kind)


def value(kind: str, said: str, *golds: str) -> float:
    template = MULTIPLE_CHOICE if kind == CHOICE else PAPER
    return registry.score(
        example(kind, *golds), f"<think>Hm.</think>\n{template.format(said)}"
    ).value


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [
        # An answer that becomes empty is contained in everything.
        ("The", "Paris", 1),
        ("a", "Paris", 1),
        ("!", "Paris", 1),
        # Containment in either direction.
        ("is", "Paris", 1),
        ("no", "North Korea", 1),
        ("not Paris", "Paris", 1),
        ("London, Berlin, Rome or Paris", "Paris", 1),
        ("Paris", "The Paris of the North", 1),
        ("PARIS", "paris", 1),
        ("the Seine!", "Seine", 1),
        ("P.a.r.i.s", "Paris", 1),
        ("**Paris**", "Paris", 1),
        ("Paris.\n\nBut it may be London", "London", 1),
        ("Paris<｜end▁of▁sentence｜>", "Paris", 1),
        ("London", "Paris", 0),
        ("Pariis", "Paris", 0),
        ("París", "Paris", 0),
        (".", "Paris", 0),
        ("", "Paris", 0),
    ],
)
def test_docqa(said: str, gold: str, right: int) -> None:
    assert value(DOCQA, said, gold) == right
    assert value(DOCQA, said, PAPER.format(gold)) == right
    assert value(DOCQA, said, "Zyx", gold) == right


def test_docqa_reads_the_last_answer_and_knows_capitals() -> None:
    gold = example(DOCQA, "Paris")
    two = "</think>the answer is London. No: the answer is Paris."
    assert official_docqa.score(gold, two).value == 1.0
    assert official_docqa.score(gold, "</think>The answer is Paris.").value == 0.0
    assert official_docqa.score(gold, "</think>Answer: Paris").value == 0.0
    assert official_docqa.score(gold, "</think>\\boxed{Paris}").value == 0.0


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [
        ("32.4", "32.4", 1),
        # Any power of ten.
        ("324", "32.4", 1),
        ("0.000324", "32.4", 1),
        ("3240000", "32.4", 1),
        # The sign does not count, ...
        ("-32.4", "32.4", 1),
        ("32.4", "-32.4", 1),
        # ... except where only the tolerance would do.
        ("-32.41", "32.4", 0),
        # 0.15 %.
        ("32.44", "32.4", 1),
        ("32.45", "32.4", 0),
        ("32.36", "32.4", 1),
        # The same tolerance at a hundred, a thousand, a hundred thousand times the size.
        ("3244", "32.4", 1),
        ("32440", "32.4", 1),
        ("3244000", "32.4", 1),
        ("324400", "32.4", 0),
        # Rounded up to thousandths.
        ("0.0001", "0.0009", 1),
        ("0.0001", "0.0011", 0),
        # The first number found wins.
        ("32.4, no: the answer is 5", "32.4", 1),
        ("5, no: the answer is 32.4", "32.4", 0),
        ("32.4 or 5 or 7", "32.4", 1),
        ("32.4 million", "32.4", 1),
        # The symbols that may stand before it, in the official order only.
        ("$32.4", "32.4", 1),
        ("$-32.4", "32.4", 1),
        ("=32.4", "32.4", 1),
        ("≈32.4", "32.4", 1),
        ("€32.4", "32.4", 1),
        ("**32.4**", "32.4", 1),
        ("1,234.5", "1234.5", 1),
        ("12,34,5", "12345", 1),
        ("32.4%", "32.4", 1),
        # Refused, though plainly right.
        ("(32.4)", "32.4", 0),
        ("-$32.4", "32.4", 0),
        ("approximately 32.4", "32.4", 0),
        ("\\boxed{32.4}", "32.4", 0),
        ("about 32.4", "32.4", 0),
        ("+32.4", "32.4", 0),
        ("thirty-two", "32", 0),
        # What Python would not read is 0, on either side.
        ("0", "1.2.3", 1),
        ("5.6.7", "1.2.3", 1),
        ("007", "0", 1),
        ("0", "007", 1),
        ("=,", "0", 1),
        ("32.4", "1.2.3", 0),
        # A point that comes first is lost.
        (".5", "5", 1),
        (".5", "0.7", 0),
        # Equal at 0.
        ("0", "0", 1),
        ("0.0", "0", 1),
        ("0.1", "0", 0),
        # Beyond floating point.
        ("9" * 400, "32.4", 0),
        ("9" * 400 + ".5", "32.4", 0),
        ("9" * 5000, "0", 1),
    ],
)
def test_docmath(said: str, gold: str, right: int) -> None:
    assert value(DOCMATH, said, gold) == right
    assert value(DOCMATH, said, PAPER.format(gold)) == right


def test_docmath_matches_in_any_case_but_needs_its_sentence() -> None:
    gold = example(DOCMATH, "32.4")
    assert official_docmath.score(gold, "</think>THE ANSWER IS 32.4").value == 1.0
    assert official_docmath.score(gold, "</think>The answer: 32.4").value == 0.0


@pytest.mark.parametrize("gold", ["Paris", "", "(32.4)", "-$32.4", "about 3", "9" * 400 + ".5"])
def test_docmath_raises_for_gold_that_is_no_number(gold: str) -> None:
    bad = example(DOCMATH, gold)
    with pytest.raises(ValueError, match=r"answers=.*: must be a number .* for official_docmath"):
        official_docmath.score(bad, f"</think>{PAPER.format('5')}")
    with pytest.raises(InputError, match=r"'e1': answers=.*: must be a number"):
        registry.verifier(bad)


def test_docmath_evaluates_nothing() -> None:
    said = "__import__('os').system('false')"
    assert value(DOCMATH, said, "0") == 0.0
    assert value(DOCMATH, f"=5.{said}", "5") == 1.0


@pytest.mark.parametrize(
    ("final", "gold", "right"),
    [
        ("The correct answer is A.", "A", 1),
        ("The correct answer is (A).", "A", 1),
        ("**The correct answer is (A)**", "(A)", 1),
        ("The correct answer is Apple", "A", 1),
        ("The correct answer is Dubious", "D", 1),
        ("The correct answer is A, B, C, D", "A", 1),
        # In brackets goes first, wherever it stands.
        ("The correct answer is B. The correct answer is (A).", "A", 1),
        ("The correct answer is A. The correct answer is B.", "A", 1),
        # The paper's own template, and whatever else is plainly right.
        ("Therefore, the answer is A.", "A", 0),
        ("Therefore, the answer is (A).", "A", 0),
        ("the correct answer is A", "A", 0),
        ("The correct answer is a", "A", 0),
        ("The correct answer is: A", "A", 0),
        ("The correct answer is [A]", "A", 0),
        ("A", "A", 0),
        ("The correct answer is B.", "A", 0),
        ("The correct answer is E.", "A", 0),
        ("", "A", 0),
    ],
)
def test_choice(final: str, gold: str, right: int) -> None:
    response = f"<think>Hm.</think>{final}"
    assert registry.score(example(CHOICE, gold), response).value == right
    sentence = MULTIPLE_CHOICE.format(gold)
    assert registry.score(example(CHOICE, sentence), response).value == right


@pytest.mark.parametrize("gold", ["Apple", "E", "a", "", "The correct answer is Elm"])
def test_choice_needs_a_letter_as_gold(gold: str) -> None:
    with pytest.raises(InputError, match=r"'e1': answers=.*: must be A, B, C or D"):
        registry.verifier(example(CHOICE, gold))


KINDS = {DOCQA: "Paris", DOCMATH: "5", CHOICE: "A"}
SENTENCES = {
    DOCQA: "the answer is Paris",
    DOCMATH: "the answer is 5",
    CHOICE: "The correct answer is A",
}


@pytest.mark.parametrize("kind", KINDS)
def test_only_after_the_last_think_close(kind: str) -> None:
    gold, says = example(kind, KINDS[kind]), SENTENCES[kind]
    assert registry.score(gold, f"</think>{says}").value == 1.0
    assert registry.score(gold, f"<think>never opened right</think></think>{says}").value == 1.0
    assert registry.score(gold, says).value == 0.0
    assert registry.score(gold, f"{says}</think>").value == 0.0
    # Ours, for policies that do not think.
    assert registry.score(gold, says, thinking=False).value == 1.0


def test_breakdown_and_name() -> None:
    score = registry.score(example(DOCMATH, "32.4"), "</think>the answer is $324.")
    assert score.verifier == "official_docmath"
    assert score.breakdown == {
        "extracted": "$324",
        "rule": "official: the answer is …",
        "compared_with": "32.4",
        "why": "right: '$324' is close enough to '32.4'",
    }
    for kind, gold in KINDS.items():
        nothing = registry.score(example(kind, gold), "</think>I do not know.")
        assert nothing.breakdown["why"].startswith("no answer:")
        wrong = registry.score(
            example(kind, gold), f"</think>{SENTENCES[kind][:-1].rstrip('Pari')} B"
        )
        assert wrong.value == 0.0


def test_never_the_default() -> None:
    assert Example("1", "s", "q", (), ("a",)).kind not in KINDS
    assert all(kind.startswith("official_") for kind in KINDS)


PIECES = st.lists(
    st.sampled_from(
        "</think>|<think>|the answer is |The correct answer is |(A)|$|-|.|,|5|0|999|Paris|*|\ud800"
        "|\x00|a |≈|=|١".split("|")
    ),
    max_size=12,
)


@given(PIECES, st.booleans())
def test_never_raises_and_says_the_same_twice(pieces: list[str], thinking: bool) -> None:
    response = "".join(pieces)
    for kind, gold in KINDS.items():
        score = registry.score(example(kind, gold), response, thinking)
        assert score.value in (0.0, 1.0)
        assert score == registry.score(example(kind, gold), response, thinking)


@pytest.mark.parametrize(
    "piece", ["1", ".", ".1", "1.", ",", "-", "$", "a ", "the answer is ", "*", "(A", " ", "=5"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_long_responses_are_quick(kind: str, piece: str) -> None:
    for start in ("", "the answer is ", "the answer is .", "The correct answer is "):
        response = f"</think>{start}{piece * (200_000 // len(piece))}"
        began = time.thread_time()
        registry.score(example(kind, KINDS[kind]), response)
        assert time.thread_time() - began < 0.5
