"""Real lists (the multi-span questions of TAT-QA) in the phrasings of models, and wrong lists.

Prints accepted and paid; run with -s to see the table. Accepted is a value of 1; of wrong lists
the mean value is printed, too, for a list that is half right earns its half.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from qwenlong.rewards.kinds import list as listing
from qwenlong.types import Example
from tests.rewards import real
from tests.rewards.real import LEAST_ACCEPTED, MOST_PAID

DATA = real.DATA / "numeric_tatqa"
THOUGHT = "<think>The second table has them.</think>\n\n"


def with_and(golds: list[str]) -> str:
    return f"{', '.join(golds[:-1])} and {golds[-1]}"


def lines(golds: list[str], mark: str) -> str:
    return "\n".join(mark.format(at) + gold for at, gold in enumerate(golds, start=1))


PHRASINGS: dict[str, Callable[[list[str]], str]] = {
    "Therefore, the answer is a, b and c.": lambda g: f"Therefore, the answer is {with_and(g)}.",
    "Therefore, the answer is a, b, c.": lambda g: f"Therefore, the answer is {', '.join(g)}.",
    "Answer: a; b; c": lambda g: f"Answer: {'; '.join(g)}",
    "\\boxed{a, b, c}": lambda g: f"\\boxed{{{', '.join(g)}}}",
    "**Answer:** a, b, c": lambda g: f"**Answer:** {', '.join(g)}",
    "The final answer is: a, b, c": lambda g: f"The final answer is: {', '.join(g)}",
    "**Answer:** bullets": lambda g: "**Answer:**\n\n" + lines(g, "- "),
    "Therefore, the answer is: numbered lines": lambda g: (
        "Therefore, the answer is:\n" + lines(g, "{}. ")
    ),
    "a JSON array": lambda g: f"Answer: {json.dumps(g, ensure_ascii=False)}",
    "each item bold": lambda g: f"Answer: {', '.join(f'**{gold}**' for gold in g)}",
    "each item quoted": lambda g: f"Answer: {', '.join(f'“{gold}”' for gold in g)}",
    "bullets at the end": lambda g: "The second table has these:\n\n" + lines(g, "* "),
    "bare lines": lambda g: lines(g, ""),
    "a fenced JSON array": lambda g: f"```json\n{json.dumps(g, ensure_ascii=False, indent=2)}\n```",
    "the plain last line": lambda g: f"The second table has them.\n\n{'; '.join(g)}",
}


@dataclass(frozen=True)
class Item:
    """A question with its gold items, and all of its document in one text and in cells."""

    example: Example
    golds: list[str]
    document: str
    cells: list[str]


@cache
def items() -> tuple[Item, ...]:
    path = DATA / "tatqa_dataset_dev.json"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    found = []
    for page in json.loads(path.read_text(encoding="utf-8")):
        cells = [cell for row in page["table"]["table"] for cell in row if cell]
        document = "\n".join([*cells, *(part["text"] for part in page["paragraphs"])])
        for row in page["questions"]:
            if row["answer_type"] == "multi-span":
                example = Example(row["uid"], "tatqa", row["question"], (), tuple(row["answer"]))
                listing.check(example)
                golds = [gold for gold in row["answer"] if gold.strip()]
                found.append(Item(example, golds, document, cells))
    return tuple(found)


def value(item: Item, final: str) -> float:
    return listing.score(item.example, THOUGHT + final).value


def claim(golds: list[str]) -> str:
    return f"Therefore, the answer is {'; '.join(golds)}."


def one_missing(item: Item) -> Iterator[str]:
    yield from (claim(item.golds[:-1]), claim(item.golds[1:]))


def one_too_many(item: Item) -> Iterator[str]:
    yield from (claim([*item.golds, "Oslo"]), claim([*item.golds, item.golds[0]]))


def all_cells(item: Item) -> Iterator[str]:
    yield claim(item.cells)
    yield "Answer:\n" + lines(item.cells, "- ")


def one_text(item: Item) -> Iterator[str]:
    yield from (claim([" ".join(item.golds)]), claim([" or ".join(item.golds)]))
    yield claim(["/".join(item.golds)])


def negations(item: Item) -> Iterator[str]:
    yield f"Therefore, the answer is not {with_and(item.golds)}."
    yield f"Therefore, the answer is none of {with_and(item.golds)}."
    yield f"Therefore, the answer is neither {' nor '.join(item.golds)}."


def nothing(item: Item) -> Iterator[str]:
    yield from ("", claim([""]), claim(["The"]), claim(["!"]), claim(["is"]), "Answer: []")


def documents(item: Item) -> Iterator[str]:
    yield from (item.document, claim([item.document]), f"Answer:\n{item.document}")


def numbers(item: Item) -> Iterator[str]:
    """All numbers scaled, or with another sign; years left out."""
    if all(re.fullmatch(r"[$ ]{0,2}\d[\d,.]*%?", gold) for gold in item.golds):
        yield claim([re.sub(r"(\d)(%?)$", r"\1,000\2", gold) for gold in item.golds])
        yield claim([f"-{gold}" for gold in item.golds])
        yield claim([f"({gold})" for gold in item.golds])
        yield claim([f"{gold} million" for gold in item.golds])


WRONG: dict[str, Callable[[Item], Iterator[str]]] = {
    "one missing": one_missing,
    "one too many, or one twice": one_too_many,
    "all cells of the table": all_cells,
    "in one text, with or, with slashes": one_text,
    "a negation": negations,
    "nothing": nothing,
    "the whole document": documents,
    "scaled, or another sign": numbers,
}


def test_gold_answers_in_the_phrasings_of_models(every: int) -> None:
    found = items()[::every]
    counts = {
        name: sum(value(item, phrasing(item.golds)) == 1.0 for item in found)
        for name, phrasing in PHRASINGS.items()
    }
    share = sum(counts.values()) / (len(found) * len(PHRASINGS))
    print(f"\ntatqa multi-span: {len(found)} questions, {len(PHRASINGS)} phrasings each:")
    print(f"  accepted {share:.2%}")
    for name, count in counts.items():
        if count < len(found):
            print(f"  {count} of {len(found)}: {name}")
    assert share >= LEAST_ACCEPTED


def test_wrong_answers(every: int) -> None:
    paid = tried = 0
    for kind, wrong in WRONG.items():
        values = [value(item, final) for item in items()[::every] for final in wrong(item)]
        full = values.count(1.0)
        mean = sum(values) / len(values)
        print(f"\ntatqa: {kind}: {full} of {len(values)} paid in full, mean {mean:.3f}", end="")
        paid, tried = paid + full, tried + len(values)
    print(f"\ntatqa: all: {paid / tried:.4%} of {tried} paid in full")
    assert paid / tried <= MOST_PAID


def test_gold_answers_of_other_questions(every: int) -> None:
    values = [
        value(item, claim(other.golds))
        for item in items()[::every]
        for other in items()
        if sorted(other.golds) != sorted(item.golds)
    ]
    mean = sum(values) / len(values)
    full = values.count(1.0)
    print(f"\ntatqa: the gold items of another question: {full} of {len(values)}, mean {mean:.4f}")
    assert full / len(values) <= MOST_PAID
