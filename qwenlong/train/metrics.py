"""The numbers of metrics.jsonl and summary.json."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any, Literal

from qwenlong.evaluate.evaluate import AccuracyByContext, mean_over_sources
from qwenlong.types import Group

Part = Literal["rollout", "score", "learn", "load", "checkpoint", "evaluation"]


class Clock:
    """Seconds of each part of a step. Time after the last lap counts in the next step."""

    def __init__(self) -> None:
        self.seconds: dict[Part, float] = {}
        self.last = time.perf_counter()

    def lap(self, part: Part) -> None:
        """Adds the time since the last lap to ``part``."""
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self.last
        self.last = now

    def taken(self) -> dict[Part, float]:
        """The laps since the last call."""
        seconds, self.seconds = self.seconds, {}
        return seconds


def phase_metrics(
    groups: Sequence[Group],
    learned: Mapping[str, float],
    seconds: Mapping[Part, float],
    peak_memory_gb: float,
) -> dict[str, float]:
    """The metrics of an RL step. Lengths in tokens, entropy and KL in nats, memory in GiB.

    ``unjudged_share`` counts the responses without the judge's verdict, whatever
    ``rewards.unjudged`` did with them. ``seconds_checkpoint`` belongs to the checkpoint that was
    written just before the step.

    Args:
        groups: the groups that the step has sampled, trained on or not.
        learned: the learner's metrics of the groups that it trained on.
        peak_memory_gb: summed over all actors.
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


def add_stage(
    summary: Mapping[str, Any],
    name: str,
    kind: str,
    accuracy: Mapping[str, AccuracyByContext],
    logged: Sequence[Mapping[str, Any]],
    evaluation_seconds: float,
) -> dict[str, Any]:
    """The run's summary with one more stage; its seconds are the sum over the logged steps.

    Args:
        accuracy: by source.
        logged: the lines of metrics.jsonl.
    """
    seconds = sum(line.get("seconds_step", 0.0) for line in logged if line["stage"] == name)
    stage = {
        "name": name,
        "kind": kind,
        "seconds": seconds,
        "evaluation_seconds": evaluation_seconds,
        "accuracy": mean_over_sources(accuracy),
        "accuracy_by_source": accuracy,
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
