"""Draws by weight, as pure functions of a random generator."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from random import Random


def shares(weights: Sequence[float], n: int, rng: Random) -> list[int]:
    """How many of ``n`` draws each weight gets: its share, rounded up or down at random.

    Systematic sampling (Madow, 1949): the expected counts are ``n`` times the shares exactly, and
    none is off by one or more.
    """
    total = sum(weights)
    start = rng.random()
    ends = [n * end / total for end in accumulate(weights)]
    ends[-1] = float(n)
    # Points start, start + 1, …; a weight gets those up to its end.
    reached = [0, *(max(0, min(n, _points(end, start))) for end in ends)]
    return [after - before for before, after in pairwise(reached)]


def _points(end: float, start: float) -> int:
    """How many of start, start + 1, … lie below ``end``."""
    return int(end - start) + 1 if end > start else 0


def chosen(weights: Sequence[float], n: int, rng: Random) -> list[int]:
    """``n`` different places, each with a probability of ``n`` times its share.

    A place whose share is above 1/n is certain, and the others have the rest by their weights.
    The places stand in random order.

    Raises:
        ValueError: there are fewer places than ``n``.
    """
    if n > len(weights):
        raise ValueError(f"n={n}: there are {len(weights)} places")
    rest = list(range(len(weights)))
    certain: list[int] = []
    while True:
        total, left = sum(weights[place] for place in rest), n - len(certain)
        heavy = [place for place in rest if left * weights[place] >= total]
        if not heavy or not left:
            break
        certain += heavy[:left]
        out = set(heavy)
        rest = [place for place in rest if place not in out]
        if not rest:
            break
    left = n - len(certain)
    # Neighbours in a systematic draw exclude each other; a random order keeps that from mattering.
    rng.shuffle(rest)
    if left:
        counts = shares([weights[place] for place in rest], left, rng)
        certain += [place for place, count in zip(rest, counts, strict=True) if count]
    rng.shuffle(certain)
    return certain
