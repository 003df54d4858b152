"""Counting: how often something happens that is told in sentences all over the documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from qwenlong.data.synthesis.corpus import Corpus
from qwenlong.data.synthesis.filler import Filler, filler_of, without
from qwenlong.data.synthesis.haystack import bury
from qwenlong.data.synthesis.names import birds, in_language, places
from qwenlong.data.synthesis.tasks import depths_of, each, joined
from qwenlong.types import CountTokens, Example


@dataclass(frozen=True)
class Phrases:
    facts: tuple[str, ...]
    asks: tuple[str, ...]
    found: str


PHRASES = {
    "en": Phrases(
        (
            "At {place} one {bird} was entered in the logbook.",
            "The logbook of {place} has one {bird}.",
            "One {bird} was seen from the tower of {place}.",
        ),
        (
            "At how many places was one {bird} seen or entered in the logbook?",
            "Count the places for which the text tells of one {bird}. How many are there?",
            "How many places have told of one {bird}?",
        ),
        "The text tells of one {bird} at these places: {places}. Their number is {number}.",
    ),
    "zh": Phrases(
        (
            "{place}的日志里记下了一只{bird}。",
            "在{place}，有一只{bird}被写进日志。",
            "有人从{place}的塔楼上看见一只{bird}。",
        ),
        (
            "文中一共有几个地方看见或记下了一只{bird}？",
            "请数一数，文中有几处地名提到了一只{bird}？",
            "有几个地方报告过一只{bird}？",
        ),
        "文中提到一只{bird}的地方有：{places}。一共{number}个。",
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
    """Yields ``examples`` questions for a number; see ``needles.make``.

    Every place is named once, so a place is a sighting; other birds are seen at other places.
    """
    phrases = in_language(PHRASES, language)
    filler = filler_of(corpus, count, language)
    for _, identity, rng in each("counting", examples, tokens, seed, filler):
        yield _example(identity, phrases, filler, tokens, depth, rng)


def _example(
    identity: str,
    phrases: Phrases,
    filler: Filler,
    tokens: int,
    depth: float | None,
    rng: Random,
) -> Example:
    most = min(16, 4 + tokens // 1024)
    asked, others = rng.randint(2, most), rng.randint(2, most)
    kinds = birds(rng, 3, filler.language)
    seen = [kinds[0]] * asked + [rng.choice(kinds[1:]) for _ in range(others)]
    where = places(rng, len(seen), filler.language)
    facts = [
        rng.choice(phrases.facts).format(place=place, bird=bird)
        for place, bird in zip(where, seen, strict=True)
    ]
    depths = depths_of(rng, asked, others, depth)
    buried = bury(filler, rng, facts, depths, tokens, without([*kinds, *where]))
    in_order = [place for _, place in sorted(zip(buried.offsets, where[:asked], strict=False))]
    told = joined(in_order, filler.language)
    return Example(
        id=identity,
        source="counting",
        question=rng.choice(phrases.asks).format(bird=kinds[0]),
        documents=buried.documents,
        answers=(str(asked),),
        kind="numeric",
        reasoning=phrases.found.format(bird=kinds[0], places=told, number=asked),
        gold_documents=tuple(sorted(set(buried.places[:asked]))),
        group=identity,
        metadata={
            "task": "counting",
            "language": filler.language,
            "stated": str(asked),
            "depths": sorted(buried.depths[:asked]),
            "rel_tolerance": 0,
        },
    )
