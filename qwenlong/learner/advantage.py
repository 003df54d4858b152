"""Advantages: how much better than its group a rollout was."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev


def group_advantages(rewards: Sequence[float]) -> tuple[float, ...]:
    """(r - mean) / std over the group (QwenLong-L1, arXiv 2505.17667; GRPO, arXiv 2402.03300).

    The population's standard deviation is used. A group without variance has nothing to compare
    and gets zeros.
    """
    mean, spread = fmean(rewards), pstdev(rewards)
    if spread == 0.0:
        return (0.0,) * len(rewards)
    return tuple((reward - mean) / spread for reward in rewards)
