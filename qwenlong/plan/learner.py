"""A stage's need of the learner's cards, and which keys bring it into them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qwenlong.config import Config, RlStage, SftStage
from qwenlong.plan.engine import GIB
from qwenlong.plan.hardware import Card
from qwenlong.plan.memory import Held, Load, learner_peak, load_of
from qwenlong.plan.shape import Shape

RESERVED_GIB = 2.0
"""Of a card: CUDA's context and NCCL's buffers; an assumption."""
FRAGMENTS = 0.05
"""Share of a card that the allocator holds and cannot give out; an assumption."""
MOST_PROCESSES = 256
"""That an advice goes up to."""
Change = Callable[[Config], Config]


def learner_limit(config: Config, card: Card) -> float:
    """GiB that a learner's process may have of a card."""
    share = min(config.learner.gpus, 1) or 1
    return card.memory_gib * (1 - FRAGMENTS) * share - RESERVED_GIB


def stage_load(config: Config, name: str) -> Load:
    stage, learner = config.stages[name], config.learner
    if isinstance(stage, RlStage):
        top_p = config.rollout.top_p
        return load_of(stage.context, stage.response, stage.group, learner.max_tokens, top_p)
    rows = max(1, (stage.micro_batch or stage.batch) // learner.processes)
    earlier = list(config.stages.values())[: list(config.stages).index(name)]
    before = any(isinstance(each, RlStage) for each in earlier)
    return Load(stage.context, 0, 0, rows, sft=True, before=before)


def learner_gib(
    config: Config, shape: Shape, card: Card, name: str
) -> tuple[str, dict[str, float]]:
    """The moment of stage ``name`` that needs most, and a process's GiB by part then."""
    bf16 = config.policy.dtype == "bfloat16"
    held = Held(shape, config.learner, bf16, card.is_cpu)
    moment, parts = learner_peak(held, stage_load(config, name))
    return moment, {part: value / GIB for part, value in parts.items()}


def advice(config: Config, shape: Shape, card: Card, name: str) -> str:
    """One line: what a stage needs that does not fit, and the keys that bring it in.

    Each key is tried alone, then with those before it, cheapest first.
    """

    def gib(changed: Config) -> float:
        return sum(learner_gib(changed, shape, card, name)[1].values())

    limit = learner_limit(config, card)
    said = f"stages.{name}: the learner needs {gib(config):.1f} GiB, {card.name} has {limit:.1f}"
    changes = _changes(config, shape, name)
    for key, change in changes:
        fitted, words = _with_rows(change(config))
        if fitted and gib(fitted) <= limit:
            return f"{said}; {key}{words} brings it to {gib(fitted):.1f}"
    changed = config
    keys: list[str] = []
    for key, change in changes:
        if keys and key.partition("=")[0] == keys[-1].partition("=")[0]:
            keys.pop()
        changed = change(changed)
        keys.append(key)
        fitted, words = _with_rows(changed)
        if fitted and gib(fitted) <= limit:
            return f"{said}; {' '.join(keys)}{words} bring it to {gib(fitted):.1f}"
    parts = learner_gib(changed, shape, card, name)[1]
    most = max(parts, key=lambda part: parts[part])
    return (
        f"{said}; no key helps enough ({most} stays at {parts[most]:.1f}): shorten"
        f" stages.{name}.context or take a larger card"
    )


def _changes(config: Config, shape: Shape, name: str) -> list[tuple[str, Change]]:
    """What may be changed, as ``key=value`` and the change itself, cheapest first."""
    stage, learner = config.stages[name], config.learner
    changes: list[tuple[str, Change]] = []

    def of_learner(key: str, value: int | bool) -> None:
        changes.append((f"learner.{key}={str(value).lower()}", _setting({key: value})))

    if not learner.activation_checkpointing:
        of_learner("activation_checkpointing", True)
    if isinstance(stage, RlStage):
        row = stage.context + stage.response
        longest = max(phase.context + phase.response for phase in config.phases)
        if row == longest and (learner.max_tokens or row + 1) > row:
            of_learner("max_tokens", row)
        for ranks in _multiples(learner.sequence_ranks, learner.processes):
            if shape.heads % ranks == 0:
                of_learner("sequence_ranks", ranks)
        if not learner.offload_activations:
            of_learner("offload_activations", True)
    elif (stage.micro_batch or stage.batch) > learner.processes:
        one = learner.processes
        changes.append(
            (
                f"stages.{name}.micro_batch={one}",
                lambda changed: _micro_batches(changed, {name: one}),
            )
        )
    for ranks in _multiples(learner.data_ranks, learner.processes):
        of_learner("data_ranks", ranks)
    return changes


def _with_rows(config: Config) -> tuple[Config | None, str]:
    """With micro-batches of SFT that its processes can share, and what was changed in words.

    None if there are none such, or too many processes.
    """
    processes, rows = config.learner.processes, {}
    for name, stage in config.stages.items():
        if isinstance(stage, SftStage) and (stage.micro_batch or stage.batch) % processes:
            if stage.batch % processes:
                return None, ""
            rows[name] = processes
    words = "".join(f" stages.{name}.micro_batch={n}" for name, n in rows.items())
    return _micro_batches(config, rows) if processes <= MOST_PROCESSES else None, words


def _micro_batches(config: Config, rows: dict[str, int]) -> Config:
    stages = {
        name: replace(stage, micro_batch=rows[name]) if name in rows else stage
        for name, stage in config.stages.items()
    }
    return replace(config, stages=stages)


def _setting(keys: dict[str, Any]) -> Change:
    return lambda config: replace(config, learner=replace(config.learner, **keys))


def _multiples(ranks: int, processes: int) -> list[int]:
    times = [n for n in (2, 4, 8, 16, 32, 64) if n * processes <= MOST_PROCESSES]
    return [ranks * n for n in times]
