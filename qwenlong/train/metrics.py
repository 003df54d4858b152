"""What a step and a stage are said to have been: the numbers of metrics.jsonl and summary.json."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from qwenlong.types import Group


class Clock:
    """Seconds of each part of a step; what follows the last lap counts in the next step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self.last
        self.last = now

    def taken(self) -> dict[str, float]:
        """The laps since it was last asked."""
        seconds, self.seconds = self.seconds, {}
        return seconds


def phase_metrics(
    groups: Sequence[Group],
    learned: Mapping[str, float],
    seconds: Mapping[str, float],
    peak_memory_gb: float,
) -> dict[str, float]:
    """One RL step, of the groups that it sampled and of what the learner made of those it took.

    Lengths in tokens, entropy and KL in nats, memory in GiB over all actors.

    ``unjudged_share`` is of the responses that a judge gave no verdict on, whatever became of them.
    ``seconds_checkpoint`` is the checkpoint's that was written just before the step.
    """
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    rewards = [reward for group in groups for reward in group.rewards]
    scores = [score for group in groups for score in group.scores]
    response_tokens = sum(len(rollout.response_ids) for rollout in rollouts)
    prompt_tokens = sum(len(group.prompt.ids) for group in groups)
    total = sum(seconds.values())
    return {
        "reward_mean": fmean(rewards),
        "reward_std": pstdev(rewards),
        "unjudged_share": fmean("unjudged" in score.breakdown for score in scores),
        "zero_variance_share": fmean(len(set(group.rewards)) <= 1 for group in groups),
        "prompt_tokens_mean": prompt_tokens / len(groups),
        "response_tokens_mean": response_tokens / len(rollouts),
        "response_tokens": response_tokens,
        "truncated_share": fmean(rollout.finish_reason == "length" for rollout in rollouts),
        **learned,
        "tokens_per_s": (prompt_tokens + response_tokens) / total,
        "rollout_tokens_per_s": response_tokens / seconds["rollout"],
        **{f"seconds_{part}": value for part, value in seconds.items()},
        "seconds_step": total,
        "peak_memory_gb": peak_memory_gb,
    }


def summarised(
    summary: Mapping[str, Any],
    name: str,
    kind: str,
    accuracy: Mapping[str, Mapping[str, float]],
    logged: Sequence[Mapping[str, Any]],
    evaluation_seconds: float,
) -> dict[str, Any]:
    """``summary`` with one more stage; its seconds are those of the steps it logged."""
    seconds = sum(line.get("seconds_step", 0.0) for line in logged if line["stage"] == name)
    stage = {
        "name": name,
        "kind": kind,
        "seconds": seconds,
        "evaluation_seconds": evaluation_seconds,
        "accuracy": accuracy,
    }
    kl = [line.get("engine_learner_kl", 0.0) for line in logged]
    kl = [each for each in kl if not math.isnan(each)]
    memory = [line["peak_memory_gb"] for line in logged if "peak_memory_gb" in line]
    return {
        **summary,
        "stages": [*summary["stages"], stage],
        "engine_learner_kl_max": max(kl, default=0.0),
        "peak_memory_gb": max(memory, default=0.0),
    }
