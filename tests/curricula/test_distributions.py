"""Every sampler's distribution, over 100,000 draws, by chi-square against what is stated here.

Each is also held against a distribution that it must not have, so that the test has teeth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from qwenlong.config import SamplerConfig
from qwenlong.curricula.history import History
from qwenlong.curricula.sampler import Sampler
from qwenlong.types import Prompt
from tests.curricula.made import chi_square_tail, group, ids, p_value, prompt, tally, uniform

DRAWS = 100_000
FAIR, REFUSED = 0.001, 1e-9
KINDS = ("date", "list", "numeric")
POOL = [
    prompt(
        f"{source}{i}",
        source,
        KINDS[i % 5 % 3],
        length=101 + -i * i % 200,
        pass_rate=(0.0, 0.3, 0.39, 0.5, 1.0)[i % 5],
    )
    for source, size in (("books", 8), ("news", 24), ("wiki", 68))
    for i in range(size)
]

LENGTHS = {len(each.ids) for each in POOL}


def drawing(sampler: Sampler, n: int, draws: int = DRAWS) -> Iterator[list[Prompt]]:
    for _ in range(draws // n):
        drawn = sampler.draw(n)
        assert len(drawn) == len(set(ids(drawn))) == n
        yield drawn


def slow(*cases: object) -> list[Any]:
    """Cases that make test leaves out: others go the same way through the sampler."""
    return [pytest.param(case, marks=pytest.mark.slow) for case in cases]


def by_cell(pool: Sequence[Prompt], cells: Sequence[object]) -> dict[str, float]:
    """Equal shares for the cells that there are, and in a cell for its prompts."""
    sizes = Counter(cells)
    return {
        each.example.id: 1 / len(sizes) / sizes[cell]
        for each, cell in zip(pool, cells, strict=True)
    }


def test_uniform_draws() -> None:
    counts = tally(drawing(Sampler(POOL, History(), 1), 16))
    assert p_value(counts, uniform(ids(POOL))) > FAIR
    assert max(counts.values()) - min(counts.values()) <= 1
    assert p_value(counts, by_cell(POOL, [each.example.source for each in POOL])) < REFUSED


def test_a_uniform_epoch_has_any_order() -> None:
    """Each prompt at each place, over 7,692 epochs of 13: (k - 1)² degrees, k / (k - 1) as wide."""
    pool = POOL[:13]
    k, epochs = len(pool), DRAWS // 13
    table: Counter[tuple[int, str]] = Counter()
    for drawn in drawing(Sampler(pool, History(), 2), k):
        table.update(enumerate(ids(drawn)))
    expected = epochs / k
    cells = [(i, key) for i in range(k) for key in ids(pool)]
    statistic = sum((table[cell] - expected) ** 2 / expected for cell in cells)
    assert FAIR < chi_square_tail(statistic * (k - 1) / k, (k - 1) ** 2) < 1 - FAIR


def quarter(length: int) -> int:
    """Of POOL's lengths, 101 to 300: 150, 200, 250 and 300 are the last of theirs."""
    assert {101, 300} <= LENGTHS and min(LENGTHS) == 101 and max(LENGTHS) == 300
    return (length - 101) // 50


def rate(each: Prompt) -> str:
    return {0.0: "0", 0.3: "0.2", 0.39: "0.2", 0.5: "0.4", 1.0: "0.8"}[
        each.example.metadata["pass_rate"]
    ]


CELLS = {
    "source": lambda each: each.example.source,
    "kind": lambda each: each.example.kind,
    "length": lambda each: quarter(len(each.ids)),
    "pass_rate": rate,
}


@pytest.mark.parametrize(
    "balance",
    [
        ["source"],
        ["length", "pass_rate"],
        *slow(["kind"], ["length"], ["pass_rate"], ["kind", "source"]),
    ],
    ids="×".join,
)
def test_balanced_draws(balance: list[str]) -> None:
    cells = [tuple(CELLS[by](each) for by in balance) for each in POOL]
    counts = tally(drawing(Sampler(POOL, History(), 3, SamplerConfig(balance=balance)), 16))
    assert p_value(counts, by_cell(POOL, cells)) > FAIR
    assert p_value(counts, uniform(ids(POOL))) < REFUSED
    by = Counter(cells)
    drawn_cells = dict.fromkeys(by, 0)
    for key, cell in zip(ids(POOL), cells, strict=True):
        drawn_cells[cell] += counts[key]
    assert p_value(drawn_cells, uniform(by)) > FAIR


def test_pass_rates_are_those_of_the_last_group_and_else_the_given_ones() -> None:
    """Six parts: the five of the rates, and what nobody knows."""
    seen = {f"seen{i}": i / 8 for i in range(9)}
    pool = [prompt(key, pass_rate=0.5) for key in seen]
    pool += [prompt(f"given{i}", pass_rate=0.7) for i in range(5)]
    pool += [prompt(f"unseen{i}") for i in range(12)]
    history = History()
    history.observe([group(p, [r] * 4) for p, r in zip(pool, seen.values(), strict=False)])
    fifths = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 3, 6: 3, 7: 4, 8: 4}
    cells = [*(str(fifths[i]) for i in range(9)), *"33333", *["unseen"] * 12]
    sampler = Sampler(pool, history, 4, SamplerConfig(balance=["pass_rate"]))
    counts = tally(drawing(sampler, 6))
    assert p_value(counts, by_cell(pool, cells)) > FAIR
    assert p_value(counts, uniform(ids(pool))) < REFUSED


MIX = {"wiki": 1.0, "news": 6.0, "books": 3.0}


@pytest.mark.parametrize("balance", [*slow([]), ["kind"]], ids=["alone", "×kind"])
def test_draws_of_a_mix(balance: list[str]) -> None:
    """Books have two kinds and the others three, which is nothing to the sources' shares."""
    pool = [p for p in POOL if (p.example.source, p.example.kind) != ("books", "numeric")]
    sampler = Sampler(pool, History(), 5, SamplerConfig(balance=balance), MIX)
    counts = tally(drawing(sampler, 20))
    expected: dict[str, float] = {}
    for source, weight in MIX.items():
        own = [each for each in pool if each.example.source == source]
        cells = by_cell(own, [each.example.kind if balance else None for each in own])
        expected |= {key: weight / 10 * share for key, share in cells.items()}
    assert p_value(counts, expected) > FAIR
    equal = by_cell(pool, [each.example.source for each in pool])
    assert p_value(counts, equal) < REFUSED
    if not balance:
        sources = Counter(key.rstrip("0123456789") for key in counts.elements())
        assert sources == {"wiki": 10_000, "news": 60_000, "books": 30_000}


EARLIER = [prompt(f"earlier{i}", "earlier", length=50) for i in range(200)]
REWARDS = ([0.0] * 8, [1.0] + [0.0] * 7, [0.03] * 8, [0.37, 0.2, 0, 0, 0.9, 0, 1, 0.5], [1.0] * 8)
DIFFICULTY = (16.0, 8.0, 16.0, 8 / 2.97, 1.0)
"""1 / mean reward; what is below half a right rollout of 8, and 0 above all, counts as that."""


def remembered() -> History:
    history = History()
    history.observe([group(each, REWARDS[i % 5]) for i, each in enumerate(EARLIER)])
    return history


@pytest.mark.parametrize("replay_by", ["difficulty", *slow("uniform")])
def test_replay_by(replay_by: str) -> None:
    """40 of 80 prompts a step are of the 200 that earlier phases have seen."""
    assert len(EARLIER) % 5 == 0
    settings = SamplerConfig(replay=0.5, replay_by=replay_by)
    sampler = Sampler(POOL, remembered(), 6, settings, earlier=EARLIER)
    counts = tally(drawing(sampler, 80, 2 * DRAWS))
    old = Counter({key: n for key, n in counts.items() if key.startswith("earlier")})
    assert old.total() == DRAWS
    assert p_value(counts - old, uniform(ids(POOL))) > FAIR
    weights = DIFFICULTY if replay_by == "difficulty" else (1.0,) * 5
    total = sum(weights) * len(EARLIER) / 5
    expected = {each.example.id: weights[i % 5] / total for i, each in enumerate(EARLIER)}
    others = DIFFICULTY if replay_by == "uniform" else (1.0,) * 5
    total = sum(others) * len(EARLIER) / 5
    wrong = {each.example.id: others[i % 5] / total for i, each in enumerate(EARLIER)}
    assert p_value(old, expected) > FAIR
    assert p_value(old, wrong) < REFUSED


@pytest.mark.parametrize(("n", "replay"), [(8, 0.3), (5, 0.05), (1, 0.25)])
def test_the_share_of_replay_is_exact(n: int, replay: float) -> None:
    """Its fraction is drawn: each step has n × replay, rounded up or down."""
    settings, steps = SamplerConfig(replay=replay), 5_000
    sampler = Sampler(POOL[:20], remembered(), 7, settings, earlier=EARLIER[:20])
    olds = Counter(
        sum(key.startswith("earlier") for key in ids(drawn))
        for drawn in drawing(sampler, n, steps * n)
    )
    up = n * replay % 1
    least = int(n * replay)
    assert p_value(olds, {least: 1 - up, least + 1: up}) > FAIR
    assert p_value(olds, {least: 1 - up * 0.7, least + 1: up * 0.7}) < FAIR


def test_only_what_was_seen_comes_back() -> None:
    """An earlier phase may end before it has drawn everything."""
    history = History()
    history.observe([group(each, [1.0, 0.0]) for each in EARLIER[:3]])
    sampler = Sampler(POOL, history, 8, SamplerConfig(replay=0.5), earlier=EARLIER)
    for _ in range(20):
        old = {key for key in ids(sampler.draw(10)) if key.startswith("earlier")}
        assert old == {"earlier0", "earlier1", "earlier2"}


@pytest.mark.parametrize("balance", [*slow([]), ["source"]], ids=["alone", "×source"])
def test_what_rests_is_not_drawn_and_the_others_are_as_before(balance: list[str]) -> None:
    """Half of books is solved, every second of news is hopeless, and they rest for good."""
    solved = [each for each in POOL if each.example.source == "books"][4:]
    hopeless = [each for each in POOL if each.example.source == "news"][::2]
    half = [each for each in POOL if each.example.source == "wiki"][:30]
    history = History()
    for some, rewards in ((solved, [1.0, 1.0]), (hopeless, [0.0, 0.0]), (half, [0.0, 1.0])):
        history.observe([group(each, rewards) for each in some])
    settings = SamplerConfig(balance=balance, rest_solved=9, rest_hopeless=9)
    counts = tally(drawing(Sampler(POOL, history, 9, settings), 12))
    resting = {*ids(solved), *ids(hopeless)}
    awake = [each for each in POOL if each.example.id not in resting]
    expected = by_cell(awake, [each.example.source if balance else None for each in awake])
    assert p_value(counts, expected) > FAIR
    wrong = by_cell(awake, [None if balance else each.example.source for each in awake])
    assert p_value(counts, wrong) < REFUSED


def test_a_step_is_not_in_the_order_of_its_cells() -> None:
    """Mini-batches are parts of a step: each place has every source, and replay, by its share."""
    settings = SamplerConfig(balance=["source"], replay=0.25)
    sampler = Sampler(POOL, remembered(), 10, settings, earlier=EARLIER[:40])
    places: list[Counter[str]] = [Counter() for _ in range(8)]
    for drawn in drawing(sampler, 8, 8 * 2_500):
        for place, each in zip(places, drawn, strict=True):
            place[each.example.source] += 1
    for place in places:
        assert p_value(place, uniform(["books", "news", "wiki", "earlier"])) > FAIR / 8
