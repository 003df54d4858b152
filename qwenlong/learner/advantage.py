"""Advantages: how much better than its group a rollout was; and what a long rollout costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev


def group_advantages(rewards: Sequence[float], scaled: bool = True) -> tuple[float, ...]:
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
