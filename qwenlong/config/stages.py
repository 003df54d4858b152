"""The two kinds of stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from qwenlong.types import MISSING

TARGET_STEPS = 5
"""Steps whose mean reward is compared with a phase's ``target``."""


@dataclass(frozen=True)
class SftStage:
    """Supervised fine-tuning with TRL's SFTTrainer, before, between or after phases.

    Unset keys are those of the SFT stage before.
    """

    kind: str = "sft"
    context: int = MISSING
    """Longest row, prompt and response together, in tokens."""
    yarn_factor: float = 1.0
    """RoPE stretch over the native window; 1 is the native RoPE."""
    sources: list[str] = field(default_factory=list)
    """Sources of data.sft to learn from; all if empty."""
    own_rollouts: int = 0
    """Right rollouts of the phases before to learn from, at most this many a prompt, beside
    ``sources`` if these are named, else alone; 0: none."""
    epochs: float = 1.0
    batch: int = 64
    """Rows an optimizer update."""
    micro_batch: int | None = None
    """Rows at once, their gradients added up to a batch; the whole batch if null."""
    learning_rate: float = 5e-6
    warmup: float = 0.05
    """Share of the updates over which the learning rate rises; over the last fifth it falls."""
    checkpoint_every: int = 200
    """Updates between checkpoints."""


@dataclass(frozen=True)
class SamplerConfig:
    """Which prompts a step of a phase draws. The parts go together in any way."""

    balance: list[str] = field(default_factory=list)
    """Equal draws over source, kind (of answer), length (quarters of the phase's lengths) or
    pass_rate (fifths, of the last group or metadata.pass_rate), or any of them crossed. Within a
    cell, and if empty, every prompt is drawn once an epoch."""
    replay: float = 0.0
    """Share of a step's prompts that earlier phases have seen."""
    replay_by: str = "difficulty"
    """difficulty (retrospective sampling of QwenLong-L1) or uniform."""
    rest_solved: int = 0
    """Steps that a prompt stays out once all of its group was right; 0: it stays in."""
    rest_hopeless: int = 0
    """Steps that a prompt stays out once none of its group was right; 0: it stays in."""


@dataclass(frozen=True)
class RlStage:
    """One GRPO phase. Unset keys are those of the phase before."""

    kind: str = "rl"
    context: int = MISSING
    """Longest prompt in tokens."""
    lengths: str = "band"
    """band: prompts longer than the last phase's context alone, as in QwenLong-L1; up_to: all."""
    mix: dict[str, float] = field(default_factory=dict)
    """Sources of data.train by their share of the draws; all prompts alike if empty."""
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    response: int = MISSING
    """Longest response in tokens."""
    yarn_factor: float = 1.0
    """RoPE stretch over the native window, in learner and engine; 1 is the native RoPE."""
    steps: int = MISSING
    """Rollout batches, each trained on once."""
    target: float | None = None
    """Mean reward of the last five steps that ends the phase early; never if null."""
    batch: int = MISSING
    """Rollouts a step: prompts times group."""
    group: int = 8
    """Rollouts a prompt (G)."""
    mini_batch: int | None = None
    """Rollouts an optimizer update; the whole batch if null."""
    learning_rate: float = 2e-6
    refill: int = 0
    """Times that a step samples further prompts in place of groups without variance (dynamic
    sampling, DAPO); what is still missing then is made up by such groups."""
    staleness: int = 1
    """Steps that a group of which refilling had too many waits to be trained on; 0 drops it."""
