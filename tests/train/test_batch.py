"""Between engine and learner: which advantages a step has, and what its rows leave out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qwenlong.config import Config, LearnerConfig, RlStage, RolloutConfig
from qwenlong.learner.advantages import (
    by_difficulty,
    group_advantages,
    leave_one_out,
    task_advantages,
)
from qwenlong.train.batch import advantages_of, batch_of
from qwenlong.types import Batch, Example, Group, Limits, Prompt, Score
from tests.arrays import rollout

STAGE = RlStage(context=64, response=10, steps=1, batch=12, group=4, learning_rate=3e-4)
CONFIG = Config(rollout=RolloutConfig(temperature=0.7, top_p=0.9))
NAN = math.nan


def group(
    rewards: list[float],
    kind: str = "list",
    lengths: tuple[int, ...] = (),
    cut: tuple[int, ...] = (),
    versions: tuple[int, ...] = (),
) -> Group:
    """``cut``: which of the responses were; each has as many tokens as ``lengths`` says, or 2."""
    prompt = Prompt(Example("a", "mine", "Who?", ("Ann.",), ("Ann",), kind), (5, 6))
    rollouts = []
    for i in range(len(rewards)):
        tokens = lengths[i] if lengths else 2
        version = versions[i] if versions else 3
        finish = "length" if i in cut else "stop"
        response, logprobs = [10 + i] * tokens, [-float(i)] * tokens
        rollouts.append(rollout(response, logprobs, finish, version))
    return Group(prompt, tuple(rollouts), tuple(Score(r, "exact") for r in rewards))


def rows(groups: list[Group], drop_truncated: bool = False, version: int = 3) -> Batch:
    advantages = advantages_of(groups, STAGE, LearnerConfig())
    config = replace(CONFIG, learner=LearnerConfig(drop_truncated=drop_truncated))
    return batch_of(groups, advantages, version, STAGE, config, Limits())


def numbers(arrays: Sequence[NDArray[Any]]) -> list[list[Any]]:
    return [each.tolist() for each in arrays]


REWARDS = [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.5, 0.0], [1.0, 1.0, 1.0, 1.0]]
GROUPS = [group(r, kind) for r, kind in zip(REWARDS, ("list", "date", "list"), strict=True)]


def test_the_advantage_is_the_one_that_is_named() -> None:
    assert advantages_of(GROUPS, STAGE, LearnerConfig()) == [group_advantages(r) for r in REWARDS]
    by_task = advantages_of(GROUPS, STAGE, LearnerConfig(advantage="task"))
    assert by_task == task_advantages(REWARDS, ["list", "date", "list"])
    others = advantages_of(GROUPS, STAGE, LearnerConfig(advantage="leave_one_out"))
    assert others == [leave_one_out(rewards) for rewards in REWARDS]
    assert len({str(found) for found in (by_task, others)}) == 2


def test_an_objective_without_scaling_scales_neither_group_nor_task() -> None:
    for advantage in ("group", "task"):
        learner = LearnerConfig(objective="dr_grpo", advantage=advantage)
        found = advantages_of(GROUPS, STAGE, learner)
        assert found == [group_advantages(rewards, scaled=False) for rewards in REWARDS]


@pytest.mark.parametrize("advantage", ["group", "task", "leave_one_out"])
def test_difficulty_weighs_any_of_them(advantage: str) -> None:
    learner = LearnerConfig(advantage=advantage)
    plain = advantages_of(GROUPS, STAGE, learner)
    weighed = advantages_of(GROUPS, STAGE, replace(learner, difficulty_weight=True))
    rates = [0.25, 0.625, 1.0]
    assert weighed == [by_difficulty(a, p) for a, p in zip(plain, rates, strict=True)]
    assert weighed != plain


def test_the_penalty_on_long_responses_is_in_the_advantage_and_not_in_the_difficulty() -> None:
    long = group([1.0, 1.0, 0.0, 0.0], lengths=(10, 2, 8, 2))
    learner = LearnerConfig(overlong_buffer=4)
    # Half of the buffer is 8 tokens, all of it 10.
    expected = group_advantages([0.0, 1.0, -0.5, 0.0])
    assert advantages_of([long], STAGE, learner) == [expected]
    (weighed,) = advantages_of([long], STAGE, replace(learner, difficulty_weight=True))
    assert weighed == by_difficulty(expected, 0.5)


def test_what_was_not_judged_is_in_no_advantage_and_no_row() -> None:
    some = group([1.0, NAN, 0.0, NAN])
    none = group([NAN] * 4)
    learner = LearnerConfig(difficulty_weight=True)
    for advantage in ("group", "task", "leave_one_out"):
        found = advantages_of([some, none], STAGE, replace(learner, advantage=advantage))
        assert [len(each) for each in found] == [2, 0]
    batch = rows([some, none])
    assert numbers(batch.rows[0].responses) == [[10, 10], [12, 12]]
    assert (batch.rows[1].responses, batch.rows[1].advantages) == ((), ())


def test_a_row_is_a_group() -> None:
    batch = rows(GROUPS)
    assert numbers([row.prompt_ids for row in batch.rows]) == [[5, 6]] * 3
    assert {row.prompt_ids.dtype for row in batch.rows} == {np.dtype(np.int32)}
    assert numbers(batch.rows[0].responses) == [[10 + i] * 2 for i in range(4)]
    assert numbers(batch.rows[0].logprobs) == [[-float(i)] * 2 for i in range(4)]
    assert [row.advantages for row in batch.rows] == [group_advantages(r) for r in REWARDS]
    assert (batch.mini_batch, batch.learning_rate) == (3, 3e-4)
    assert (batch.response_limit, batch.temperature, batch.top_p) == (10, 0.7, 0.9)


def test_a_mini_batch_counts_rollouts() -> None:
    stage = replace(STAGE, mini_batch=4)
    advantages = [group_advantages(r) for r in REWARDS]
    batch = batch_of(GROUPS, advantages, 3, stage, CONFIG, Limits())
    assert batch.mini_batch == 1


def test_overlong_filtering_leaves_the_response_out_and_its_reward_in() -> None:
    cut = group([1.0, 0.0, 0.0, 1.0], cut=(1, 3))
    whole, filtered = rows([cut]).rows[0], rows([cut], drop_truncated=True).rows[0]
    assert len(whole.responses) == 4
    assert numbers(filtered.responses) == [[10, 10], [12, 12]]
    assert numbers(filtered.logprobs) == [[0.0, 0.0], [-2.0, -2.0]]
    # Among the two that are left the mean would be 0.5 as well; among four, the spread counts.
    assert filtered.advantages == (whole.advantages[0], whole.advantages[2])
    one = rows([group([1.0, 1.0, 1.0, 0.0], cut=(3,))], drop_truncated=True).rows[0]
    assert one.advantages == pytest.approx([3**-0.5] * 3)


def test_overlong_filtering_knows_which_were_judged() -> None:
    """Its places are of the rollouts, an advantage's of those that were judged."""
    mixed = group([NAN, 1.0, 0.0, 0.5], cut=(0, 2))
    row = rows([mixed], drop_truncated=True).rows[0]
    advantages = group_advantages([1.0, 0.0, 0.5])
    assert numbers(row.responses) == [[11, 11], [13, 13]]
    assert row.advantages == (advantages[0], advantages[2])


def test_a_group_that_was_cut_throughout_has_an_empty_row() -> None:
    row = rows([group([1.0, 0.0], cut=(0, 1))], drop_truncated=True).rows[0]
    assert (row.responses, row.advantages, row.logprobs) == ((), (), ())


def test_groups_of_an_earlier_version_are_marked() -> None:
    groups = [group([1.0, 0.0], versions=versions) for versions in ((2, 2), (3, 3))]
    assert [row.stale for row in rows(groups, version=3).rows] == [True, False]
    assert [row.stale for row in rows(groups, version=2).rows] == [False, True]
