"""What is measured of one run, from the files that it wrote."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from qwenlong.report.runs import LoggedRun, logged_rollouts
from qwenlong.rewards import registry
from qwenlong.types import Example

LAST = 5
"""RL steps at the beginning and at the end of a run that measures are averaged over."""

# name: (label, format)
MEASURES: dict[str, tuple[str, str]] = {
    "reward": (f"mean reward, last {LAST} RL steps", ".3f"),
    "strict": ("strict accuracy at that phase's context", ".3f"),
    "gap": ("training reward minus strict accuracy", "+.3f"),
    "wrong_first": (f"rewarded though wrong, share of the first {LAST} RL steps", ".3f"),
    "wrong_last": (f"rewarded though wrong, share of the last {LAST} RL steps", ".3f"),
    "wrong_growth": ("growth of the share that is rewarded though wrong", "+.3f"),
    "entropy_first": (f"entropy, first {LAST} RL steps, nats a token", ".3f"),
    "entropy_last": (f"entropy, last {LAST} RL steps, nats a token", ".3f"),
    "kl_sft": (f"KL to the policy before RL, last {LAST} steps, nats", ".4f"),
    "kl_engine": ("engine–learner KL, highest, nats", ".1e"),
    "grad_mean": ("gradient norm, mean", ".3f"),
    "grad_max": ("gradient norm, highest", ".3f"),
    "steps": ("RL steps", ",.0f"),
    "tokens": ("tokens generated in RL", ",.0f"),
    "seconds": ("seconds of training", ",.0f"),
    "evaluation": ("seconds of evaluation", ",.0f"),
}
# Verifiers that need only what a rollout's line holds: question, gold answers and response.
_VERIFIERS = {"extractive", "yes_no"}


def measure(folder: Path, run: LoggedRun, config: Mapping[str, Any]) -> dict[str, float]:
    """The measures that the run's files hold, by the names of ``MEASURES``."""
    steps = run.rl_steps
    entropy, norms, kl = (column(steps, key) for key in ("entropy", "grad_norm", "kl"))
    # Old runs did not log how long their evaluations took.
    evaluation = [each.evaluation_seconds for each in run.stages if each.evaluation_seconds]
    found = {
        "entropy_first": fmean(entropy[:LAST]) if entropy else None,
        "entropy_last": fmean(entropy[-LAST:]) if entropy else None,
        "kl_sft": fmean(kl[-LAST:]) if kl else None,
        "kl_engine": max(column(steps, "engine_learner_kl"), default=None),
        "grad_mean": fmean(norms) if norms else None,
        "grad_max": max(norms, default=None),
        "steps": float(len(steps)),
        "tokens": sum(column(steps, "response_tokens")),
        "seconds": sum(stage.seconds or 0.0 for stage in run.stages),
        "evaluation": sum(evaluation) if evaluation else None,
        **_reward_and_accuracy(run, config),
        **_rewarded_though_wrong(folder, run),
    }
    return {name: value for name, value in found.items() if value is not None}


def column(steps: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    return [float(step[key]) for step in steps if step.get(key) is not None]


def _reward_and_accuracy(run: LoggedRun, config: Mapping[str, Any]) -> dict[str, float]:
    """Training reward at the end of the last finished phase, and the accuracy after that phase.

    The accuracy is at the longest evaluated context that is not longer than the phase's own.
    """
    for stage in reversed(run.stages):
        limit = ((config["stages"].get(stage.name) or {}).get("context")) or math.inf
        within = [context for context in stage.accuracy if context <= limit]
        own = [step for step in run.rl_steps if step.get("stage") == stage.name]
        rewards = column(own, "reward_mean")
        if rewards and within:
            reward, strict = fmean(rewards[-LAST:]), stage.accuracy[max(within)].value
            return {"reward": reward, "strict": strict, "gap": round(reward - strict, 9)}
    return {}


def _rewarded_though_wrong(folder: Path, run: LoggedRun) -> dict[str, float]:
    """How often training gave the full reward to a wrong answer: does the policy learn to cheat?"""
    # Evaluation scores each source by its own verifier, whatever rule training uses.
    verifiers = {
        str(record["source"]): str(record["score"]["verifier"])
        for stage in run.stages[-1:]
        for record in logged_rollouts(folder, f"{stage.name}-eval")
    }
    first, last = (
        rewarded_though_wrong(folder, steps, verifiers)
        for steps in (run.rl_steps[:LAST], run.rl_steps[-LAST:])
    )
    if first is None or last is None:
        return {}
    return {"wrong_first": first, "wrong_last": last, "wrong_growth": round(last - first, 9)}


def rewarded_though_wrong(
    folder: Path, steps: Sequence[Mapping[str, Any]], verifiers: Mapping[str, str]
) -> float | None:
    """Share of the steps' responses that got the full reward and are wrong by their verifier.

    Args:
        verifiers: the strict verifier of each source.

    Returns:
        None if no response can be scored again.
    """
    rewarded = scored = 0
    known: dict[tuple[Any, ...], float | None] = {}
    for step in steps:
        for record in logged_rollouts(folder, f"{step['stage']}-{int(step['step']):05d}"):
            reward, source = record["score"]["value"], str(record["source"])
            if reward is None or verifiers.get(source) not in _VERIFIERS:
                continue
            key = (record["question"], tuple(record["answers"]), record["response"])
            if key not in known:
                example = Example("", source, key[0], (), key[1], verifiers[source])
                known[key] = registry.score(example, key[2]).value
            if (value := known[key]) is not None:
                scored += 1
                rewarded += reward == 1.0 and value < 1.0
    return rewarded / scored if scored else None
