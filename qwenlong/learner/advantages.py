"""Advantages: how much better than its group a rollout was; and what a long rollout costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pstdev

Rewards = Sequence[float]
"""Of one group's judged rollouts."""


def group_advantages(rewards: Rewards, scaled: bool = True) -> tuple[float, ...]:
    """(r - mean) / std over the group (QwenLong-L1, arXiv 2505.17667; GRPO, arXiv 2402.03300).

    The population's standard deviation is used. A group without variance, or of less than two,
    has nothing to compare and gets zeros.

    Args:
        scaled: False leaves out the division, so that groups which are all but solved, or all but
            hopeless, weigh no more than others (Dr. GRPO, arXiv 2503.20783).
    """
    if len(set(rewards)) < 2:
        return (0.0,) * len(rewards)
    mean, spread = fmean(rewards), pstdev(rewards)
    scale = spread if scaled else 1.0
    return tuple((reward - mean) / scale for reward in rewards)


def task_advantages(
    groups: Sequence[Rewards], tasks: Sequence[str], scaled: bool = True
) -> list[tuple[float, ...]]:
    """(r - group mean) / std over all rewards of the same task in the batch.

    QwenLong-L1.5 (arXiv 2512.12967), task-specific advantage estimation: a group that is all but
    solved is not blown up, and tasks of different scales stay comparable.

    Args:
        tasks: of each group.
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


def leave_one_out(rewards: Rewards) -> tuple[float, ...]:
    """r minus the mean of the group's others (RLOO, arXiv 2402.14740, section 2): unbiased.

    A reward without others to compare it with gets zero.
    """
    if len(set(rewards)) < 2:
        return (0.0,) * len(rewards)
    total, others = math.fsum(rewards), len(rewards) - 1
    return tuple(reward - (total - reward) / others for reward in rewards)


LEAST_WEIGHT, MOST_WEIGHT, MIDDLE, SLOPE = 0.4, 1.5, 0.75, 10.0


def by_difficulty(advantages: Sequence[float], pass_rate: float) -> tuple[float, ...]:
    """Weighs what is right in hard groups, and what is wrong in easy ones, more than the rest.

    The weight is w(p) = A + (B - A) / (1 + exp(k (p - p0))), of the pass rate p for positive
    advantages and of 1 - p for negative ones, with A 0.4, B 1.5, p0 0.75, k 10 (GRPO-LEAD, arXiv
    2504.09696, difficulty-aware advantage reweighting).
    """

    def weight(rate: float) -> float:
        rise = MOST_WEIGHT - LEAST_WEIGHT
        return LEAST_WEIGHT + rise / (1 + math.exp(SLOPE * (rate - MIDDLE)))

    right, wrong = weight(pass_rate), weight(1 - pass_rate)
    return tuple(each * (right if each > 0 else wrong) for each in advantages)


def overlong_penalty(length: int, limit: int, buffer: int) -> float:
    """What is added to the reward of a response of ``length`` tokens.

    0 up to ``limit - buffer`` tokens, from there falling in a line to -1 at ``limit`` (DAPO, arXiv
    2503.14476, eq. 13).

    Args:
        limit: longest response allowed, in tokens.
        buffer: tokens before the limit over which the penalty grows; 0 makes it a step.
    """
    over = length - (limit - buffer)
    if over <= 0:
        return 0.0
    return -min(over / buffer, 1.0) if buffer else -1.0
