"""Advantages against the plain computations of their papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenlong.learner.advantages import (
    by_difficulty,
    group_advantages,
    leave_one_out,
    task_advantages,
)

REWARDS = st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=0, max_size=6)
TASKS = st.sampled_from(["list", "date", "numeric"])
BATCHES = st.lists(st.tuples(REWARDS, TASKS), min_size=1, max_size=9)


@given(BATCHES, st.booleans())
def test_by_task_is_the_plain_computation(
    batch: list[tuple[list[float], str]], scaled: bool
) -> None:
    """Groups may have lost rollouts that were not judged, so they differ in size."""
    groups, tasks = [rewards for rewards, _ in batch], [task for _, task in batch]
    advantages = task_advantages(groups, tasks, scaled)
    assert len(advantages) == len(groups)
    for rewards, task, own in zip(groups, tasks, advantages, strict=True):
        of_task = np.concatenate([r for r, t in batch if t == task])
        spread = of_task.std() if scaled and len(of_task) else 1.0
        plain = np.array(rewards) - (np.mean(rewards) if rewards else 0.0)
        # A task without any variance has nothing to compare.
        expected = plain / spread if spread else 0 * plain
        assert own == pytest.approx(expected.tolist(), abs=1e-12)


def test_by_task_by_hand() -> None:
    groups = [[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0], [10.0, 30.0], [5.0, 5.0]]
    tasks = ["list", "list", "numeric", "date"]
    list_spread = math.sqrt(5 / 8 * 3 / 8)
    first, second, third, fourth = task_advantages(groups, tasks)
    assert first == pytest.approx([0.25 / list_spread] * 3 + [-0.75 / list_spread])
    assert second == pytest.approx([-0.5 / list_spread] * 2 + [0.5 / list_spread] * 2)
    assert third == pytest.approx([-1, 1])
    assert fourth == (0.0, 0.0)


def test_a_group_that_is_all_but_solved_is_not_blown_up() -> None:
    """What the division by the task's spread is for."""
    solved, even = [1.0] * 7 + [0.0], [1.0, 0.0] * 4
    by_group = group_advantages(solved)[-1]
    by_task = task_advantages([solved, even, even], ["list"] * 3)[0][-1]
    assert by_group < by_task < 0


def test_a_flat_group_has_no_advantage_whatever_its_tasks_mean() -> None:
    """The mean is the group's: a hard prompt is not punished for being hard."""
    flat, other = task_advantages([[0.0, 0.0], [1.0, 0.0]], ["list", "list"])
    assert flat == (0.0, 0.0)
    assert other[0] > 0 > other[1]


def test_tasks_and_groups_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="zip"):
        task_advantages([[0.0, 1.0]], ["list", "date"])


@given(REWARDS)
def test_leave_one_out_is_the_plain_computation(rewards: list[float]) -> None:
    others = [rewards[:i] + rewards[i + 1 :] for i in range(len(rewards))]
    expected = [
        r - float(np.mean(rest)) if rest else 0.0 for r, rest in zip(rewards, others, strict=True)
    ]
    assert leave_one_out(rewards) == pytest.approx(expected, abs=1e-12)


@given(REWARDS)
def test_leave_one_out_is_the_group_means_stretched(rewards: list[float]) -> None:
    """G / (G - 1) times r - mean."""
    stretch = len(rewards) / max(1, len(rewards) - 1)
    plain = [stretch * each for each in group_advantages(rewards, scaled=False)]
    assert leave_one_out(rewards) == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize(
    ("pass_rate", "right", "wrong"),
    [
        # 0.4 + 1.1 / (1 + exp(10 (p - 0.75))), and that of 1 - p.
        (0.0, 0.4 + 1.1 / (1 + math.exp(-7.5)), 0.4 + 1.1 / (1 + math.exp(2.5))),
        (0.75, 0.95, 0.4 + 1.1 / (1 + math.exp(-5))),
        (0.25, 0.4 + 1.1 / (1 + math.exp(-5)), 0.95),
        (1.0, 0.4 + 1.1 / (1 + math.exp(2.5)), 0.4 + 1.1 / (1 + math.exp(-7.5))),
    ],
)
def test_weights_by_difficulty(pass_rate: float, right: float, wrong: float) -> None:
    advantages = by_difficulty([2.0, -1.0, 0.0], pass_rate)
    assert advantages == pytest.approx((2 * right, -wrong, 0.0))
    assert pass_rate != 0.0 or right == pytest.approx(1.4994, abs=1e-4)
    assert pass_rate != 1.0 or right == pytest.approx(0.4834, abs=1e-4)


@given(st.floats(0, 1), st.floats(0, 1))
def test_weights_fall_for_what_is_right_and_rise_for_what_is_wrong(one: float, two: float) -> None:
    easier, harder = max(one, two), min(one, two)
    of_easy, of_hard = by_difficulty([1.0, -1.0], easier), by_difficulty([1.0, -1.0], harder)
    assert 0.4 < of_easy[0] <= of_hard[0] < 1.5
    assert -1.5 < of_easy[1] <= of_hard[1] < -0.4
    if easier - harder > 1e-6:
        assert of_easy[0] < of_hard[0] and of_easy[1] < of_hard[1]


def test_nothing_is_weighed_where_there_is_nothing() -> None:
    assert by_difficulty((), 0.5) == ()
    assert by_difficulty((0.0, 0.0), 1.0) == (0.0, 0.0)
