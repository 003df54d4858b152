"""The sampler: everything once an epoch, full draws of any pool, rests, and its metrics."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.config import SamplerConfig
from qwenlong.config.keys import declaration
from qwenlong.curricula.history import History
from qwenlong.curricula.sampler import Sampler
from qwenlong.types import InputError
from tests.curricula.made import group, ids, prompt

PROMPTS = [prompt(f"{i:02}") for i in range(13)]


@pytest.mark.parametrize("n", [1, 4, 13, 40])
def test_every_epoch_has_everything_once(n: int) -> None:
    sampler = Sampler(PROMPTS, History(), 0)
    drawn: list[str] = []
    while len(drawn) < 13 * n:
        part = ids(sampler.draw(n))
        assert len(part) == n
        drawn += part
    for start in range(0, 13 * n, 13):
        assert sorted(drawn[start : start + 13]) == ids(PROMPTS)


def test_epochs_and_seeds_differ_in_order() -> None:
    epochs = [tuple(ids(Sampler(PROMPTS, History(), seed).draw(13))) for seed in ("0 one", "0 two")]
    sampler = Sampler(PROMPTS, History(), "0 one")
    epochs += [tuple(ids(sampler.draw(13))) for _ in range(3)]
    assert epochs[2] == epochs[0]
    assert len(set(epochs)) == 4
    firsts = Counter(ids(Sampler(PROMPTS, History(), seed).draw(1))[0] for seed in range(650))
    assert len(firsts) == 13 and max(firsts.values()) < 100


@pytest.mark.parametrize("before", [0, 1, 12, 13, 14, 40])
def test_a_restored_sampler_draws_what_would_have_come(before: int) -> None:
    sampler = Sampler(PROMPTS, History(), 5)
    for _ in range(before):
        sampler.draw(1)
    state = json.loads(json.dumps(sampler.state()))
    expected = ids(sampler.draw(30))
    other = Sampler(PROMPTS, History(), 5)
    other.draw(3)
    other.restore(state)
    assert ids(other.draw(30)) == expected


CLUSTERS = st.tuples(st.integers(1, 12), st.sampled_from(["a", "b", "c"]))


@settings(max_examples=150)
@given(st.lists(CLUSTERS, min_size=1, max_size=14), st.data())
def test_a_draw_is_full_and_different_while_it_can_be(
    made: list[tuple[int, str]], data: st.DataObject
) -> None:
    """Whatever the pool, the cells, what rests, what comes back and what is left out."""
    pool = [prompt(f"own{i}", source, length=n) for i, (n, source) in enumerate(made)]
    earlier = [prompt(f"old{i}") for i in range(data.draw(st.integers(0, 3)))]
    by = data.draw(
        st.lists(st.sampled_from(declaration(SamplerConfig, "balance").one_of), unique=True)
    )
    config = SamplerConfig(
        by,
        replay=data.draw(st.sampled_from([0.0, 0.3, 0.99])),
        rest_solved=data.draw(st.integers(0, 3)),
        rest_hopeless=data.draw(st.integers(0, 3)),
    )
    mix = {"a": 1.0, "b": 20.0, "c": 0.01} if data.draw(st.booleans()) else {}
    history = History()
    history.observe([group(each, [0.0, 1.0]) for each in earlier])
    sampler = Sampler(pool, history, data.draw(st.integers()), config, mix, earlier)
    for _ in range(6):
        history.step += 1
        n = data.draw(st.integers(0, 20))
        out = data.draw(st.sets(st.sampled_from(ids(pool + earlier))))
        drawn = ids(sampler.draw(n, out))
        assert len(drawn) == n
        own = [key for key in drawn if key in ids(pool)]
        old = [key for key in drawn if key in ids(earlier)]
        assert len(own) + len(old) == n
        assert len(set(old)) == len(old) and not out & set(old)
        free = set(ids(pool)) - out
        if len(own) <= len(free):
            assert len(set(own)) == len(own) and set(own) <= free
        else:
            assert set(own) >= free
        rewards = st.sampled_from([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        shown = [each for each in pool if each.example.id in set(drawn)]
        history.observe([group(each, data.draw(rewards)) for each in shown])


REST = {
    "rest_solved": lambda steps: SamplerConfig(rest_solved=steps),
    "rest_hopeless": lambda steps: SamplerConfig(rest_hopeless=steps),
}


@pytest.mark.parametrize("name", REST)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_what_is_solved_or_hopeless_rests_for_that_many_steps(name: str, steps: int) -> None:
    """One prompt is all right or all wrong, and every step could draw all there are."""
    rewards = [1.0, 1.0] if name == "rest_solved" else [0.0, 0.0]
    history = History()
    pool = [prompt(str(i)) for i in range(6)]
    sampler = Sampler(pool, history, 0, REST[name](steps))
    drawn_at: list[int] = []
    for step in range(1, 25):
        history.step = step
        drawn = sampler.draw(5)
        if "0" in ids(drawn):
            drawn_at.append(step)
        history.observe([group(p, rewards if p is pool[0] else [0.0, 1.0]) for p in drawn])
    gaps = [after - before for before, after in pairwise(drawn_at)]
    assert min(gaps) == steps + 1
    assert max(gaps) <= steps + 2
    assert len(drawn_at) >= 24 // (steps + 2)


def test_the_other_end_does_not_rest() -> None:
    history = History()
    pool = [prompt(str(i)) for i in range(4)]
    sampler = Sampler(pool, history, 0, SamplerConfig(rest_solved=50))
    for history.step in range(1, 9):
        drawn = sampler.draw(4)
        assert len(set(ids(drawn))) == 4
        history.observe([group(each, [0.0, 0.0]) for each in drawn])


def test_a_pool_at_rest_wakes_the_longest_rested() -> None:
    history = History()
    pool = [prompt(str(i)) for i in range(6)]
    sampler = Sampler(pool, history, 0, SamplerConfig(rest_solved=100))
    first: list[str] = []
    for history.step in range(1, 4):
        drawn = sampler.draw(2)
        first += ids(drawn)
        history.observe([group(each, [1.0, 1.0]) for each in drawn])
    assert sorted(first) == ids(pool)
    for history.step in range(4, 10):
        drawn = sampler.draw(2)
        assert sorted(ids(drawn)) == sorted(first[:2])
        first = [*first[2:], *first[:2]]
        history.observe([group(each, [1.0, 1.0]) for each in drawn])


def test_one_of_rest_is_better_than_one_twice() -> None:
    """What the step has is left out; of those that rest there are enough."""
    history = History()
    pool = [prompt(str(i)) for i in range(8)]
    sampler = Sampler(pool, history, 0, SamplerConfig(rest_solved=100))
    history.observe([group(each, [1.0, 1.0]) for each in pool[2:]])
    history.step = 1
    first = ids(sampler.draw(4))
    assert set(first) > {"0", "1"}
    second = ids(sampler.draw(4, first))
    assert sorted(first + second) == ids(pool)


def test_what_comes_back_is_an_epoch_behind_at_most() -> None:
    """A prompt that rested ten epochs is not drawn ten times over."""
    history = History()
    pool = [prompt(str(i)) for i in range(4)]
    sampler = Sampler(pool, history, 0, SamplerConfig(rest_hopeless=30))
    history.observe([group(pool[0], [0.0, 0.0])])
    drawn: list[str] = []
    for history.step in range(1, 61):
        drawn += ids(sampler.draw(1))
    assert "0" not in drawn[:30]
    for start in range(30, 56):
        assert drawn[start : start + 4].count("0") <= 2
    assert drawn[30:].count("0") in (7, 8)


def test_metrics_count_what_was_drawn() -> None:
    """After rests, too, and with replayed prompts in no part of the phase's lengths."""
    history = History()
    pool = [prompt(f"own{i}", "ab"[i % 2], length=100 + i) for i in range(5)]
    old = [prompt(f"old{i}", "c", length=9) for i in range(3)]
    history.observe([group(each, [0.0, 1.0]) for each in old])
    settings = SamplerConfig(replay=0.25, rest_hopeless=4, rest_solved=1)
    sampler = Sampler(pool, history, 0, settings, earlier=old)
    counts: Counter[str] = Counter()
    for history.step in range(1, 30):
        drawn = sampler.draw(3)
        counts.update(each.example.source for each in drawn)
        rewards = {0: [0.0, 0.0], 1: [1.0, 1.0]}
        history.observe([group(p, rewards.get(len(p.ids) % 5, [0, 1])) for p in drawn])
    metrics = sampler.metrics()
    assert {key: metrics[f"draws_source/{key}"] for key in "abc"} == counts
    assert metrics["draws_replayed"] == counts["c"] > 0
    lengths = {key: n for key, n in metrics.items() if key.startswith("draws_length/")}
    # Five lengths in quarters of 1.25: 100 and 101 in the first.
    assert list(lengths) == [f"draws_length/{upper}" for upper in (101, 102, 103, 104)]
    assert sum(lengths.values()) == counts["a"] + counts["b"]
    assert metrics["pool"] == 5 == sum(n for key, n in metrics.items() if "pool_pass_rate/" in key)
    assert metrics["pool_hopeless"] == 1 == metrics["pool_solved"]


@pytest.mark.parametrize("span", [1, 2, 3, 4, 5, 7, 8, 1000])
def test_a_quarter_of_the_lengths_is_named_by_its_longest(span: int) -> None:
    pool = [prompt(str(n), length=n) for n in range(50, 50 + span)]
    sampler = Sampler(pool, History(), 0)
    longest: dict[str, int] = {}
    for each in pool:
        name = sampler.part(each, "length")
        longest[name] = max(longest.get(name, 0), len(each.ids))
    assert [int(name) for name in longest] == list(longest.values())
    assert len(longest) == min(span, 4)


def test_large_pools_are_fast() -> None:
    """25,000 prompts, 128 a step: a step must not wait for its draw."""
    pool = [prompt(str(i), "abcd"[i % 4], length=1 + i % 300) for i in range(25_000)]
    sampler = Sampler(pool, History(), 0, SamplerConfig(["source", "length", "pass_rate"]))
    sampler.draw(128)
    start = time.thread_time()
    for _ in range(5):
        sampler.draw(128)
    assert time.thread_time() - start < 5 * 0.5


OWN = """
def hardest(prompts, n, history, rng):
    def rate(prompt):
        return history.pass_rate(prompt.example)
    return sorted(prompts, key=lambda prompt: (rate(prompt) or 0.0, prompt.example.id))[:n]

def random(prompts, n, history, rng):
    return rng.sample(prompts, n)

def lazy(prompts, n, history, rng):
    return prompts[:1] * n
"""


@pytest.fixture(scope="module")
def own_draws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("own") / "own_draws.py"
    file.write_text(OWN)
    return file


def test_a_function_of_ones_own_draws_in_place_of_the_cells(own_draws: Path) -> None:
    pool = [prompt(f"p{i}", pass_rate=i / 8) for i in range(8)]
    old = [prompt(f"old{i}") for i in range(4)]
    history = History()
    history.observe([group(each, [1.0, 0.0]) for each in old])
    sampler = Sampler(pool, history, 0, SamplerConfig(draw=f"{own_draws}:hardest"))
    assert ids(sampler.draw(3)) == ["p0", "p1", "p2"]
    assert ids(sampler.draw(3, leave_out=["p0", "p2"])) == ["p1", "p3", "p4"]
    assert ids(sampler.draw(10)) == [*(f"p{i}" for i in range(8)), "p0", "p1"]
    settings = SamplerConfig(draw=f"{own_draws}:hardest", replay=0.5)
    replaying = Sampler(pool, history, 0, settings, earlier=old)
    drawn = ids(replaying.draw(4))
    assert {"p0", "p1"} < set(drawn) and len(set(drawn) & set(ids(old))) == 2


def test_a_function_of_ones_own_draws_the_same_after_a_restart(own_draws: Path) -> None:
    settings = SamplerConfig(draw=f"{own_draws}:random")
    first = Sampler(PROMPTS, History(), "seed", settings)
    first.draw(5)
    again = Sampler(PROMPTS, History(), "seed", settings)
    again.restore(json.loads(json.dumps(first.state())))
    assert ids(first.draw(5)) == ids(again.draw(5))


def test_a_function_of_ones_own_must_return_different_prompts(own_draws: Path) -> None:
    sampler = Sampler(PROMPTS, History(), 0, SamplerConfig(draw=f"{own_draws}:lazy"))
    with pytest.raises(InputError, match=r"lazy: must return 3 different prompts of the \d+ that"):
        sampler.draw(3)
