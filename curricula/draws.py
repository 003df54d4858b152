"""Draws by weight, as pure functions of a random generator."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from random import Random


def shares(weights: Sequence[float], n: int, rng: Random) -> list[int]:
    """How many of ``n`` draws each weight gets: its share, rounded up or down at random.

    Systematic sampling (Madow, 1949): every expected count is exactly ``n`` times the weight's
    share, and every count is off by less than one. Independent draws would give a cell of one
    expected prompt none at all in 37 % of the steps.
    """
    total = sum(weights)
    start = rng.random()
    ends = [n * end / total for end in accumulate(weights)]
    ends[-1] = float(n)  # the sum of the rounded shares may miss it
    # The points start, start + 1, … lie on a line of length n. Each weight covers a piece of the
    # line as long as its expected count, and gets the points on it.
    reached = [0, *(max(0, min(n, _points_below(end, start))) for end in ends)]
    return [after - before for before, after in pairwise(reached)]


def _points_below(end: float, start: float) -> int:
    """How many of start, start + 1, … are smaller than ``end``."""
    return int(end - start) + 1 if end > start else 0


def draw_distinct(weights: Sequence[float], n: int, rng: Random) -> list[int]:
    """``n`` different indices in random order, each with a probability of ``n`` times its share.

    An index whose probability would exceed 1 is certain; the others share the remaining draws by
    their weights.

    Raises:
        ValueError: there are fewer indices than ``n``.
    """
    if n > len(weights):
        raise ValueError(f"n={n}: there are {len(weights)} places")
    rest = list(range(len(weights)))
    certain: list[int] = []
    # Each round makes the rest's weights count for more, which may make further ones certain.
    while n > len(certain):
        left, total = n - len(certain), sum(weights[index] for index in rest)
        heavy = [index for index in rest if left * weights[index] >= total]
        if not heavy:
            break
        certain += heavy[:left]
        out = set(heavy)
        rest = [index for index in rest if index not in out]
    # Neighbours in a systematic draw exclude each other; a random order makes that harmless.
    rng.shuffle(rest)
    if left := n - len(certain):
        counts = shares([weights[index] for index in rest], left, rng)
        certain += [index for index, count in zip(rest, counts, strict=True) if count]
    rng.shuffle(certain)
    return certain
