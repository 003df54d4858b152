"""Real four-way choices (BAMBOO) in the phrasings of models, and wrong answers made of real ones.

Prints accepted and paid by set; run with -s to see the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from qwenlong.rewards.kinds import choice
from qwenlong.rewards.text.normalise import normalise
from qwenlong.types import Example
from tests.rewards import real
from tests.rewards.real import LEAST_ACCEPTED, MOST_PAID

DATA = real.DATA / "mc_bamboo"
THOUGHT = "<think>The second page has it.</think>\n\n"
SETS = ("paperqa_4k", "meetingqa_4k")

# {0} is the letter, {1} the option's text.
PHRASINGS = (
    "Therefore, the answer is {0}.",
    "Answer: {0}",
    "\\boxed{{{0}}}",
    "**Answer:** {0}",
    "The final answer is: ({0})",
    "The second page says it, so this is what was asked for.\n\n{0}",
    "**Therefore, the answer is {0}.**",
    "Therefore, the answer is ({0}) {1}",
    "Therefore, the answer is {0}. {1}",
    "**Final Answer:** {0}: {1}",
    "Therefore, the answer is {1}",
    "The first page does not say, the second does.\n\nThe correct answer is option {0}.",
    "Therefore, the answer is **{0}**. {1} The second page says so.",
    "The answer is {0}.\n\nThe second page says so.",
    "<answer>\n{0}. {1}\n</answer>",
)


@dataclass(frozen=True)
class Item:
    """A question with its options, the gold letter and the document."""

    example: Example
    texts: dict[str, str]
    gold: str
    document: str


@cache
def items(name: str) -> tuple[tuple[Item, ...], int]:
    """The questions of a set, and how many have a gold letter without an option."""
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    found, unreadable = [], 0
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")):
        if not line.strip():
            continue
        row = json.loads(line, strict=False)
        metadata = {"options": row["options"]}
        answers = (row["answer"],)
        example = Example(str(number), name, row["question"], (), answers, metadata=metadata)
        try:
            choice.check(example)
        except ValueError:
            unreadable += 1
            continue
        texts = {label: " ".join(text.split()) for label, text in choice.pairs(example)}
        found.append(Item(example, texts, row["answer"], row["content"]))
    return tuple(found), unreadable


def value(item: Item, final: str) -> float:
    return choice.score(item.example, THOUGHT + final).value


def claim(answer: str) -> str:
    return f"Therefore, the answer is {answer}."


def other_letters(item: Item) -> Iterator[str]:
    for letter in item.texts:
        if letter != item.gold:
            for phrasing in PHRASINGS:
                yield phrasing.format(letter, item.texts[letter])


def letters_with_other_texts(item: Item) -> Iterator[str]:
    for letter, text in item.texts.items():
        # Three questions have an option twice.
        if letter != item.gold and text != item.texts[item.gold]:
            yield claim(f"{item.gold}. {text}")
            yield claim(f"{letter}. {item.texts[item.gold]}")


def two_letters(item: Item) -> Iterator[str]:
    for letter in item.texts:
        if letter != item.gold:
            for joint in (" and ", " or ", ", ", "/", "", "、"):
                yield claim(item.gold + joint + letter)
                yield claim(letter + joint + item.gold)


def all_at_once(item: Item) -> Iterator[str]:
    if len(item.texts) > 1:
        yield claim(", ".join(item.texts))
        yield claim(" ".join(f"{letter}. {text}" for letter, text in item.texts.items()))
        yield claim("; ".join(item.texts.values()))
        yield "\\boxed{" + "\n".join(f"{k}. {text}" for k, text in item.texts.items()) + "}"


def negations(item: Item) -> Iterator[str]:
    yield claim(f"not {item.gold}")
    yield claim(f"not {item.texts[item.gold]}")
    yield claim(f"{item.gold} is wrong")


def nothing(item: Item) -> Iterator[str]:
    yield from ("", claim(""), claim("The"), claim("!"), claim("is"), "\\boxed{}", "Answer:")


def document(item: Item) -> Iterator[str]:
    yield item.document
    yield claim(" ".join(item.document.split()))


def beyond(item: Item) -> Iterator[str]:
    yield from (claim("Z"), claim("None of the above"), claim("Xylophone"))


WRONG: dict[str, Callable[[Item], Iterator[str]]] = {
    "another option": other_letters,
    "letter with another text": letters_with_other_texts,
    "two letters": two_letters,
    "all options at once": all_at_once,
    "a negation": negations,
    "nothing": nothing,
    "the whole document": document,
    "beyond the options": beyond,
}


@pytest.mark.parametrize("name", SETS)
def test_gold_answers_in_the_phrasings_of_models(name: str, every: int) -> None:
    found, unreadable = items(name)
    found = found[::every]
    counts = {
        phrasing: sum(value(i, phrasing.format(i.gold, i.texts[i.gold])) for i in found)
        for phrasing in PHRASINGS
    }
    share = sum(counts.values()) / (len(found) * len(PHRASINGS))
    print(f"\n{name}: {len(found)} questions, {unreadable} without an option of the gold letter,")
    print(f"  {len(PHRASINGS)} phrasings each: accepted {share:.2%}")
    for phrasing, count in counts.items():
        if count < len(found):
            print(f"  {count:.0f} of {len(found)} in {phrasing!r}")
    assert share >= LEAST_ACCEPTED


@pytest.mark.parametrize("name", SETS)
def test_wrong_answers(name: str, every: int) -> None:
    found, _ = items(name)
    paid = tried = 0.0
    for kind, wrong in WRONG.items():
        values = [value(item, final) for item in found[::every] for final in wrong(item)]
        print(f"\n{name}: {kind}: {sum(values):.0f} of {len(values)} paid", end="")
        paid, tried = paid + sum(values), tried + len(values)
    print(f"\n{name}: all: {paid / tried:.4%} of {tried:.0f} paid")
    assert paid / tried <= MOST_PAID


@pytest.mark.parametrize("name", SETS)
def test_gold_answers_of_other_questions(name: str, every: int) -> None:
    found, _ = items(name)
    values = [
        value(item, claim(other.texts[other.gold]))
        for item in found[::every]
        for other in found
        if normalise(other.texts[other.gold]) != normalise(item.texts[item.gold])
    ]
    print(f"\n{name}: the gold text of another question: {sum(values):.0f} of {len(values)} paid")
    assert sum(values) / len(values) <= MOST_PAID
