"""Section ``learner``."""

from __future__ import annotations

from dataclasses import dataclass

from qwenlong.config.callables import ADVANTAGE, OBJECTIVE
from qwenlong.config.keys import key


@dataclass(frozen=True)
class LearnerConfig:
    """The processes that train the policy, and what they minimise."""

    cpus: float = key(1.0, "CPUs that Ray reserves for a process.", above=0)
    gpus: float = key(0.0, "GPUs of a process.", at_least=0)
    threads: int | None = key(
        None,
        "CPU threads of a process; null divides the machine's cores among the processes.",
        at_least=1,
    )
    on_failure: str = key(
        "resume",
        "What to do when a learner process dies: restart all actors and resume from the last"
        " checkpoint, or stop the run.",
        one_of=("resume", "stop"),
    )
    # The names are held to the learner's own list by a test: importing it here would load torch.
    objective: str = key(
        "grpo",
        "Objective of the RL phases.",
        one_of=("grpo", "dapo", "dr_grpo", "gspo", "cispo"),
        function=OBJECTIVE,
    )
    clip_low: float | None = key(
        None,
        "Probability ratios are clipped to [1 - clip_low, 1 + clip_high]; null takes the range of"
        " the objective's paper.",
        at_least=0,
        at_most=1,  # no ratio is below 0
    )
    clip_high: float | None = key(None, "See clip_low.", at_least=0)
    kl_coefficient: float = key(
        0.0,
        "Weight of the KL divergence from the policy as it was before the first phase.",
        at_least=0,
    )
    importance_cap: float | None = key(
        None,
        "Upper bound of the weight that corrects a token for the difference between learner and"
        " engine (truncated importance sampling); null uses no weights.",
        above=0,
    )
    mask_ratio: float | None = key(
        None,
        "Tokens whose probabilities in learner and engine differ by more than this factor are left"
        " out of the loss; null keeps all.",
        above=1,
    )
    advantage: str = key(
        "group",
        "How rewards become advantages: (r - mean) / std of the group; with the std of all rewards"
        " of the same kind of answer in the step (task, QwenLong-L1.5); or r minus the mean of the"
        " others (leave_one_out, RLOO).",
        one_of=("group", "task", "leave_one_out"),
        function=ADVANTAGE,
    )
    difficulty_weight: bool = key(
        False,
        "Give right responses to hard prompts and wrong ones to easy prompts more weight"
        " (GRPO-LEAD).",
    )
    entropy_high: float | None = key(
        None,
        "Entropy in nats per token above which negative advantages are masked, until it falls"
        " below entropy_low (AEPO, QwenLong-L1.5); null never masks.",
    )
    entropy_low: float | None = key(None, "See entropy_high.", at_least=0)
    overlong_buffer: int = key(
        0,
        "Tokens before the response limit over which a penalty on the reward grows to 1 (DAPO);"
        " 0 sets no penalty.",
        at_least=0,
    )
    drop_truncated: bool = key(
        False,
        "Leave responses that were cut at the limit out of the loss (overlong filtering, DAPO).",
    )
    weight_decay: float = key(0.0, "Weight decay of AdamW.", at_least=0)
    beta1: float = key(0.9, "Decay of AdamW's mean of gradients.", at_least=0, below=1)
    beta2: float = key(0.999, "Decay of AdamW's mean of squared gradients.", at_least=0, below=1)
    max_grad_norm: float = key(1.0, "Gradients are scaled down to this norm.", above=0)
    attention: str = key(
        "auto",
        "Attention kernel: PyTorch's SDPA, FlexAttention, flash-attn, or the fastest of those that"
        " are installed.",
        one_of=("auto", "sdpa", "flex", "flash"),
    )
    max_tokens: int | None = key(
        None,
        "Tokens of a micro-batch, a shared prompt counted once; null takes the longest group's.",
        at_least=1,
    )
    activation_checkpointing: bool = key(
        False, "Compute activations again in the backward pass; this saves memory and costs time."
    )
    offload_activations: bool = key(
        False, "Keep what the backward pass needs in the memory of the host."
    )
    lora_rank: int = key(
        0,
        "Rank of the LoRA adapters that are trained, in SFT too, while the weights stay as they"
        " are; 0 trains the weights.",
        at_least=0,
    )
    lora_alpha: float = key(32.0, "Adapters are scaled by lora_alpha / lora_rank.", above=0)
    data_ranks: int = key(
        1,
        "Processes that take different groups; with sequence_ranks they multiply to the number of"
        " learner processes.",
        at_least=1,
    )
    sequence_ranks: int = key(
        1,
        "Processes that share a row (Ulysses); must divide the policy's number of query heads.",
        at_least=1,
    )

    @property
    def processes(self) -> int:
        return self.data_ranks * self.sequence_ranks
