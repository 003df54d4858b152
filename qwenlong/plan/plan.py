"""A run stage by stage on a card: tokens, memory by part, steps, hours, and what does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from qwenlong.config import Config, EngineConfig, PolicyConfig, RlStage, SftStage
from qwenlong.config.checks import check_rope
from qwenlong.plan.engine import GIB, Engine, at_once, engine_of
from qwenlong.plan.hardware import Card
from qwenlong.plan.learner import advice, learner_gib, learner_limit, stage_micro_batch
from qwenlong.plan.memory import BF16, FP32
from qwenlong.plan.shape import Shape, shape_of
from qwenlong.plan.time import forward_flops, generation_seconds, passes, training_seconds
from qwenlong.types import InputError

PROCESS_GIB = {"learner": 0.5, "rollout": 1.5, "driver": 1.5}
"""Memory of a process on the CPU before it has a policy (torch; vLLM; driver and Ray); measured."""
JUDGE_TOKENS = 4096
"""Tokens that a judge's KV cache must hold at least; an assumption."""


@dataclass(frozen=True)
class StageNeed:
    """One stage; memory in GiB of a card, or of a process on the CPU."""

    name: str
    is_rl: bool
    row: int
    """Tokens of the largest micro-batch."""
    tokens: int
    """Most tokens of a step."""
    moment: str
    """When the learner needs most memory."""
    learner: Mapping[str, float]
    rollout: Mapping[str, float]
    at_once: int
    """Rollouts that an actor computes at once; 0 in SFT."""
    steps: int | None
    """None if the experiment file does not say how many examples there are."""
    seconds: float
    """Seconds of a step."""

    @property
    def learner_gib(self) -> float:
        return sum(self.learner.values())


@dataclass(frozen=True)
class Plan:
    """A run on cards of one kind, or on this machine's CPU."""

    card: Card
    shape: Shape
    cards: float
    """Cards of the learner, the rollout actors and a judge together; 1 on the CPU."""
    learner_limit: float
    """GiB that a process of the learner may use."""
    stages: tuple[StageNeed, ...]
    evaluation_seconds: float
    """Seconds of all evaluations together."""
    problems: tuple[str, ...]
    """What does not fit, each with the key to change."""

    def hours(self, seconds: float) -> float:
        """GPU-hours, or hours of this machine."""
        return seconds * self.cards / 3600


def plan(config: Config, card: Card) -> Plan:
    """What a run needs on cards of one kind.

    Raises:
        InputError: the policy's shape is not known, its heads cannot be shared by the sequence
            ranks, or its RoPE is too short for a stage.
    """
    shape = shape_of(config.policy)
    check_rope(config, config.policy.window or shape.window)
    ranks = config.learner.sequence_ranks
    if shape.heads % ranks:
        raise InputError(
            f"learner.sequence_ranks={ranks}: must divide the policy's {shape.heads} query heads"
        )
    engine = _engine(config, shape, config.rollout, card)
    stages, problems = [], []
    limit = card.memory_gib if card.is_cpu else learner_limit(config, card)
    for name in config.stages:
        stages.append(_stage(config, shape, card, engine, name))
        if not card.is_cpu and stages[-1].learner_gib > limit:
            problems.append(advice(config, shape, card, name))
    problems += _engine_problems(config, shape, card, engine)
    problems += _machine_problems(config, card, stages) if card.is_cpu else _judge(config, card)
    return Plan(
        card,
        shape,
        1.0 if card.is_cpu else _cards(config),
        limit,
        tuple(stages),
        _evaluation_seconds(config, shape, card, engine),
        tuple(problems),
    )


def _engine(config: Config, shape: Shape, engine: EngineConfig, card: Card) -> Engine:
    size = FP32 if config.policy.dtype == "float32" else BF16
    return engine_of(shape, engine, size, card.memory_gib * GIB, card.is_cpu)


def _stage(config: Config, shape: Shape, card: Card, engine: Engine, name: str) -> StageNeed:
    stage, learner = config.stages[name], config.learner
    moment, parts = learner_gib(config, shape, card, name)
    micro_batch = stage_micro_batch(config, name)
    cards = 1 if card.is_cpu else learner.processes * (min(learner.gpus, 1) or 1)
    generation, together = 0.0, 0
    steps: int | None
    if isinstance(stage, SftStage):
        tokens, steps = stage.batch * stage.context, _updates(config, stage)
        flops = stage.batch * forward_flops(shape, 0, stage.context, 1)
        flops *= 3 + learner.activation_checkpointing
    else:
        prompts, steps = stage.batch // stage.group, stage.steps
        tokens = prompts * stage.context + stage.batch * stage.response
        flops = _phase_flops(config, shape, stage, micro_batch.answers)
        rollouts = _on_actor(config, prompts) * stage.group
        work = (stage.context, stage.response, stage.group, rollouts)
        together = at_once(engine, *work)
        actor_cards = config.rollout.tensor_parallel_size
        generation = generation_seconds(shape, engine, card, actor_cards, *work)
    return StageNeed(
        name=name,
        is_rl=isinstance(stage, RlStage),
        row=micro_batch.tokens,
        tokens=tokens,
        moment=moment,
        learner=parts,
        rollout={
            "weights": engine.weights / GIB,
            "workspace": engine.workspace / GIB,
            "KV cache": engine.kv_cache / GIB,
        },
        at_once=together,
        steps=steps,
        seconds=training_seconds(flops, cards, card) + generation,
    )


def _phase_flops(config: Config, shape: Shape, stage: RlStage, answers: int) -> float:
    """Operations of the learner in a step; a group of more than ``answers`` is split."""
    updates = stage.batch // (stage.mini_batch or stage.batch)
    one = forward_flops(shape, stage.context, stage.response, answers)
    parts = stage.batch // stage.group * math.ceil(stage.group / answers)
    return parts * one * passes(config.learner, updates)


def _updates(config: Config, stage: SftStage) -> int | None:
    """Updates of an SFT stage; None unless all its sources say how many examples they have."""
    sources = [s for s in config.data.sft if s.source in (stage.sources or [s.source])]
    counts = [source.examples for source in sources]
    if stage.own_rollouts or not counts or None in counts:
        return None
    rows = sum(count or 0 for count in counts)
    return math.ceil(stage.epochs * math.ceil(rows / stage.batch))


def _evaluation_seconds(config: Config, shape: Shape, card: Card, engine: Engine) -> float:
    """Seconds of evaluating at every context, before the first stage and after each stage."""
    response = config.evaluation.response or config.longest_response
    # Every held-out source has its own examples.
    examples = config.evaluation.examples * max(1, len(config.data.held_out))
    rollouts = _on_actor(config, examples)
    cards = config.rollout.tensor_parallel_size
    once = sum(
        generation_seconds(shape, engine, card, cards, context, response, 1, rollouts)
        for context in config.contexts
    )
    return once * (len(config.stages) + 1)


def _on_actor(config: Config, prompts: int) -> int:
    """The most prompts that one rollout actor gets."""
    return math.ceil(prompts / config.rollout.actors)


def _cards(config: Config) -> float:
    judge = config.rewards.judge
    engines = [config.rollout, *([judge.engine] if judge.is_engine else [])]
    cards = config.learner.processes * (config.learner.gpus or 1)
    return cards + sum(e.actors * (e.gpus or e.tensor_parallel_size) for e in engines)


def _engine_problems(config: Config, shape: Shape, card: Card, engine: Engine) -> Iterator[str]:
    """What keeps vLLM from starting: its cache must hold the longest row of the run."""
    rollout, cache = config.rollout, config.rollout.kv_cache_gb
    contexts = [*config.contexts, *(phase.context for phase in config.phases)]
    row = max(contexts) + config.longest_response
    key = f"rollout.tensor_parallel_size={rollout.tensor_parallel_size}"
    if shape.heads % rollout.tensor_parallel_size:
        yield f"{key}: must divide the policy's {shape.heads} query heads"
    if engine.tokens < row:
        need = row * engine.kv_token / GIB
        text = f"the longest row ({row:,} tokens) needs {need:.1f} GiB of KV cache on each card"
        if cache is not None or card.is_cpu:
            yield f"rollout.kv_cache_gb={cache}: {text}; make it {math.ceil(need * 10) / 10:g}"
        else:
            sizes = (n for n in (2, 4, 8, 16, 32) if n > rollout.tensor_parallel_size)
            enough = next((n for n in sizes if _holds(config, shape, card, n, row)), None)
            change = f"make it {enough}"
            if enough is None:
                change = "shorten evaluation.contexts or use a larger card"
            left = max(engine.kv_cache, 0) / GIB
            yield f"{key}: {text}, the weights leave {left:.1f}; {change}"
    used = (engine.weights + engine.workspace + engine.kv_cache) / GIB
    if not card.is_cpu and cache is not None and used > 0.95 * card.memory_gib:
        yield (
            f"rollout.kv_cache_gb={cache}: with weights and workspace {used:.1f} GiB on each card,"
            f" {card.name} has {card.memory_gib:.0f}; lower it"
        )


def _holds(config: Config, shape: Shape, card: Card, tensor: int, row: int) -> bool:
    rollout = replace(config.rollout, tensor_parallel_size=tensor)
    return shape.heads % tensor == 0 and _engine(config, shape, rollout, card).tokens >= row


def _judge(config: Config, card: Card) -> Iterator[str]:
    judge = config.rewards.judge
    if not judge.is_engine:
        return
    try:
        shape = shape_of(PolicyConfig(path=judge.model or ""))
    except InputError:
        return  # a judge of unknown size is not counted
    engine = _engine(config, shape, judge.engine, card)
    if engine.tokens < JUDGE_TOKENS:
        yield (
            f"rewards.judge.engine.tensor_parallel_size={judge.engine.tensor_parallel_size}:"
            f" weights of {engine.weights / GIB:.1f} GiB on each card leave no KV cache on"
            f" {card.name}; raise it"
        )


def machine_gib(config: Config, stage: StageNeed) -> float:
    """GiB of all processes of a run on one machine."""
    learner = config.learner.processes * (stage.learner_gib + PROCESS_GIB["learner"])
    actor = sum(stage.rollout.values()) + PROCESS_GIB["rollout"]
    return learner + config.rollout.actors * actor + PROCESS_GIB["driver"]


def _machine_problems(config: Config, card: Card, stages: list[StageNeed]) -> Iterator[str]:
    for stage in stages:
        need = machine_gib(config, stage)
        if need > card.memory_gib:
            key = "learner.max_tokens" if stage.is_rl else f"stages.{stage.name}.micro_batch"
            change = f"a smaller {key}"
            if not config.learner.activation_checkpointing:
                change = f"learner.activation_checkpointing=true, or {change}"
            yield (
                f"stages.{stage.name}: all processes need {need:.1f} GiB, the machine has"
                f" {card.memory_gib:.1f}; set {change}"
            )
