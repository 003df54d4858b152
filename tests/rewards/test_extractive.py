"""What the extractive verifier pays for, and what it must not."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.rewards import registry
from qwenlong.rewards.kinds.extractive import check, score
from qwenlong.rewards.text.normalise import normalise
from qwenlong.types import Example, InputError


def example(*answers: str, kind: str = "extractive") -> Example:
    return Example("1", "test", "Which?", ("A document.",), answers, kind=kind)


def value(final: str, *answers: str) -> float:
    return score(example(*answers), f"I think.</think>\n{final}").value


def said(answer: str, *answers: str) -> float:
    return value(f"Therefore, the answer is {answer}.", *answers)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        # Run against the official code, whose rule paid for each (recipes.md).
        ("The", "Paris"),
        ("a", "Paris"),
        ("!", "Paris"),
        ("is", "Paris"),
        ("no", "North Korea"),
        ("not Paris", "Paris"),
        ("Paris, London, Berlin, Rome", "Paris"),
        ("Paris or London", "Paris"),
        # Variations on them.
        ("", "Paris"),
        ("   ", "Paris"),
        ("an", "Paris"),
        ("the a", "a"),
        ("The", "The The"),
        ("?!.", "Paris"),
        ("**", "Paris"),
        ("Par", "Paris"),
        ("Paris is the capital of France", "Paris"),
        ("Paris\u0336 London", "Paris"),
        ("-5", "5"),
        ("5", ".5"),
        ("5%", "5"),
        ("102", "10²"),
        ("C", "C#"),
    ],
)
def test_refuses(answer: str, gold: str) -> None:
    assert said(answer, gold) == 0.0


@pytest.mark.parametrize("refused", ["The", "a", "!", "...", '"'])
def test_articles_and_punctuation_equal_only_themselves(refused: str) -> None:
    assert normalise(refused)
    assert said(refused, "Paris", "is a thing", "the end") == 0.0


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("Paris", "Paris"),
        ("paris", "Paris"),
        ("**Paris**", "Paris"),
        ("`Paris`", "Paris"),
        ("*Paris*", "Paris"),
        ("the Seine", "Seine"),
        ("“Nosferatu”", "Nosferatu"),
        ('"The Wire"', "the wire"),
        ("\\boxed{Paris}", "Paris"),
        ("$\\boxed{\\text{Paris}}$", "Paris"),
        ("Roanoke, Virginia", "Roanoke , Virginia"),
        ("Aristotle's Poetics", "Aristotle 's Poetics"),
        ("6 feet 1 inch (1.85 m)", "6 feet 1 inch ( 1.85 m )"),
        ("2013–14", "2013-14"),
        ("Ｐａｒｉｓ", "Paris"),
        ("Cafe\u0301", "Café"),
        ("Washington  D.C.", "Washington D.C."),
        ("Yahoo!", "Yahoo"),
        ("A", "A"),
        ("no", "No"),
        ("A*", "A*"),
    ],
)
def test_accepts(answer: str, gold: str) -> None:
    assert said(answer, gold) == 1.0
    assert said(answer, "Another", gold) == 1.0


def test_breakdown_says_why() -> None:
    right = score(example("The Seine", "Seine"), "</think>Therefore, the answer is Seine.")
    assert right.verifier == "extractive"
    assert right.breakdown == {
        "extracted": "Seine",
        "rule": "Therefore, the answer is …",
        "compared_with": "seine | seine",
        "why": "right: 'seine' equals the gold answer 'The Seine'",
        "f1": "1.000",
        "contains": "1",
    }
    wrong = score(example("Seine"), "</think>Answer: Rhine")
    assert wrong.breakdown["why"] == "wrong: 'rhine' equals no gold answer"
    unclosed = score(example("Seine"), "Answer: Seine")
    assert "never closed" in unclosed.breakdown["why"]


def test_f1_and_contains_are_figures_of_their_own() -> None:
    wrong = score(example("Seine", "the river Seine"), "</think>Answer: the long river Seine")
    assert wrong.value == 0.0
    assert wrong.breakdown["f1"] == "0.800"
    assert wrong.breakdown["contains"] == "1"
    part = score(example("Seine"), "</think>Answer: Seineufer")
    assert (part.breakdown["f1"], part.breakdown["contains"]) == ("0.000", "0")
    # Each Chinese character is a token.
    chinese = score(example("北京大学"), "</think>答案：北京")
    assert (chinese.value, chinese.breakdown["f1"]) == (0.0, "0.667")
    spelled = score(example("four"), "</think>Answer: 4")
    assert (spelled.value, spelled.breakdown["f1"]) == (1.0, "1.000")
    none = score(example("Seine"), "Answer: Seine")
    assert (none.breakdown["f1"], none.breakdown["contains"]) == ("0.000", "0")


@pytest.mark.parametrize("answers", [(), ("",), ("Paris", "  ")])
def test_check_refuses_an_unreadable_gold(answers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"answers=.*: must be one text or more"):
        check(example(*answers))
    check(example("Paris", "!"))


PIECES = st.sampled_from(
    "Therefore, the answer is |\\boxed{|}|Answer: |\n|\n\n|</think>|<think>|Paris|the |not |. |**"
    "|$|\\(|`|\u200f|\ud800|\x00|\u0301|一百|亿|ﷺ|½|① | [1]|(|)|It is |です|«|1,000|<answer>".split(
        "|"
    )
)
RESPONSES = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join))


@settings(max_examples=500)
@given(RESPONSES, st.booleans())
def test_any_response_has_one_verdict(response: str, thinking: bool) -> None:
    for final in (response, f"</think>Therefore, the answer is {response}"):
        verdict = score(example("Paris", "一百"), final, thinking)
        assert verdict == score(example("Paris", "一百"), final, thinking)
        assert verdict.value in (0.0, 1.0)
        assert 0.0 <= float(verdict.breakdown["f1"]) <= 1.0
        assert verdict.breakdown["why"].startswith("right:") == bool(verdict.value)


@settings(max_examples=300)
@given(st.text(st.characters(categories=("L", "N")), min_size=1, max_size=40))
def test_a_gold_answer_is_right_and_its_negation_wrong(gold: str) -> None:
    assert said(gold, gold) == 1.0
    assert said(f"not {gold}", gold) == 0.0
    assert said(f"{gold} or not {gold}", gold) == 0.0


@pytest.mark.parametrize(
    "piece",
    [
        "therefore, ",
        "therefore" + " " * 9,
        "Therefore, the answer is ",
        "Therefore, the answer is Paris.\n",
        "\\boxed{",
        "\\text{",
        "{",
        "}",
        "(",
        "\\",
        "*",
        "\n****",
        "Answer: ",
        "\nAnswer:",
        "\nThe final answer",
        "\n" + " " * 7,
        "\n-",
        "So the answer is ",
        "<think>",
        "a ",
        "'",
        "[1] ",
        "一",
        "1,000,",
        "\u0301\u0316",
    ],
)
def test_long_responses_are_quick(piece: str) -> None:
    for prefix in ["", "Therefore, the answer is ", "\\boxed{", "Answer:", "\n\n"]:
        response = "</think>" + prefix + piece * (200_000 // len(piece)) + "}"
        start = time.thread_time()
        score(example("Paris"), response)
        assert time.thread_time() - start < 0.25  # mostly below 0.05


CLAIM = "Therefore, the answer is Paris."


def test_registry_dispatches_by_kind() -> None:
    assert registry.score(example("Paris"), f"</think>{CLAIM}").value == 1.0
    with pytest.raises(
        InputError, match=r"kind='extractve' .*: must be one of choice, .*extractive"
    ):
        registry.score(example("Paris", kind="extractve"), CLAIM)


def test_rewards_stay_light() -> None:
    code = (
        "import sys, qwenlong.rewards.registry;"
        "print([name for name in ('torch', 'ray', 'vllm') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
