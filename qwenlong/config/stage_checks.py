"""What the stages of an experiment may say, each alone, in their order, and under their RoPE."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from qwenlong.config import TARGET_STEPS, Config, RlStage, SftStage, SourceConfig
from qwenlong.types import InputError, require

LENGTHS = ("band", "up_to")
BALANCE = ("source", "kind", "length", "pass_rate")
REPLAY_BY = ("difficulty", "uniform")
NAMED_BY_ROWS = {"built", "chat", "jsonl"}
"""Sources whose rows may say that they are of another."""
UNTRAINED = "untrained"
"""What the policy is called before its first stage."""


def check_stages(config: Config) -> None:
    """
    Raises:
        InputError: a stage that no run could go through.
    """
    require(bool(config.stages), "stages", {}, "at least one is needed")
    for name, stage in config.stages.items():
        named = re.fullmatch(r"[\w-]+", name) and name != UNTRAINED
        require(bool(named), "stages", name, f"a name is a word, and not {UNTRAINED!r}")
        _check_stage(f"stages.{name}", stage, config.learner.processes)
    answered = bool(config.phases) or config.evaluation.response is not None
    right = "must be set where no stage of kind: rl has a response"
    require(answered, "evaluation.response", config.evaluation.response, right)
    phases = [(name, s) for name, s in config.stages.items() if isinstance(s, RlStage)]
    for (_, before), (name, phase) in pairwise(phases):
        right = f"must not be shorter than the phase before it ({before.context})"
        key = f"stages.{name}.context"
        require(phase.context >= before.context, key, phase.context, right)
    order = list(config.stages)
    for name, stage in config.stages.items():
        if not isinstance(stage, SftStage):
            _check_names(f"stages.{name}.mix", stage.mix, "data.train", config.data.train)
            continue
        _check_names(f"stages.{name}.sources", stage.sources, "data.sft", config.data.sft)
        if stage.own_rollouts:
            key = f"stages.{name}.own_rollouts"
            sampled = any(order.index(phase) < order.index(name) for phase, _ in phases)
            right = "needs a phase before it, which samples them"
            require(sampled, key, stage.own_rollouts, right)
    _check_curriculum(config, phases)


def _check_names(
    key: str, names: Collection[str], where: str, sources: Sequence[SourceConfig]
) -> None:
    """Of sources, as far as they are known before files are read."""
    known = {source.source for source in sources}
    unknown = sorted(set(names) - known)
    if unknown and not known & NAMED_BY_ROWS:
        there = ", ".join(sorted(known)) or "no source"
        raise InputError(f"{key}={unknown[0]}: {where} has {there}")


def _check_stage(key: str, stage: Any, processes: int) -> None:
    counts = ["context", "batch"]
    counts += ["checkpoint_every"] if isinstance(stage, SftStage) else []
    counts += ["response", "steps"] if isinstance(stage, RlStage) else []
    for name in counts:
        value = getattr(stage, name)
        require(value >= 1, f"{key}.{name}", value, "must be at least 1")
    factor = stage.yarn_factor
    require(factor >= 1, f"{key}.yarn_factor", factor, "must be at least 1")
    rate = stage.learning_rate
    require(rate > 0, f"{key}.learning_rate", rate, "must be above 0")
    if isinstance(stage, SftStage):
        require(stage.epochs > 0, f"{key}.epochs", stage.epochs, "must be above 0")
        require(0 <= stage.warmup < 1, f"{key}.warmup", stage.warmup, "must be in [0, 1)")
        own = stage.own_rollouts
        require(own >= 0, f"{key}.own_rollouts", own, "must be at least 0")
        micro = stage.batch if stage.micro_batch is None else stage.micro_batch
        right = f"must divide batch ({stage.batch})"
        require(micro >= 1 and stage.batch % micro == 0, f"{key}.micro_batch", micro, right)
        right = f"must be a multiple of the learner's {processes} processes"
        require(micro % processes == 0, f"{key}.micro_batch", micro, right)
        return
    require(stage.group >= 2, f"{key}.group", stage.group, "GRPO compares at least 2 rollouts")
    right = f"must be a multiple of group ({stage.group}): it counts rollouts"
    require(stage.batch % stage.group == 0, f"{key}.batch", stage.batch, right)
    mini = stage.batch if stage.mini_batch is None else stage.mini_batch
    fits = mini >= 1 and mini % stage.group == 0 and stage.batch % mini == 0
    right = f"must be a multiple of group ({stage.group}) and divide batch ({stage.batch})"
    require(fits, f"{key}.mini_batch", mini, right)


def _check_curriculum(config: Config, phases: list[tuple[str, RlStage]]) -> None:
    """Samplers, mixes and gates."""
    cap = config.learner.importance_cap
    for name, phase in phases:
        key, sampler = f"stages.{name}", phase.sampler
        known = f"must be one of {', '.join(LENGTHS)}"
        require(phase.lengths in LENGTHS, f"{key}.lengths", phase.lengths, known)
        for source, share in phase.mix.items():
            named = f"{key}.mix.{source}"
            require(
                0 < share < math.inf,
                named,
                share,
                "must be above 0, or left out",
            )
        known = f"must be any of {', '.join(BALANCE)}, each once"
        fits = set(sampler.balance) <= set(BALANCE) and len(set(sampler.balance)) == len(
            sampler.balance
        )
        require(fits, f"{key}.sampler.balance", sampler.balance, known)
        known = f"must be one of {', '.join(REPLAY_BY)}"
        require(
            sampler.replay_by in REPLAY_BY, f"{key}.sampler.replay_by", sampler.replay_by, known
        )
        share = sampler.replay
        require(0 <= share < 1, f"{key}.sampler.replay", share, "must be in [0, 1)")
        for rest in ("rest_solved", "rest_hopeless"):
            steps = getattr(sampler, rest)
            require(steps >= 0, f"{key}.sampler.{rest}", steps, "must be at least 0")
        target = phase.target
        right = "must be above 0 and at most 1"
        require(target is None or 0 < target <= 1, f"{key}.target", target, right)
        right = f"needs at least {TARGET_STEPS} steps, over which the reward is averaged"
        fits = target is None or phase.steps >= TARGET_STEPS
        require(fits, f"{key}.target", target, right)
        require(phase.refill >= 0, f"{key}.refill", phase.refill, "must be at least 0")
        right = "must be 0 or 1: what waits comes first, so nothing waits for longer"
        require(phase.staleness in (0, 1), f"{key}.staleness", phase.staleness, right)
        right = "groups that wait need learner.importance_cap, which weighs them; or staleness=0"
        waits = phase.refill > 0 and phase.staleness > 0
        require(not waits or cap is not None, f"{key}.staleness", phase.staleness, right)


def check_rope(config: Config, window: int) -> None:
    """Refuses rows longer than the RoPE of their stage serves. ``window``: the policy's own."""
    for name, stage in config.stages.items():
        row = stage.context + (stage.response if isinstance(stage, RlStage) else 0)
        limit = int(window * stage.yarn_factor)
        if row <= limit:
            continue
        raise InputError(
            f"stages.{name}.context={stage.context}: a row of {row} tokens is beyond the"
            f" {limit} that RoPE allows (window {window}, yarn_factor {stage.yarn_factor:g});"
            f" set yarn_factor >= {row / window:.4g}"
        )
    longest = config.contexts[-1] + (config.evaluation.response or config.longest_response)
    limit = int(window * max(stage.yarn_factor for stage in config.stages.values()))
    if longest > limit:
        raise InputError(
            f"evaluation.contexts={config.contexts}: a row of {longest} tokens, response included,"
            f" is beyond the {limit} that the most stretched RoPE of the stages allows"
        )
