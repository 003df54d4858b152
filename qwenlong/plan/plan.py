"""A run stage by stage on a card: tokens, memory by part, steps, hours, and what does not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from qwenlong.config import Config, EngineConfig, PolicyConfig, RlStage, SftStage
from qwenlong.config.checks import check_rope
from qwenlong.plan.engine import GIB, Engine, at_once, engine_of
from qwenlong.plan.hardware import Card
from qwenlong.plan.learner import advice, learner_gib, learner_limit, stage_load
from qwenlong.plan.memory import BF16, FP32, Load
from qwenlong.plan.shape import Shape, shape_of
from qwenlong.plan.time import (
    Generation,
    forward_flops,
    generation_seconds,
    passes,
    training_seconds,
)
from qwenlong.types import InputError

PROCESS_GIB = {"learner": 0.5, "rollout": 1.5, "driver": 1.5}
"""Of a process on the CPU before it has a policy: torch; vLLM; the driver and Ray. Measured."""


@dataclass(frozen=True)
class StageNeed:
    """One stage; memory in GiB, of a card (of a process on the CPU)."""

    name: str
    is_rl: bool
    row: int
    """Tokens of the longest micro-batch."""
    tokens: int
    """Of a step, at most."""
    moment: str
    """When the learner needs most."""
    learner: Mapping[str, float]
    rollout: Mapping[str, float]
    at_once: int
    """Rollouts of an actor together; 0 in SFT."""
    steps: int | None
    """None: the experiment file does not say how many examples there are."""
    seconds: float
    """Of a step."""

    @property
    def learner_gib(self) -> float:
        return sum(self.learner.values())


@dataclass(frozen=True)
class Plan:
    card: Card
    shape: Shape
    cards: float
    """Of the whole run: the learner's, the rollout actors', a judge's; 1 on the CPU."""
    learner_limit: float
    """GiB that a learner's process may have."""
    stages: tuple[StageNeed, ...]
    evaluation_seconds: float
    """Of all evaluations together."""
    problems: tuple[str, ...]
    """What does not fit, and which key to change."""

    def hours(self, seconds: float) -> float:
        """GPU-hours, or hours of the machine."""
        return seconds * self.cards / 3600


def plan(config: Config, card: Card) -> Plan:
    """
    Raises:
        InputError: the policy's shape is not known, or a RoPE is too short for a stage.
    """
    shape = shape_of(config.policy)
    check_rope(config, config.policy.window or shape.window)
    heads = config.learner.sequence_ranks
    if shape.heads % heads:
        raise InputError(
            f"learner.sequence_ranks={heads}: must divide the policy's {shape.heads} query heads"
        )
    engine = engine_for(config, shape, config.rollout, card)
    stages, problems = [], []
    limit = card.memory_gib if card.is_cpu else learner_limit(config, card)
    for name in config.stages:
        stages.append(_stage(config, shape, card, engine, name))
        if not card.is_cpu and stages[-1].learner_gib > limit:
            problems.append(advice(config, shape, card, name))
    problems += _engine_problems(config, shape, card, engine)
    problems += _judge_problems(config, card)
    if card.is_cpu:
        problems += _machine_problems(config, card, stages)
    cards = 1.0 if card.is_cpu else _cards(config)
    evaluation = _evaluation_seconds(config, shape, card, engine)
    return Plan(card, shape, cards, limit, tuple(stages), evaluation, tuple(problems))


def engine_for(config: Config, shape: Shape, engine: EngineConfig, card: Card) -> Engine:
    size = FP32 if config.policy.dtype == "float32" else BF16
    return engine_of(shape, engine, size, card.memory_gib * GIB, card.is_cpu)


def _stage(config: Config, shape: Shape, card: Card, engine: Engine, name: str) -> StageNeed:
    stage, learner, load = config.stages[name], config.learner, stage_load(config, name)
    moment, parts = learner_gib(config, shape, card, name)
    own_cards = 1 if card.is_cpu else learner.processes * (min(learner.gpus, 1) or 1)
    rollout = {
        "weights": engine.weights / GIB,
        "workspace": engine.workspace / GIB,
        "KV cache": engine.kv_left / GIB,
    }
    steps: int | None
    if isinstance(stage, SftStage):
        flops = stage.batch * forward_flops(shape, 0, stage.context, 1)
        cost = flops * (3 + learner.activation_checkpointing)
        seconds, together = training_seconds(cost, own_cards, card), 0
        tokens, steps = stage.batch * stage.context, _updates(config, stage)
    else:
        seconds, together = _phase_seconds(config, shape, card, engine, stage, load, own_cards)
        prompts, steps = stage.batch // stage.group, stage.steps
        tokens = prompts * stage.context + stage.batch * stage.response
    return StageNeed(
        name, isinstance(stage, RlStage), load.tokens, tokens, moment, parts, rollout, together,
        steps, seconds,
    )  # fmt: skip


def _phase_seconds(
    config: Config, shape: Shape, card: Card, engine: Engine, stage: RlStage, load: Load,
    own_cards: float,
) -> tuple[float, int]:  # fmt: skip
    """Of a step, rollout and learner one after the other; and the rollouts an actor has at once."""
    prompts = stage.batch // stage.group
    updates = stage.batch // (stage.mini_batch or stage.batch)
    one = forward_flops(shape, stage.context, stage.response, load.answers)
    parts = math.ceil(stage.group / load.answers)
    flops = prompts * parts * one * passes(config.learner, updates)
    rollouts = math.ceil(prompts / config.rollout.actors) * stage.group
    together = at_once(engine, stage.context, stage.response, stage.group, rollouts)
    cards = config.rollout.tensor_parallel_size
    work = Generation(stage.context, stage.response, stage.group, rollouts, together, cards)
    generated = generation_seconds(shape, engine, work, card)
    return training_seconds(flops, own_cards, card) + generated, together


def _updates(config: Config, stage: SftStage) -> int | None:
    """Of an SFT stage, where its sources say how many examples they have at most."""
    sources = [s for s in config.data.sft if s.source in (stage.sources or [s.source])]
    counts = [source.examples for source in sources]
    if stage.own_rollouts or not counts or None in counts:
        return None
    rows = sum(count or 0 for count in counts)
    return math.ceil(stage.epochs * math.ceil(rows / stage.batch))


def _evaluation_seconds(config: Config, shape: Shape, card: Card, engine: Engine) -> float:
    """Before the first stage and after each, at every context."""
    evaluation, actors = config.evaluation, config.rollout.actors
    response = evaluation.response or config.longest_response
    total = 0.0
    for context in config.contexts:
        own = math.ceil(evaluation.examples / actors)
        together = at_once(engine, context, response, 1, own)
        cards = config.rollout.tensor_parallel_size
        work = Generation(context, response, 1, own, together, cards)
        total += generation_seconds(shape, engine, work, card)
    return total * (len(config.stages) + 1)


def _cards(config: Config) -> float:
    judge = config.rewards.judge
    engines = [config.rollout, *([judge.engine] if judge.is_engine else [])]
    cards = config.learner.processes * (config.learner.gpus or 1)
    return cards + sum(e.actors * (e.gpus or e.tensor_parallel_size) for e in engines)


def _longest_row(config: Config) -> int:
    contexts = [*config.contexts, *(phase.context for phase in config.phases)]
    return max(contexts) + config.longest_response


def _engine_problems(config: Config, shape: Shape, card: Card, engine: Engine) -> list[str]:
    """vLLM does not start unless its cache holds the longest row of the run."""
    rollout, row = config.rollout, _longest_row(config)
    tensor = rollout.tensor_parallel_size
    key = f"rollout.tensor_parallel_size={tensor}"
    problems = []
    if shape.heads % tensor:
        problems.append(f"{key}: must divide the policy's {shape.heads} query heads")
    need = row * engine.kv_token
    if engine.tokens < row:
        said = f"the longest row ({row:,} tokens) needs {need / GIB:.1f} GiB of KV cache a card"
        has = f"{max(engine.kv_left, 0) / GIB:.1f} are left beside the weights"
        if rollout.kv_cache_gb is not None or card.is_cpu:
            least = math.ceil(need / GIB * 10) / 10
            problems.append(f"rollout.kv_cache_gb={rollout.kv_cache_gb}: {said}; make it {least:g}")
        else:
            fits = [n for n in (1, 2, 4, 8, 16, 32) if n > tensor and shape.heads % n == 0]
            fits = [n for n in fits if _holds(config, shape, card, n, row)]
            then = (
                f"make it {fits[0]}"
                if fits
                else "shorten evaluation.contexts or take a larger card"
            )
            problems.append(f"{key}: {said}, {has}; {then}")
    used = engine.weights + engine.workspace + engine.kv_left
    if not card.is_cpu and rollout.kv_cache_gb is not None and used > 0.95 * card.memory_gib * GIB:
        problems.append(
            f"rollout.kv_cache_gb={rollout.kv_cache_gb}: with weights and workspace"
            f" {used / GIB:.1f} GiB a card, a {card.name} has {card.memory_gib:.0f}; lower it"
        )
    return problems


def _holds(config: Config, shape: Shape, card: Card, tensor: int, row: int) -> bool:
    rollout = replace(config.rollout, tensor_parallel_size=tensor)
    return engine_for(config, shape, rollout, card).tokens >= row


def _judge_problems(config: Config, card: Card) -> list[str]:
    judge = config.rewards.judge
    if not judge.is_engine or card.is_cpu:
        return []
    try:
        shape = shape_of(PolicyConfig(path=judge.model or ""))
    except InputError:
        return []  # said among the assumptions: a judge of unknown size is not counted
    engine = engine_for(config, shape, judge.engine, card)
    if engine.tokens >= 4096:
        return []
    size = judge.engine.tensor_parallel_size
    return [
        f"rewards.judge.engine.tensor_parallel_size={size}: weights of"
        f" {engine.weights / GIB:.1f} GiB a card leave no KV cache on a {card.name}; raise it"
    ]


def machine_gib(config: Config, stage: StageNeed) -> float:
    """All processes of a run on one machine, in GiB."""
    learner = config.learner.processes * (stage.learner_gib + PROCESS_GIB["learner"])
    actor = sum(stage.rollout.values()) + PROCESS_GIB["rollout"]
    return learner + config.rollout.actors * actor + PROCESS_GIB["driver"]


def _machine_problems(config: Config, card: Card, stages: list[StageNeed]) -> list[str]:
    problems = []
    for stage in stages:
        need = machine_gib(config, stage)
        if need > card.memory_gib:
            key = "learner.max_tokens" if stage.is_rl else f"stages.{stage.name}.micro_batch"
            again = (
                ""
                if config.learner.activation_checkpointing
                else ("learner.activation_checkpointing=true, or ")
            )
            problems.append(
                f"stages.{stage.name}: all processes need {need:.1f} GiB, the machine has"
                f" {card.memory_gib:.1f}; set {again}a smaller {key}"
            )
    return problems
