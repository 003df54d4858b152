"""A made-up world of plain sentences: which person is in which place, and next to whom.

One-hop questions ask who is in a place, two-hop questions who is next to the person there.
Every document states each place and each neighbour once, so a question has one answer; all other
sentences are distractors. Training and held-out documents share no fact: a pair of names belongs
to one split by its hash.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from random import Random

from qwenlong.config import SourceConfig
from qwenlong.types import CountTokens, Example, InputError, Split

LONGEST = 256
"""Tokens of the longest document, if the source does not say."""
NAMES = 160
"""People, and as many places."""
HELD_OUT = 5
"""One pair of names in this many is held out."""
FILLER_SHARE = 0.75
"""Share of the distractor sentences that state no fact."""
MOST_FACTS = 24
"""The most distractors that state a fact. A longer document has its facts farther apart, not more
facts that are alike."""

DOES = (
    "keeps the mill", "mends the boats", "runs the inn", "tends the bees",
    "guards the gate", "bakes the bread", "rings the bell", "sells the salt",
)  # fmt: skip
SITS = (
    "waits by the fire", "reads the letters", "carries the lamp",
    "counts the coins", "hums a tune", "writes the ledger",
)  # fmt: skip
FILLER = (
    "The rain fell on the old road all night.",
    "Nobody remembered when the bridge was built.",
    "The market opened late that morning.",
    "A cold wind came down from the hills.",
    "The river was low and the fields were dry.",
    "Carts went by with wood and wool.",
)
Pair = tuple[str, str]


def read(
    spec: SourceConfig, split: Split, count_tokens: CountTokens, seed: int
) -> Iterator[Example]:
    """Yields ``spec.examples`` documents with one question each.

    Document lengths are drawn log-uniformly between ``spec.min_tokens`` and ``spec.max_tokens``,
    so that every octave has as many.
    """
    low, high = bounds(spec)
    for i in range(spec.examples or 0):
        rng = Random(f"facts {seed} {split} {low}-{high} {i}")
        tokens = drawn_length(low, high, rng)
        identity = f"facts-{split}-{low}-{high}-{i}"
        yield _example(identity, split, tokens, count_tokens, rng)


def bounds(spec: SourceConfig) -> tuple[int, int]:
    """The shortest and the longest document.

    Raises:
        InputError: no document fits between them, or the number of examples is missing.
    """
    if spec.examples is None:
        raise InputError(f"examples=null: source {spec.source} needs a number of examples to make")
    low, high = spec.min_tokens, spec.max_tokens or LONGEST
    if not 1 <= low <= high:
        raise InputError(
            f"min_tokens={low}: source {spec.source} needs 1 <= min_tokens <= max_tokens ({high})"
        )
    return low, high


def drawn_length(low: int, high: int, rng: Random) -> int:
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))


def _example(
    identity: str, split: Split, tokens: int, count_tokens: CountTokens, rng: Random
) -> Example:
    places, people = world()
    where = _pairs(places, people, split, rng)
    beside = _pairs(people, people, split, rng)
    place, person = where.pop()
    two_hops = rng.random() < 0.5
    sentences = [_in(place, person, rng)]
    if two_hops:
        first = next(pair for pair in beside if pair[0] == person)
        beside.remove(first)
        sentences.append(_beside(*first, rng))
        question = f"Who is beside the one in {place}?"
        reasoning = f"In {place} {person}. Beside {person} {first[1]}."
        answer = first[1]
    else:
        question = f"Who is in {place}?"
        reasoning = f"In {place} {person}."
        answer = person
    sentences = _filled(sentences, where, beside, tokens, count_tokens, rng)
    return Example(
        id=identity,
        source="facts",
        question=question,
        documents=(" ".join(sentences),),
        answers=(answer,),
        reasoning=reasoning,
        metadata={"hops": 1 + two_hops},
    )


def _filled(
    sentences: list[str],
    where: list[Pair],
    beside: list[Pair],
    tokens: int,
    count_tokens: CountTokens,
    rng: Random,
) -> list[str]:
    """Adds distractors until one more would exceed ``tokens``, then shuffles."""
    # With the blank before it: so a sentence costs what it costs in the document.
    length = sum(count_tokens(" " + sentence) for sentence in sentences)
    facts = 0
    while True:
        if facts == MOST_FACTS or rng.random() < FILLER_SHARE:
            sentence = rng.choice(FILLER)
        else:
            kind = rng.choice((where, beside))
            sentence = (_in if kind is where else _beside)(*kind.pop(), rng)
            facts += 1
        length += count_tokens(" " + sentence)
        if length > tokens:
            break
        sentences.append(sentence)
    rng.shuffle(sentences)
    return sentences


# A name stands right after the name that it is looked up by: with a word between them, a policy of
# a million parameters learned nothing in 2,000 steps.
def _in(place: str, person: str, rng: Random) -> str:
    return f"In {place} {person} {rng.choice(DOES)}."


def _beside(person: str, neighbour: str, rng: Random) -> str:
    return f"Beside {person} {neighbour} {rng.choice(SITS)}."


def _pairs(keys: tuple[str, ...], values: tuple[str, ...], split: Split, rng: Random) -> list[Pair]:
    """One pair of the split for every key, in random order."""
    allowed = _allowed(keys, values, split)
    pairs = [(key, rng.choice(allowed[key])) for key in keys]
    rng.shuffle(pairs)
    return pairs


@cache
def _allowed(
    keys: tuple[str, ...], values: tuple[str, ...], split: Split
) -> dict[str, tuple[str, ...]]:
    return {key: tuple(v for v in values if v != key and split_of(key, v) == split) for key in keys}


@cache
def split_of(key: str, value: str) -> Split:
    """The split to which a fact belongs."""
    held_out = hashlib.sha256(f"{key} {value}".encode()).digest()[0] % HELD_OUT == 0
    return "held_out" if held_out else "train"


@dataclass(frozen=True)
class _Sounds:
    onsets: tuple[str, ...] = tuple("b br d dr f g gr h k l m n p r s st t tr v w z".split())
    vowels: str = "aeiou"
    codas: str = "bdgklmnrstv"


@cache
def world() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of places (they end in -ow) and of people, the same in every run."""
    sounds = _Sounds()
    stems = [
        "".join(sound).capitalize()
        for sound in product(sounds.onsets, sounds.vowels, sounds.codas, sounds.vowels, "lmnrst")
    ]
    Random("world").shuffle(stems)
    people = tuple(stems[:NAMES])
    places = tuple(stem[:-1] + "row" for stem in stems[NAMES : 2 * NAMES])
    return places, people
