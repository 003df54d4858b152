"""Copying practice: a list of names, and the same list recited from somewhere in its middle.

Looking things up is copying what stood after a key. A policy that starts from nothing learns it
from recitals in a few hundred updates, and from questions alone hardly at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from qwenlong.config import SourceConfig
from qwenlong.data.synthesis.facts import bounds, world
from qwenlong.types import CountTokens, Example, InputError, Split

WORDS = 84
"""Names in list and recital together; a recital starts over at the list's end.

One length for all: rows are grouped by length, and if a batch had lists of one kind, what they have
in common would be learned instead of looking things up.
"""


def read(
    spec: SourceConfig, split: Split, count_tokens: CountTokens, seed: int
) -> Iterator[Example]:
    """Yields ``spec.examples`` lists of ``spec.min_tokens`` to ``spec.max_tokens`` names.

    The names are those of the source facts, each one token of a tokenizer trained on it; the
    answer is the last name, so the question scores like any other.
    """
    low, high = bounds(spec)
    if split != "train":
        raise InputError(f"source={spec.source}: it is for training, not for data.{split}")
    names = [name for names in world() for name in names]
    for i in range(spec.examples or 0):
        rng = Random(f"recital {seed} {low}-{high} {i}")
        words = rng.sample(names, rng.randint(low, high))
        start = rng.randrange(len(words))
        recited = [words[(start + j) % len(words)] for j in range(WORDS - len(words))]
        yield Example(
            id=f"recital-{low}-{high}-{i}",
            source="recital",
            question="Recite.",
            documents=(" ".join(words),),
            answers=(recited[-1],),
            reasoning=" ".join(recited),
        )
