"""Section ``stages``: SFT stages and RL phases."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qwenlong.config.callables import SAMPLER
from qwenlong.config.keys import REQUIRED, key

TARGET_STEPS = 5
"""Steps whose mean reward is compared with a phase's ``target``."""
UNTRAINED = "untrained"
"""What the policy is called before its first stage; no stage may have this name."""


@dataclass(frozen=True)
class SftStage:
    """Supervised fine-tuning with TRL's SFTTrainer, before, between or after phases.

    A key that is not set has the value of the SFT stage before.
    """

    kind: str = key("sft", "Supervised fine-tuning.", one_of=("sft",))
    context: int = key(REQUIRED, "Longest prompt and response together in tokens.", at_least=1)
    yarn_factor: float = key(
        1.0, "Factor by which YaRN extends the native window; 1 is the native RoPE.", at_least=1
    )
    sources: list[str] = key([], "Sources of data.sft to learn from; all if empty.")
    own_rollouts: int = key(
        0,
        "Learn from right rollouts of the phases before, at most this many for a prompt: in"
        " addition to sources if these are named, else alone; 0 takes none.",
        at_least=0,
    )
    epochs: float = key(1.0, "Passes over the rows.", above=0)
    batch: int = key(64, "Rows of an optimizer update.", at_least=1)
    micro_batch: int | None = key(
        None,
        "Rows in memory at once, whose gradients are added up to a batch; null takes the whole"
        " batch.",
        at_least=1,
    )
    learning_rate: float = key(5e-6, "Highest learning rate.", above=0)
    warmup: float = key(
        0.05,
        "Share of the updates over which the learning rate rises; it falls over the last fifth.",
        at_least=0,
        below=1,
    )
    checkpoint_every: int = key(200, "Updates between checkpoints.", at_least=1)


@dataclass(frozen=True)
class SamplerConfig:
    """Which prompts a step of a phase draws; all keys can be combined."""

    balance: list[str] = key(
        [],
        "Draw equally from each source, kind of answer, length (quarters of the phase's lengths) or"
        " pass rate (fifths), or from each combination of several; if empty, every prompt is drawn"
        " once an epoch.",
        one_of=("source", "kind", "length", "pass_rate"),
        distinct=True,
    )
    replay: float = key(
        0.0,
        "Share of a step's prompts that are drawn from those which earlier phases have seen.",
        at_least=0,
        below=1,
    )
    replay_by: str = key(
        "difficulty",
        "How replayed prompts are drawn: by difficulty (retrospective sampling, QwenLong-L1), or"
        " all alike.",
        one_of=("difficulty", "uniform"),
    )
    rest_solved: int = key(
        0,
        "Steps that a prompt is left out after all responses of its group were right.",
        at_least=0,
    )
    rest_hopeless: int = key(
        0,
        "Steps that a prompt is left out after all responses of its group were wrong.",
        at_least=0,
    )
    draw: str | None = key(
        None,
        "A function that draws a step's prompts, in place of balance and the phase's mix; replay"
        " and rests apply before it.",
        function=SAMPLER,
    )


@dataclass(frozen=True)
class RlStage:
    """A phase of reinforcement learning.

    A key that is not set has the value of the phase before.
    """

    kind: str = key("rl", "Reinforcement learning.", one_of=("rl",))
    context: int = key(REQUIRED, "Longest prompt in tokens.", at_least=1)
    lengths: str = key(
        "band",
        "Which prompts are drawn: those longer than the context of the phase before (band,"
        " QwenLong-L1), or all that fit.",
        one_of=("band", "up_to"),
    )
    mix: dict[str, float] = key(
        {},
        "Sources of data.train and their shares of the draws; if empty, all prompts are drawn"
        " alike.",
        above=0,
        below=math.inf,
    )
    sampler: SamplerConfig = key(SamplerConfig)
    response: int = key(REQUIRED, "Longest response in tokens.", at_least=1)
    yarn_factor: float = key(
        1.0,
        "Factor by which YaRN extends the native window, in learner and engines; 1 is the native"
        " RoPE.",
        at_least=1,
    )
    steps: int = key(REQUIRED, "Steps; each samples a batch and trains on it once.", at_least=1)
    target: float | None = key(
        None,
        f"Mean reward of the last {TARGET_STEPS} steps that ends the phase early; null never does.",
        above=0,
        at_most=1,
    )
    batch: int = key(REQUIRED, "Rollouts of a step: prompts times group.", at_least=1)
    group: int = key(8, "Rollouts of a prompt, which are compared with each other.", at_least=2)
    mini_batch: int | None = key(
        None, "Rollouts of an optimizer update; null takes the whole batch.", at_least=1
    )
    learning_rate: float = key(2e-6, "Learning rate.", above=0)
    refill: int = key(
        0,
        "How many times a step samples more prompts to replace groups without variance (dynamic"
        " sampling, DAPO); if groups are still missing then, groups without variance fill the"
        " batch.",
        at_least=0,
    )
    # At most 1, because what waits is trained on first in the next step.
    staleness: int = key(
        1,
        "Steps that surplus groups of refilling wait before they are trained on; 0 drops them.",
        at_least=0,
        at_most=1,
    )


STAGES = {"sft": SftStage, "rl": RlStage}
