"""What the extractive verifier pays for, and what it must not."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from qwenlong.rewards import registry
from qwenlong.rewards.answer import extract
from qwenlong.rewards.extractive import score
from qwenlong.rewards.normalise import normalise
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


@pytest.mark.parametrize(
    "final",
    [
        "Therefore, the answer is Paris",
        "therefore the answer is Paris.",
        "**Therefore, the answer is Paris.**",
        "**Therefore, the answer is:** Paris",
        "Therefore, **the answer is** Paris.",
        "**Therefore, the answer is**: Paris.\r\n\nHope that helps!",
        "Therefore, the answer is London.\nWait. Therefore, the answer is Paris.",
        "Therefore, the answer is London. No: therefore, the answer is Paris.",
        "\\boxed{London} and yet\nTherefore, the answer is Paris.\n\\boxed{Rome}\nAnswer: Rome",
        "**Therefore, the answer is:**\n\n\\boxed{Paris}",
        "So it is $\\boxed{Paris}$.",
        "Answer: Rome\n\\boxed{London}, rather \\boxed{Paris}",
        "\\boxed{\\boxed{Paris}}",
        "\\boxed{\\text{Paris}}",
        "Answer: London\nAnswer: Paris.",
        "**Final Answer:** Paris",
        "**Answer**: Paris",
    ],
)
def test_reads_the_final_answer(final: str) -> None:
    assert value(final, "Paris") == 1.0


@pytest.mark.parametrize(
    "final",
    [
        "Paris",
        "",
        "The answer isn't \\boxed{Paris",
        "Therefore, the answer is not known.\n\\boxed{Paris}",
        "Therefore, the answer is Paris.\nTherefore, the answer is London.",
        "\\boxed{London, \\boxed{Paris}}",
        "A wrong answer: Paris",
        "Therefore, the answer isParis.",
    ],
)
def test_no_or_another_final_answer(final: str) -> None:
    assert value(final, "Paris") == 0.0


def test_rules_in_their_order() -> None:
    every = "Answer: C\n\\boxed{B}\nTherefore, the answer is A"
    assert extract(every, thinking=False).answer == "A"
    assert extract(every, thinking=False).how == "Therefore, the answer is …"
    assert extract("Answer: C\n\\boxed{B}", thinking=False).answer == "B"
    assert extract("Answer: C", thinking=False).answer == "C"
    assert extract("Answer: C", thinking=False).how == "Answer: …"
    assert extract("\\boxed{a_{1} \\} b}", thinking=False).answer == "a_{1} \\} b"


CLAIM = "Therefore, the answer is Paris."


@pytest.mark.parametrize(
    ("response", "thinking", "right"),
    [
        (f"<think>Well.</think>{CLAIM}", True, 1.0),
        (f"Well.</think>\n\n{CLAIM}", True, 1.0),
        (f"<think></think>{CLAIM}", False, 1.0),
        (CLAIM, False, 1.0),
        (CLAIM, True, 0.0),
        (f"<think>{CLAIM}", True, 0.0),
        (f"<think>{CLAIM}", False, 0.0),
        (f"<think>{CLAIM}</think>", True, 0.0),
        (f"<think>{CLAIM}</think>I do not know.", False, 0.0),
        (f"{CLAIM}</think>one more</think>nothing", True, 0.0),
        (f"Well.</think><think>{CLAIM}", True, 0.0),
    ],
)
def test_only_what_follows_the_thinking_counts(response: str, thinking: bool, right: float) -> None:
    assert score(example("Paris"), response, thinking).value == right


def test_breakdown_says_why() -> None:
    right = score(example("The Seine", "Seine"), "</think>Therefore, the answer is Seine.")
    assert right.verifier == "extractive"
    assert right.breakdown == {
        "extracted": "Seine",
        "rule": "Therefore, the answer is …",
        "compared_with": "seine | seine",
        "why": "right: 'seine' equals the gold answer 'The Seine'",
    }
    wrong = score(example("Seine"), "</think>Answer: Rhine")
    assert wrong.breakdown["why"] == "wrong: 'rhine' equals no gold answer"
    unclosed = score(example("Seine"), "Answer: Seine")
    assert "never closed" in unclosed.breakdown["why"]


@pytest.mark.parametrize(
    "piece",
    [
        "therefore, ",
        "therefore" + " " * 9,
        "Therefore, the answer is ",
        "Therefore, the answer is Paris.\n",
        "\\boxed{",
        "{",
        "}",
        "\\",
        "*",
        "\n****",
        "Answer: ",
        "\nAnswer:",
        "\n" + " " * 7,
        "<think>",
        "a ",
        "'",
        "\u0301\u0316",
    ],
)
@pytest.mark.parametrize("prefix", ["", "Therefore, the answer is ", "\\boxed{", "Answer:"])
def test_long_responses_are_quick(piece: str, prefix: str) -> None:
    response = "</think>" + prefix + piece * (200_000 // len(piece)) + "}"
    start = time.process_time()
    score(example("Paris"), response)
    assert time.process_time() - start < 0.5


def test_registry_dispatches_by_kind() -> None:
    assert registry.score(example("Paris"), f"</think>{CLAIM}").value == 1.0
    with pytest.raises(InputError, match=r"kind='extractve' .*: must be one of extractive"):
        registry.score(example("Paris", kind="extractve"), CLAIM)


def test_rewards_stay_light() -> None:
    code = (
        "import sys, qwenlong.rewards.registry;"
        "print([name for name in ('torch', 'ray', 'vllm') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
