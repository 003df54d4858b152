"""Draws by weight: exact expectations, no place twice, and the tests that hold samplers to them."""

from __future__ import annotations

from collections import Counter
from math import ceil, floor
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.curricula.draws import draw_distinct, shares
from tests.curricula.made import chi_square_tail, p_value, uniform

WEIGHTS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9)
STARTS = 64
"""Points at which ``shares`` is tried: the mean over an even grid is the expectation's."""


class Fixed(Random):
    """A generator whose next number is known."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def random(self) -> float:
        return self.number


@given(WEIGHTS, st.integers(0, 200), st.integers())
def test_shares_are_the_exact_ones_rounded_up_or_down(
    weights: list[float], n: int, seed: int
) -> None:
    counts = shares(weights, n, Random(seed))
    assert sum(counts) == n and len(counts) == len(weights)
    for weight, count in zip(weights, counts, strict=True):
        exact = n * weight / sum(weights)
        assert floor(exact - 1e-9) <= count <= ceil(exact + 1e-9)


@given(WEIGHTS, st.integers(1, 50))
def test_shares_are_exact_in_expectation(weights: list[float], n: int) -> None:
    """Over an even grid of starts a count's mean is off by less than one point of the grid."""
    tries = [shares(weights, n, Fixed((i + 0.5) / STARTS)) for i in range(STARTS)]
    for weight, counts in zip(weights, zip(*tries, strict=True), strict=True):
        assert sum(counts) / STARTS == pytest.approx(n * weight / sum(weights), abs=1.01 / STARTS)


@pytest.mark.parametrize("start", [0.0, 2**-53, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("weights", [[0.1] * 10, [1.0, 0.0, 2.0], [1 / 3] * 3, [1e-12, 1.0]])
def test_shares_add_up_wherever_rounding_may_bite(start: float, weights: list[float]) -> None:
    for n in range(40):
        counts = shares(weights, n, Fixed(start))
        assert sum(counts) == n and min(counts) >= 0


@given(WEIGHTS, st.data())
def test_distinct_indices_are_different(weights: list[float], data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(weights)))
    places = draw_distinct(weights, n, Random(data.draw(st.integers())))
    assert len(places) == n == len(set(places))
    assert set(places) <= set(range(len(weights)))


@given(WEIGHTS, st.data())
def test_heavy_places_are_certain(weights: list[float], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(weights)))
    places = draw_distinct(weights, n, Random(data.draw(st.integers())))
    heavy = {i for i, weight in enumerate(weights) if n * weight >= sum(weights) * (1 + 1e-9)}
    assert heavy <= set(places)


def certainties(weights: list[float], n: int) -> list[float]:
    """Each place's probability, by its definition: what exceeds 1 is spread over the others."""
    chances = [0.0] * len(weights)
    while True:
        free = [i for i, chance in enumerate(chances) if chance < 1]
        total, left = sum(weights[i] for i in free), n - (len(weights) - len(free))
        for i in free:
            chances[i] = left * weights[i] / total
        if max(chances) <= 1:
            return chances
        chances = [1.0 if chance >= 1 else 0.0 for chance in chances]


@settings(max_examples=12, derandomize=True)
@given(st.lists(st.floats(0.05, 20), min_size=3, max_size=8), st.data())
def test_distinct_draws_are_exact_in_expectation(weights: list[float], data: st.DataObject) -> None:
    n, rng, rounds = data.draw(st.integers(1, len(weights) - 1)), Random("fixed"), 3000
    counts = Counter(place for _ in range(rounds) for place in draw_distinct(weights, n, rng))
    for i, chance in enumerate(certainties(weights, n)):
        # Five standard deviations, and the rounding of a place that is all but certain.
        slack = 5 * (rounds * max(chance * (1 - chance), 0)) ** 0.5 + 1
        assert counts[i] == pytest.approx(rounds * chance, abs=slack)


def test_distinct_indices_come_in_random_order() -> None:
    rng = Random(4)
    firsts = Counter(draw_distinct([90.0, 1.0, 1.0, 1.0], 2, rng)[0] == 0 for _ in range(10_000))
    assert p_value(firsts, uniform([True, False])) > 0.001


def test_pairs_are_as_likely_wherever_they_stand() -> None:
    """A systematic draw in a fixed order would never give neighbours."""
    rng = Random(5)
    pairs = Counter(str(sorted(draw_distinct([1.0] * 6, 2, rng))) for _ in range(15_000))
    assert p_value(pairs, uniform(str([i, j]) for i in range(6) for j in range(i + 1, 6))) > 0.001


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="n=3: there are 2 places"):
        draw_distinct([1.0, 2.0], 3, Random(0))


def test_the_chi_square_test_knows_its_tables() -> None:
    for statistic, freedom, tail in ((3.841, 1, 0.05), (18.307, 10, 0.05), (135.807, 100, 0.01)):
        assert chi_square_tail(statistic, freedom) == pytest.approx(tail, rel=1e-3)


def test_the_chi_square_test_refuses_what_is_off_by_a_twentieth() -> None:
    rng = Random(6)
    counts = Counter(rng.choices("abcd", [1.05, 1.0, 1.0, 1.0], k=100_000))
    assert p_value(counts, uniform("abcd")) < 1e-6
    fair = Counter(rng.choices("abcd", k=100_000))
    assert p_value(fair, uniform("abcd")) > 0.001
