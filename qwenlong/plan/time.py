"""How long a step takes: by its arithmetic, or by memory traffic if that takes longer."""

from __future__ import annotations

import math

from qwenlong.config import LearnerConfig
from qwenlong.plan.engine import Engine, at_once
from qwenlong.plan.hardware import Card
from qwenlong.plan.shape import Shape

TRAINING = 0.4
PREFILL = 0.5
DECODE = 0.6
"""Shares that are reached of a card's arithmetic (in training and prefill) and of its bandwidth
(in decoding); assumptions."""


def forward_flops(shape: Shape, prompt: int, response: int, answers: int) -> float:
    """Operations of a forward pass over a prompt and ``answers`` responses to it.

    Two for each parameter and token; four for each pair of query and key, query head and head
    dimension (Kaplan et al., arXiv 2001.08361, section 2.1, with causal attention halved). The
    prompt is computed once; a response sees the prompt and itself; the head sees responses only.
    """
    responses = answers * response
    pairs = prompt**2 / 2 + responses * prompt + answers * response**2 / 2
    linear = 2 * shape.active * (prompt + responses)
    head = 2 * shape.embedding * responses
    return linear + 4 * shape.layers * shape.q * pairs + head


def passes(learner: LearnerConfig, updates: int) -> float:
    """Forward passes that a step costs.

    Backward counts twice and checkpointing once more. The old policy (with several updates a step)
    and the reference (with a KL term) are forward passes of their own.
    """
    again = learner.activation_checkpointing
    return 3 + again + (updates > 1) + (learner.kl_coefficient > 0)


def training_seconds(flops: float, cards: float, card: Card) -> float:
    return flops / (cards * card.tflops * 1e12 * TRAINING)


def generation_seconds(
    shape: Shape, engine: Engine, card: Card, cards: int, prompt: int, response: int, group: int,
    rollouts: int,
) -> float:  # fmt: skip
    """Seconds in which an actor with ``cards`` generates ``rollouts``, in groups of one prompt.

    Prefill takes as long as its arithmetic, each prompt once for its group. A decoding step takes
    as long as reading the weights and the keys and values of the rollouts that are computed at
    once, or as long as its arithmetic if that is more.
    """
    together = at_once(engine, prompt, response, group, rollouts)
    speed = card.tflops * 1e12 * PREFILL * (1 if card.is_cpu else cards)
    prefill = rollouts / group * forward_flops(shape, prompt, 0, 0) / speed
    steps = response * math.ceil(rollouts / together)
    seen = prompt + response / 2
    read = engine.weights + together * seen * engine.kv_token
    token = 2 * (shape.active + shape.embedding) + 4 * shape.layers * shape.q * seen
    step = max(read / (card.bandwidth * 1e9 * DECODE), together * token / speed)
    return prefill + steps * step
