"""How long a step takes: arithmetic where that decides, memory traffic where tokens are decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qwenlong.config import LearnerConfig
from qwenlong.plan.engine import Engine
from qwenlong.plan.hardware import Card
from qwenlong.plan.shape import Shape

TRAINING = 0.4
PREFILL = 0.5
DECODE = 0.6
"""Shares of the card's arithmetic (training, prefill) and of its bandwidth (decode) that are
reached; assumptions."""


def forward_flops(shape: Shape, prompt: int, response: int, answers: int) -> float:
    """Of a prompt once and ``answers`` responses after it, each seeing prompt and itself.

    Two a parameter and token; four a pair of query and key, head and head dimension (Kaplan et
    al., arXiv 2001.08361, section 2.1, with causal attention halved). The head sees responses
    alone.
    """
    responses = answers * response
    pairs = prompt**2 / 2 + responses * prompt + answers * response**2 / 2
    linear = 2 * shape.active * (prompt + responses)
    head = 2 * shape.embedding * responses
    return linear + 4 * shape.layers * shape.q * pairs + head


def passes(learner: LearnerConfig, updates: int) -> float:
    """Forward passes that a step costs: backward counts twice, checkpointing computes anew, the
    old policy (more than one update) and the reference are computed beforehand."""
    again = learner.activation_checkpointing
    return 3 + again + (updates > 1) + (learner.kl_coefficient > 0)


def training_seconds(flops: float, cards: float, card: Card) -> float:
    return flops / (cards * card.tflops * 1e12 * TRAINING)


@dataclass(frozen=True)
class Generation:
    """What an actor of ``cards`` generates: ``rollouts``, at most ``at_once`` of them together."""

    prompt: int
    response: int
    group: int
    rollouts: int
    at_once: int
    cards: int


def generation_seconds(shape: Shape, engine: Engine, work: Generation, card: Card) -> float:
    """Prefill by its arithmetic, each prompt once a group; a decoding step by what it reads, the
    weights and all keys and values of the rollouts under way, or by its arithmetic if that is more.
    """
    speed = card.tflops * 1e12 * PREFILL * (1 if card.is_cpu else work.cards)
    prefill = work.rollouts / work.group * forward_flops(shape, work.prompt, 0, 0) / speed
    steps = work.response * math.ceil(work.rollouts / work.at_once)
    seen = work.prompt + work.response / 2
    read = engine.weights + work.at_once * seen * engine.kv_token
    token = 2 * (shape.active + shape.embedding) + 4 * shape.layers * shape.q * seen
    step = max(read / (card.bandwidth * 1e9 * DECODE), work.at_once * token / speed)
    return prefill + steps * step
