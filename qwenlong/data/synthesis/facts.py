"""A made-up world of plain sentences: which person is in which place, and next to whom.

One-hop questions ask who is in a place, two-hop questions who is next to the person there.
Every document states each place and each neighbour once, so a question has one answer; all other
sentences are distractors. Training and held-out documents share no fact: a pair of names belongs
to one split by its hash.

The source ``recital`` is copying practice with the same names. Looking things up is copying what
stood after a key. A policy that starts from nothing learns it from recitals in a few hundred
updates, and from questions alone hardly at all.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from functools import cache
from itertools import product
from random import Random

from qwenlong.config import SourceConfig
from qwenlong.data.synthesis.lexicon import words_of
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
RECITAL = 84
"""Names in list and recital together; a recital starts over at the list's end.

One length for all: rows are grouped by length, and if a batch had lists of one kind, what they have
in common would be learned instead of looking things up.
"""
WORDS = words_of("facts", "en")
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
        tokens = round(math.exp(rng.uniform(math.log(low), math.log(high))))
        yield _example(f"facts-{split}-{low}-{high}-{i}", split, tokens, count_tokens, rng)


def recitals(
    spec: SourceConfig, split: Split, count_tokens: CountTokens, seed: int
) -> Iterator[Example]:
    """Yields ``spec.examples`` lists of names, each with a recital from somewhere in its middle.

    A list has ``spec.min_tokens`` to ``spec.max_tokens`` names, each one token of a tokenizer that
    was trained on them. The answer is the last name, so the question scores like any other.
    """
    low, high = bounds(spec)
    if split != "train":
        raise InputError(f"source={spec.source}: it is for training, not for data.{split}")
    names = [name for names in world() for name in names]
    for i in range(spec.examples or 0):
        rng = Random(f"recital {seed} {low}-{high} {i}")
        listed = rng.sample(names, rng.randint(low, high))
        start = rng.randrange(len(listed))
        recited = [listed[(start + j) % len(listed)] for j in range(RECITAL - len(listed))]
        yield Example(
            id=f"recital-{low}-{high}-{i}",
            source="recital",
            question="Recite.",
            documents=(" ".join(listed),),
            answers=(recited[-1],),
            reasoning=" ".join(recited),
        )


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


def _example(
    identity: str, split: Split, tokens: int, count_tokens: CountTokens, rng: Random
) -> Example:
    places, people = world()
    where = _pairs(places, people, split, rng)
    neighbours = _pairs(people, people, split, rng)
    place, person = where.pop()
    two_hops = rng.random() < 0.5
    sentences = [_in(place, person, rng)]
    question, answer = f"Who is in {place}?", person
    reasoning = f"In {place} {person}."
    if two_hops:
        first = next(pair for pair in neighbours if pair[0] == person)
        neighbours.remove(first)
        sentences.append(_beside(*first, rng))
        question, answer = f"Who is beside the one in {place}?", first[1]
        reasoning += f" Beside {person} {answer}."
    # With the blank before it: so a sentence costs what it costs in the document.
    length = sum(count_tokens(" " + sentence) for sentence in sentences)
    facts = 0
    while True:
        if facts == MOST_FACTS or rng.random() < FILLER_SHARE:
            sentence = rng.choice(WORDS.all("filler"))
        else:
            kind = rng.choice((where, neighbours))
            sentence = (_in if kind is where else _beside)(*kind.pop(), rng)
            facts += 1
        length += count_tokens(" " + sentence)
        if length > tokens:
            break
        sentences.append(sentence)
    rng.shuffle(sentences)
    return Example(
        id=identity,
        source="facts",
        question=question,
        documents=(" ".join(sentences),),
        answers=(answer,),
        reasoning=reasoning,
        metadata={"hops": 1 + two_hops},
    )


# A name stands right after the name that it is looked up by: with a word between them, a policy of
# a million parameters learned nothing in 2,000 steps.
def _in(place: str, person: str, rng: Random) -> str:
    return f"In {place} {person} {rng.choice(WORDS.all('does'))}."


def _beside(person: str, neighbour: str, rng: Random) -> str:
    return f"Beside {person} {neighbour} {rng.choice(WORDS.all('sits'))}."


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


@cache
def world() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of places (they end in -row) and of people, the same in every run."""
    sounds = [sound.split() for sound in WORDS.all("sounds")]
    stems = ["".join(stem).capitalize() for stem in product(*sounds)]
    Random("world").shuffle(stems)
    people = tuple(stems[:NAMES])
    places = tuple(stem[:-1] + "row" for stem in stems[NAMES : 2 * NAMES])
    return places, people
