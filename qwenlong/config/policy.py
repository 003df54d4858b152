"""The policy and its learner."""

from __future__ import annotations

from dataclasses import dataclass, field

from qwenlong.types import MISSING

TINY = "tiny"
"""The ``policy.path`` of a policy that the run draws itself."""


@dataclass(frozen=True)
class TinyConfig:
    """The Qwen3 that ``policy.path: tiny`` builds from scratch."""

    layers: int = 4
    hidden: int = 128
    intermediate: int = 384
    heads: int = 4
    kv_heads: int = 2
    rope_theta: float = 10_000.0
    vocabulary: int = 2_048
    """At most; the tokenizer is trained on the training documents."""


@dataclass(frozen=True)
class PolicyConfig:
    path: str = MISSING
    """A local folder, a name on the hub, or ``tiny``."""
    dtype: str = "bfloat16"
    """float32 or bfloat16, of learner and engine alike."""
    window: int | None = None
    """Native context window in tokens; read from the policy's own configuration if null."""
    tiny: TinyConfig = field(default_factory=TinyConfig)


@dataclass(frozen=True)
class LearnerConfig:
    cpus: float = 1.0
    gpus: float = 0.0
    threads: int | None = None
    """CPU threads of a process; if null, the cores shared by all of the learner's."""
    on_failure: str = "resume"
    """What its death leads to: resume (all actors start anew, from the last checkpoint) or stop."""
    objective: str = "grpo"
    """grpo, dapo, dr_grpo, gspo or cispo."""
    clip_low: float | None = None
    """Ratios are clipped to [1 - clip_low, 1 + clip_high]; null: as in the objective's paper."""
    clip_high: float | None = None
    kl_coefficient: float = 0.0
    """Of the KL to the policy as it was before the first phase."""
    importance_cap: float | None = None
    """Most that a token's weight for the engine's other probabilities can be; null: no weights."""
    mask_ratio: float | None = None
    """Tokens whose probability differs more than that between learner and engine are left out."""
    advantage: str = "group"
    """group, task (over all of a step's rewards of the same kind, QwenLong-L1.5) or leave_one_out
    (RLOO)."""
    difficulty_weight: bool = False
    """Weighs what is right in hard groups and wrong in easy ones more (GRPO-LEAD)."""
    entropy_high: float | None = None
    """Nats a token above which negative advantages are masked, until entropy is below the next key
    (AEPO, QwenLong-L1.5); null: never."""
    entropy_low: float | None = None
    overlong_buffer: int = 0
    """Tokens before the response limit over which the reward falls by up to 1; 0: none."""
    drop_truncated: bool = False
    """Leaves responses that were cut at the limit out of the loss (overlong filtering, DAPO)."""
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    max_grad_norm: float = 1.0
    attention: str = "auto"
    """sdpa, flex (FlexAttention), flash (flash-attn), or the fastest that there is."""
    max_tokens: int | None = None
    """Tokens of a micro-batch, shared prompts counted once; the longest group's if null."""
    activation_checkpointing: bool = False
    offload_activations: bool = False
    """Keeps what the backward pass needs in host memory."""
    lora_rank: int = 0
    """Trains adapters of that rank (LoRA), in SFT too, and leaves the weights; 0 trains these."""
    lora_alpha: float = 32.0
    data_ranks: int = 1
    """Take different groups; times the next key it is the learner's processes, of gpus each."""
    sequence_ranks: int = 1
    """Learner processes that share a row (Ulysses); must divide the policy's query heads."""

    @property
    def processes(self) -> int:
        return self.data_ranks * self.sequence_ranks
