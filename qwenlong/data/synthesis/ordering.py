"""Ordering: things by the years that the text gives them, or by where it names them first."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from qwenlong.data.synthesis.corpus import Corpus
from qwenlong.data.synthesis.filler import Filler, filler_of, without
from qwenlong.data.synthesis.haystack import bury
from qwenlong.data.synthesis.names import in_language, keys
from qwenlong.data.synthesis.tasks import depths_of, each
from qwenlong.types import CountTokens, Example

TASKS = ("years", "mentions")
YEARS = (1500, 1999)


@dataclass(frozen=True)
class Phrases:
    events: tuple[str, ...]
    dated: tuple[str, ...]
    named: tuple[str, ...]
    item: str
    between: str
    by_year: tuple[str, ...]
    by_place: tuple[str, ...]
    answer: str
    found: str
    placed: str


PHRASES = {
    "en": Phrases(
        ("was built", "was sold", "was found", "was repaired"),
        ("In {year} the {key} {event}.", "The {key} {event} in {year}."),
        ("A traveller spoke of the {key}.", "Somebody asked about the {key}."),
        "{label}. the {key}",
        "; ",
        (
            "Put these in the order of the years in which each {event}, earliest first: {items}.",
            "Which of these {event} first, which next, and so on? {items}.",
        ),
        (
            "Put these in the order in which the text first names them: {items}.",
            "In which order does the text speak of these? {items}.",
        ),
        " Answer with the letters, as in X > Y > Z.",
        "The text gives these years: {told}. From the earliest to the latest this is {order}.",
        "The text names them in this order: {told}. In letters this is {order}.",
    ),
    "zh": Phrases(
        ("建成", "售出", "被发现", "被修复"),
        ("{year}年，“{key}”{event}。", "“{key}”于{year}年{event}。"),
        ("一位旅人谈起了“{key}”。", "有人问起“{key}”。"),
        "{label}. “{key}”",
        "；",
        (
            "请按{event}的年份从早到晚排列以下各项：{items}。",
            "以下各项按{event}的先后顺序如何排列？{items}。",
        ),
        (
            "请按文中首次提到的先后顺序排列以下各项：{items}。",
            "文中是按什么顺序提到以下各项的？{items}。",
        ),
        "请用字母作答，例如X > Y > Z。",
        "文中给出的年份是：{told}。从早到晚依次为{order}。",
        "文中提到的顺序是：{told}。用字母表示为{order}。",
    ),
}


def make(
    corpus: Corpus,
    examples: int,
    tokens: int,
    count: CountTokens,
    seed: int,
    language: str = "en",
    depth: float | None = None,
) -> Iterator[Example]:
    """Yields ``examples`` questions for an order; see ``needles.make``."""
    phrases = in_language(PHRASES, language)
    filler = filler_of(corpus, count, language)
    for i, identity, rng in each("ordering", examples, tokens, seed, filler):
        yield _example(identity, TASKS[i % 2], phrases, filler, tokens, depth, rng)


def _example(
    identity: str,
    task: str,
    phrases: Phrases,
    filler: Filler,
    tokens: int,
    depth: float | None,
    rng: Random,
) -> Example:
    number = rng.randint(3, 4 if tokens < 2048 else 6)
    others = min(12, 1 + tokens // 4096)
    names = keys(rng, number + others, filler.language)
    years = rng.sample(range(YEARS[0], YEARS[1] + 1), len(names))
    event = rng.choice(phrases.events)
    forms = phrases.dated if task == "years" else phrases.named
    facts = [
        rng.choice(forms).format(key=key, year=year, event=event)
        for key, year in zip(names, years, strict=True)
    ]
    depths = depths_of(rng, number, others, depth)
    buried = bury(filler, rng, facts, depths, tokens, without(names))
    labels = dict(zip(rng.sample(names[:number], number), string.ascii_uppercase, strict=False))
    rank = years if task == "years" else buried.offsets
    order = [name for _, name in sorted(zip(rank, names[:number], strict=False))]
    stated = " > ".join(labels[name] for name in order)
    if task == "years":
        of = dict(zip(names, years, strict=True))
        told = phrases.between.join(f"{name} {of[name]}" for name in order)
        reasoning = phrases.found.format(told=told, order=stated)
    else:
        reasoning = phrases.placed.format(told=phrases.between.join(order), order=stated)
    items = phrases.between.join(
        phrases.item.format(label=label, key=name) for name, label in labels.items()
    )
    asks = phrases.by_year if task == "years" else phrases.by_place
    return Example(
        id=identity,
        source="ordering",
        question=rng.choice(asks).format(event=event, items=items) + phrases.answer,
        documents=buried.documents,
        answers=(stated,),
        kind="order",
        reasoning=reasoning,
        gold_documents=tuple(sorted(set(buried.places[:number]))),
        group=identity,
        metadata={
            "task": task,
            "language": filler.language,
            "stated": stated,
            "depths": sorted(buried.depths[:number]),
            "options": {label: name for name, label in labels.items()},
        },
    )
