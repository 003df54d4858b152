"""What a stage needs on the learner's cards, and which keys make it fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qwenlong.config import Config, RlStage, SftStage
from qwenlong.plan.engine import GIB
from qwenlong.plan.hardware import Card
from qwenlong.plan.memory import MicroBatch, Setup, largest_micro_batch, learner_peak
from qwenlong.plan.shape import Shape

RESERVED_GIB = 2.0
"""GiB of a card for CUDA's context and NCCL's buffers; an assumption."""
FRAGMENTS = 0.05
"""Share of a card that the allocator holds in pieces too small to use; an assumption."""
MOST_PROCESSES = 256
"""Most processes of the learner that are advised."""
Keys = dict[str, Any]
"""Values by key, such as ``learner.max_tokens``."""


def learner_limit(config: Config, card: Card) -> float:
    """GiB of a card that a process of the learner may use."""
    share = min(config.learner.gpus, 1) or 1
    return card.memory_gib * (1 - FRAGMENTS) * share - RESERVED_GIB


def stage_micro_batch(config: Config, name: str) -> MicroBatch:
    stage, learner = config.stages[name], config.learner
    if isinstance(stage, RlStage):
        lengths = (stage.context, stage.response, stage.group)
        return largest_micro_batch(*lengths, learner.max_tokens, config.rollout.top_p)
    rows = max(1, (stage.micro_batch or stage.batch) // learner.processes)
    earlier = list(config.stages.values())[: list(config.stages).index(name)]
    after_rl = any(isinstance(each, RlStage) for each in earlier)
    # How long the answers are is not known, so every token is counted as one of an answer.
    return MicroBatch(0, stage.context, 1, rows, sft=True, after_rl=after_rl)


def learner_gib(
    config: Config, shape: Shape, card: Card, name: str
) -> tuple[str, dict[str, float]]:
    """The moment of stage ``name`` that needs most memory, and a process's GiB by part then."""
    setup = Setup(shape, config.learner, config.policy.dtype == "bfloat16", card.is_cpu)
    moment, parts = learner_peak(setup, stage_micro_batch(config, name))
    return moment, {part: value / GIB for part, value in parts.items()}


def advice(config: Config, shape: Shape, card: Card, name: str) -> str:
    """One line for a stage that does not fit: what it needs, and keys that make it fit.

    Each key is tried alone, cheapest first, then together with those before it.
    """

    def gib(changed: Config) -> float:
        return sum(learner_gib(changed, shape, card, name)[1].values())

    limit = learner_limit(config, card)
    need = f"stages.{name}: the learner needs {gib(config):.1f} GiB, {card.name} has {limit:.1f}"
    changed = config
    changes = _changes(config, shape, name)
    together = [dict(changes[:n]) for n in range(1, len(changes) + 1)]
    for keys in [*(dict([change]) for change in changes), *together]:
        changed = _with(config, keys)
        rows = _shared_rows(changed)
        if rows is None or changed.learner.processes > MOST_PROCESSES:
            continue
        fitted = _with(changed, rows)
        if gib(fitted) <= limit:
            values = {**keys, **rows}.items()
            words = " ".join(f"{key}={str(value).lower()}" for key, value in values)
            verb = "brings" if len(keys) == 1 else "bring"
            return f"{need}; {words} {verb} it to {gib(fitted):.1f}"
    parts = learner_gib(changed, shape, card, name)[1]
    most = max(parts, key=lambda part: parts[part])
    return (
        f"{need}; no key helps enough ({most} stays at {parts[most]:.1f}): shorten"
        f" stages.{name}.context or use a larger card"
    )


def _changes(config: Config, shape: Shape, name: str) -> list[tuple[str, Any]]:
    """Keys that save memory and values to try, cheapest first."""
    stage, learner = config.stages[name], config.learner
    changes: list[tuple[str, Any]] = []
    if not learner.activation_checkpointing:
        changes.append(("learner.activation_checkpointing", True))
    if isinstance(stage, RlStage):
        row = stage.context + stage.response
        longest = max(phase.context + phase.response for phase in config.phases)
        if row == longest and (learner.max_tokens or row + 1) > row:
            changes.append(("learner.max_tokens", row))
        for ranks in _multiples(learner.sequence_ranks, learner.processes):
            if shape.heads % ranks == 0:
                changes.append(("learner.sequence_ranks", ranks))
        if not learner.offload_activations:
            changes.append(("learner.offload_activations", True))
    elif (stage.micro_batch or stage.batch) > learner.processes:
        changes.append((f"stages.{name}.micro_batch", learner.processes))
    data_ranks = _multiples(learner.data_ranks, learner.processes)
    return [*changes, *(("learner.data_ranks", ranks) for ranks in data_ranks)]


def _multiples(ranks: int, processes: int) -> list[int]:
    return [ranks * n for n in (2, 4, 8, 16, 32, 64) if n * processes <= MOST_PROCESSES]


def _shared_rows(config: Config) -> Keys | None:
    """SFT micro-batches that the learner's processes can share, if today's cannot be shared.

    None if a stage's whole batch cannot be shared either.
    """
    processes, rows = config.learner.processes, {}
    for name, stage in config.stages.items():
        if isinstance(stage, SftStage) and (stage.micro_batch or stage.batch) % processes:
            if stage.batch % processes:
                return None
            rows[f"stages.{name}.micro_batch"] = processes
    return rows


def _with(config: Config, keys: Keys) -> Config:
    for key, value in keys.items():
        path, _, name = key.rpartition(".")
        if path == "learner":
            config = replace(config, learner=replace(config.learner, **{name: value}))
        else:
            stage = path.removeprefix("stages.")
            changed = replace(config.stages[stage], **{name: value})
            config = replace(config, stages={**config.stages, stage: changed})
    return config
