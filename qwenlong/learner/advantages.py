"""Advantages: how much better a rollout was than the others of its group."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, pstdev

from qwenlong.config.callables import ADVANTAGE, is_reference, resolve
from qwenlong.types import InputError

GroupRewards = Sequence[float]
"""The rewards of one group's judged rollouts."""
Advantages = tuple[float, ...]
"""One for each of a group's judged rollouts."""


def step_advantages(
    name: str, groups: Sequence[GroupRewards], tasks: Sequence[str], scaled: bool = True
) -> list[Advantages]:
    """The advantages of all groups of a step.

    Args:
        name: ``learner.advantage``: group, task, leave_one_out, or ``module:callable``.
        tasks: the kind of answer of each group.
        scaled: whether group and task advantages are divided by a standard deviation.

    Raises:
        InputError: a user's function cannot be used, or does not return one number a rollout.
    """
    if name == "task":
        return task_advantages(groups, tasks, scaled)
    if name == "leave_one_out":
        return [leave_one_out(rewards) for rewards in groups]
    if is_reference(name):
        function = resolve(name, "learner.advantage", ADVANTAGE)
        return [_own_advantages(function, name, rewards) for rewards in groups]
    return [group_advantages(rewards, scaled) for rewards in groups]


def _own_advantages(
    function: Callable[..., Sequence[float]], name: str, rewards: GroupRewards
) -> Advantages:
    found = tuple(float(each) for each in function(tuple(rewards)))
    if len(found) != len(rewards) or not all(map(math.isfinite, found)):
        raise InputError(
            f"learner.advantage={name}: returned {found} for the rewards {tuple(rewards)}; must be"
            " one finite number a reward"
        )
    return found


def group_advantages(rewards: GroupRewards, scaled: bool = True) -> Advantages:
    """(r - mean) / std over the group (QwenLong-L1, arXiv 2505.17667; GRPO, arXiv 2402.03300).

    The population's standard deviation is used. A group without variance, or of fewer than two
    rollouts, has nothing to compare and gets zeros.

    Args:
        scaled: False leaves out the division, which gives groups that are nearly solved or nearly
            hopeless more weight than others (Dr. GRPO, arXiv 2503.20783).
    """
    if len(set(rewards)) < 2:
        return (0.0,) * len(rewards)
    mean, spread = fmean(rewards), pstdev(rewards)
    scale = spread if scaled else 1.0
    return tuple((reward - mean) / scale for reward in rewards)


def task_advantages(
    groups: Sequence[GroupRewards], tasks: Sequence[str], scaled: bool = True
) -> list[Advantages]:
    """(r - group mean) / std over all rewards of the same task in the batch.

    QwenLong-L1.5 (arXiv 2512.12967), task-specific advantage estimation: a nearly solved group,
    whose own std is tiny, is not magnified, and tasks of different scales stay comparable.

    Args:
        tasks: the task of each group.
        scaled: False leaves out the division.
    """
    by_task: dict[str, list[float]] = {}
    for rewards, task in zip(groups, tasks, strict=True):
        by_task.setdefault(task, []).extend(rewards)
    spreads = {task: pstdev(rewards) if rewards else 0.0 for task, rewards in by_task.items()}
    return [
        tuple(
            each / (spreads[task] if scaled else 1.0) for each in group_advantages(rewards, False)
        )
        if spreads[task]
        else (0.0,) * len(rewards)
        for rewards, task in zip(groups, tasks, strict=True)
    ]


def leave_one_out(rewards: GroupRewards) -> Advantages:
    """r minus the mean of the group's other rewards (RLOO, arXiv 2402.14740, section 2).

    A baseline that does not depend on the rollout itself leaves the gradient unbiased. A group
    without variance, or of fewer than two rollouts, gets zeros.
    """
    if len(set(rewards)) < 2:
        return (0.0,) * len(rewards)
    total, others = math.fsum(rewards), len(rewards) - 1
    return tuple(reward - (total - reward) / others for reward in rewards)


LEAST_WEIGHT, MOST_WEIGHT, MIDDLE, SLOPE = 0.4, 1.5, 0.75, 10.0


def by_difficulty(advantages: Sequence[float], pass_rate: float) -> Advantages:
    """Gives right rollouts of hard groups and wrong ones of easy groups more weight.

    The weight is w(p) = A + (B - A) / (1 + exp(k (p - p0))) with A 0.4, B 1.5, p0 0.75, k 10;
    p is the pass rate for positive advantages, and 1 minus the pass rate for negative ones
    (GRPO-LEAD, arXiv 2504.09696, difficulty-aware advantage reweighting).
    """

    def weight(rate: float) -> float:
        rise = MOST_WEIGHT - LEAST_WEIGHT
        return LEAST_WEIGHT + rise / (1 + math.exp(SLOPE * (rate - MIDDLE)))

    right, wrong = weight(pass_rate), weight(1 - pass_rate)
    return tuple(each * (right if each > 0 else wrong) for each in advantages)


def overlong_penalty(length: int, limit: int, buffer: int) -> float:
    """The penalty that is added to the reward of a response of ``length`` tokens.

    It is 0 up to ``limit - buffer`` tokens and falls linearly to -1 at ``limit`` (DAPO, arXiv
    2503.14476, eq. 13).

    Args:
        limit: longest response allowed, in tokens.
        buffer: tokens before the limit over which the penalty grows; 0 makes it a step.
    """
    over = length - (limit - buffer)
    if over <= 0:
        return 0.0
    return -min(over / buffer, 1.0) if buffer else -1.0
