"""Numbers and dates among the gold answers of reading sets in English, Spanish, Chinese, Arabic.

A gold answer belongs to a kind where its verifier's ``check`` takes it. Prints accepted and paid
by set; run with -s to see the figures.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest

from qwenlong.rewards.kinds import date, numeric
from qwenlong.rewards.numbers import dates, quantities
from qwenlong.types import Example
from tests.rewards.real import DATA, LEAST_ACCEPTED, MOST_PAID

THOUGHT = "<think>The second paragraph has it, beside 41 others.</think>\n\n"
PHRASINGS = (
    "Therefore, the answer is {}.",
    "Answer: {}",
    "\\boxed{{{}}}",
    "**Answer:** {}",
    "The final answer is: {}",
    "The paragraph has it, beside 41 others.\n\n{}",
    "**Therefore, the answer is {}.**",
    "First we look it up.\n\n### Final Answer\n\n**{}**",
    "We looked it up.\n\nSo the answer is {}.",
)
FILES = {
    **{f"xquad.{code}": f"multiling_xquad/xquad.{code}.json" for code in ("en", "es", "zh", "ar")},
    "cmrc2018": "zh_cmrc2018/cmrc2018_dev.json",
    "ottqa": "multihop_ottqa/questions.json",
}
KINDS = {"numeric": numeric, "date": date}


def rows(name: str) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Question, gold answers and paragraph."""
    content = json.loads((DATA / FILES[name]).read_text(encoding="utf-8"))
    if name == "ottqa":
        yield from ((row["question"], (row["answer-text"],), "") for row in content)
        return
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for row in paragraph["qas"]:
                golds = tuple(dict.fromkeys(answer["text"] for answer in row["answers"]))
                yield row["question"], golds, paragraph["context"]


@cache
def examples(kind: str, name: str) -> tuple[Example, ...]:
    if not (DATA / FILES[name]).is_file():
        pytest.skip(f"no data in {DATA / FILES[name]}")
    found = []
    for question, golds, document in rows(name):
        example = Example("real", name, question, (document,), golds, kind=kind)
        try:
            KINDS[kind].check(example)
        except ValueError:
            continue
        found.append(example)
    assert len(found) > 90
    return tuple(found)


def paid(verifier: ModuleType, example: Example, phrasing: str, answer: str) -> bool:
    return bool(verifier.score(example, THOUGHT + phrasing.format(answer)).value)


def claims(kind: str, text: str) -> set[object]:
    """What a text says, for telling answers that differ from those that say the same."""
    if kind == "date":
        return {part for days in dates.read(text).claims for day in days for part in day if part}
    return {claim.value for claim in quantities.read(text).claims}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_gold_answers_are_accepted(kind: str, name: str, every: int) -> None:
    tried, missed = 0, []
    for example in examples(kind, name)[::every]:
        for gold in example.answers:
            for phrasing in PHRASINGS:
                tried += 1
                if not paid(KINDS[kind], example, phrasing, gold):
                    missed.append((example.question, gold, phrasing))
    print(f"\n{kind} {name}, accepted: {tried - len(missed)} of {tried}")
    assert len(missed) <= (1 - LEAST_ACCEPTED) * tried, missed[:20]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_answers_are_refused(kind: str, name: str, every: int) -> None:
    tried, slips, draw = Counter[str](), [], random.Random(4)
    everything = examples(kind, name)
    for example in everything[::every]:
        gold = example.answers[0]
        said = set[object]().union(*(claims(kind, answer) for answer in example.answers))
        others = [each.answers[0] for each in draw.sample(everything, 12)]
        others = [other for other in others if said.isdisjoint(claims(kind, other))][:3]
        ways = {"negation": f"not {gold}", "empty": "", "denial": f"{gold} is wrong"}
        ways |= {f"other {place}": other for place, other in enumerate(others)}
        ways |= {f"either {place}": f"{gold} or {other}" for place, other in enumerate(others)}
        if len(example.documents[0]) > 600:  # a short one may say nothing else
            ways["document"] = " ".join(example.documents[0].split())
        for way, answer in ways.items():
            for phrasing in PHRASINGS:
                tried[way.split()[0]] += 1
                if paid(KINDS[kind], example, phrasing, answer):
                    slips.append((way, example.question, gold, answer[:80]))
    total = sum(tried.values())
    print(f"\n{kind} {name}, wrong and paid: {len(slips)} of {total}", dict(tried))
    assert len(slips) <= MOST_PAID * total, slips[:20]
