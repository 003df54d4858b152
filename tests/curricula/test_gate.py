"""Dynamic sampling's bounds: a full step from few rounds, and nothing with variance thrown away."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.curricula.gate import LEAST_ADMITTED, Gate, sampled_version
from qwenlong.types import Group
from tests.curricula.made import group, plain, prompt

FLAT = ([0.0, 0.0], [1.0, 1.0], [0.5, 0.5])
VARIED = ([0.0, 1.0], [0.2, 0.3])
POOL = [prompt(str(i), length=3) for i in range(4000)]


def varied(of: Group) -> bool:
    return len(set(of.rewards)) > 1


def key(of: Group) -> str:
    return of.prompt.example.id


def saved(gate: Gate) -> Gate:
    """Another gate, from what a checkpoint would have of this one."""
    again = Gate(gate.size, gate.refill, gate.staleness)
    again.restore(json.loads(json.dumps(gate.state())), POOL)
    assert plain(again.waiting) == plain(gate.waiting)
    return again


@settings(max_examples=200)
@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 2), st.data())
def test_bounds(size: int, refill: int, staleness: int, data: st.DataObject) -> None:
    """Every prompt is sampled once here, so that its group has a name."""
    gate, fresh, version = Gate(size, refill, staleness), count(), 0
    fates: Counter[str] = Counter()
    dropped: set[str] = set()
    for _ in range(data.draw(st.integers(1, 6))):
        version += data.draw(st.sampled_from([1, 1, 1, 3]))
        waited = list(gate.waiting)
        gate.start_step(version)
        stale = [each for each in waited if version - sampled_version(each) > staleness]
        dropped |= {key(each) for each in stale}
        assert gate.dropped == len(stale)
        sampled: list[Group] = []
        rounds = 0
        while wanted := gate.wanted():
            rounds += 1
            assert wanted <= size
            kinds = data.draw(st.lists(st.booleans(), min_size=wanted, max_size=wanted))
            some = [group(POOL[next(fresh)], (FLAT, VARIED)[k][0], version) for k in kinds]
            gate.admit(some)
            sampled += some
        assert rounds <= refill + 1
        taken = gate.finish_step()
        assert len(taken) == size
        fates.update(key(each) for each in taken)
        assert all(version - sampled_version(each) <= staleness for each in taken)
        if refill:
            carried = [each for each in waited if each not in stale]
            have = carried + [each for each in sampled if varied(each)]
            # Groups without variance only where there are no others; the oldest first.
            assert taken[: len(have)] == have[:size]
            assert not any(map(varied, taken[len(have) :]))
            assert gate.waiting == (have[size:] if staleness else [])
            dropped |= set() if staleness else {key(each) for each in have[size:]}
            if len(have) < size:
                assert rounds == refill + 1
        else:
            assert taken == sampled and not gate.waiting
        metrics = gate.metrics()
        assert not refill or metrics["gate_sampled"] == len(sampled)
        assert not refill or metrics["gate_refills"] == rounds - 1
        gate = saved(gate)
    assert max(fates.values()) == 1
    assert not dropped & set(fates)


def test_what_waits_is_trained_on_in_the_next_step() -> None:
    gate = Gate(4, refill=2, staleness=1)
    gate.start_step(7)
    gate.admit([group(each, FLAT[0], 7) for each in POOL[:3]] + [group(POOL[3], VARIED[0], 7)])
    # One of four had variance: three more are taken to need twelve, but a round has four at most.
    assert gate.wanted() == 4
    gate.admit([group(each, VARIED[1], 7) for each in POOL[4:8]])
    assert gate.wanted() == 0
    assert [key(each) for each in gate.finish_step()] == ["3", "4", "5", "6"]
    assert gate.metrics()["gate_carried_out"] == 1
    gate = saved(gate)
    gate.start_step(8)
    assert gate.ids() == {"7"}
    assert gate.wanted() == 3
    gate.admit([group(each, VARIED[0], 8) for each in POOL[10:13]])
    assert [key(each) for each in gate.finish_step()] == ["7", "10", "11", "12"]
    assert gate.metrics() == {
        "gate_sampled": 3, "gate_refills": 0, "gate_flat": 0,
        "gate_carried_in": 1, "gate_carried_out": 0, "gate_dropped": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("staleness", "later", "kept"), [(1, 1, 1), (1, 2, 0), (2, 2, 1)])
def test_staleness_is_a_bound(staleness: int, later: int, kept: int) -> None:
    """Fine-tuning between phases moves the version on, too."""
    gate = Gate(1, refill=1, staleness=staleness)
    gate.start_step(5)
    gate.admit([group(each, VARIED[0], 5) for each in POOL[:2]])
    gate.finish_step()
    gate.start_step(5 + later)
    assert len(gate.admitted) == kept
    assert gate.dropped == 1 - kept
    assert gate.wanted() == 1 - kept


def test_a_refill_is_as_large_as_the_share_with_variance_says() -> None:
    for had, sampled in ((8, 8), (7, 8), (4, 8), (3, 8), (1, 8)):
        gate = Gate(8, refill=1)
        gate.start_step(0)
        rewards = [VARIED[0]] * had + [FLAT[0]] * (sampled - had)
        gate.admit([group(p, r) for p, r in zip(POOL, rewards, strict=False)])
        share = max(had / sampled, LEAST_ADMITTED)
        assert gate.wanted() == min(8, math.ceil((8 - had) / share))


def test_what_was_carried_in_says_nothing_of_the_share() -> None:
    gate = Gate(8, refill=1, staleness=1)
    gate.waiting = [group(each, VARIED[0], 0) for each in POOL[:6]]
    gate.start_step(1)
    assert gate.wanted() == 2
    gate.admit([group(POOL[6], VARIED[0], 1), group(POOL[7], FLAT[0], 1)])
    assert gate.wanted() == 2


def test_without_refill_it_takes_what_comes() -> None:
    gate = Gate(3)
    gate.start_step(0)
    groups = [group(each, FLAT[1]) for each in POOL[:3]]
    assert gate.wanted() == 3
    gate.admit(groups)
    assert gate.wanted() == 0
    assert gate.finish_step() == groups
    assert gate.metrics() == {}


def test_a_group_without_a_verdict_has_no_variance() -> None:
    gate = Gate(2, refill=1)
    gate.start_step(0)
    gate.admit([group(POOL[0], [math.nan, math.nan]), group(POOL[1], [math.nan, 1.0])])
    assert len(gate.flat) == 2
    assert gate.wanted() == 2


def test_groups_that_wait_come_back_from_json_as_they_were() -> None:
    gate = Gate(1, refill=1, staleness=1)
    gate.start_step(3)
    gate.admit([group(POOL[0], VARIED[0], 3), group(POOL[1], [0.0, 0.25, 1.0], 3)])
    gate.finish_step()
    (again,) = saved(gate).waiting
    assert plain([again]) == plain([group(POOL[1], [0.0, 0.25, 1.0], 3)])
    assert again.rollouts[0].response_ids.dtype == np.int32
    assert again.rollouts[0].logprobs.dtype == np.float32
    assert again.prompt is POOL[1]


def test_a_missing_verdict_waits_as_such() -> None:
    gate = Gate(1, refill=1, staleness=1)
    gate.start_step(3)
    gate.admit([group(POOL[0], VARIED[0], 3), group(POOL[1], [0.0, math.nan, 1.0], 3)])
    gate.finish_step()
    again = Gate(1, 1, 1)
    again.restore(json.loads(json.dumps(gate.state())), POOL)
    assert again.waiting[0].rewards == (0.0, 1.0)
    assert len(again.waiting[0].rollouts) == 3
