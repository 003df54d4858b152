"""What all kinds of synthetic tasks share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from qwenlong.data.synthesis.filler import Filler
from qwenlong.types import InputError

_LISTED = {"en": ", ", "zh": "、"}


def each(
    kind: str, examples: int, tokens: int, seed: int, filler: Filler
) -> Iterator[tuple[int, str, Random]]:
    """Number, id and random generator of every example; none depends on another.

    The id names the corpus by its digest, so that no two corpora hide the same facts.
    """
    for i in range(examples):
        identity = f"{kind}-{filler.language}-{filler.digest}-{tokens}-{seed}-{i}"
        yield i, identity, Random(f"synthesis {identity}")


def depths_of(rng: Random, gold: int, others: int, depth: float | None) -> list[float]:
    """Depths for ``gold`` facts, all at ``depth`` if it is given, then for the ``others``.

    Raises:
        InputError: ``depth`` is outside of [0, 1].
    """
    if depth is not None and not 0 <= depth <= 1:
        raise InputError(f"depth={depth}: must be from 0 (the beginning) to 1 (the end)")
    drawn = [rng.random() for _ in range(gold + others)]
    return drawn if depth is None else [depth] * gold + drawn[gold:]


def joined(items: Sequence[str], language: str) -> str:
    """The items as a list in a sentence."""
    return _LISTED[language].join(items)
