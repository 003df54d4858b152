"""The experiment file: every key with its meaning. ``experiment.py`` reads and checks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MISSING: Any = "???"
"""OmegaConf's mark of a key without default; named here so that rooms need no OmegaConf."""


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
class SourceConfig:
    source: str = MISSING
    """A published set, a synthetic task, jsonl, chat, built, facts or recital (docs/data.md)."""
    path: str | None = None
    """File or folder, relative to the experiment file; null: from the hub, where it is there."""
    subset: str | None = None
    """Of a published set that has some."""
    corpus: str | None = None
    """Texts that a synthetic task is hidden in, or that distractors=text runs on."""
    language: str = "en"
    """Of a synthetic task."""
    examples: int | None = None
    """How many a synthetic source makes, or the most that are taken."""
    weight: float | None = None
    """Share of a built set, beside the weights of its other sources."""
    min_tokens: int = 0
    """Synthetic sources: the shortest document. All others: prompts that are shorter stay out."""
    max_tokens: int | None = None
    """The longest; 256 for facts and recital if null."""
    lengthen: int | None = None
    """Tokens that every prompt is brought to by distractors, to within 2 %; as it is if null."""
    distractors: str = "hard"
    """What lengthens: hard (like the question), random, or text (running text of corpus)."""
    depth: float | None = None
    """Where the gold documents stand, 0 first to 1 last; drawn anew for each if null."""
    hide: bool = False
    """Hides each question at the end of a chain of keys, among chains to other questions
    (LoongRL, arXiv 2510.19363)."""


@dataclass(frozen=True)
class DataConfig:
    sft: list[SourceConfig] = field(default_factory=list)
    """Examples for the SFT stages, with a worked solution, or none: then without thinking."""
    train: list[SourceConfig] = field(default_factory=list)
    """Examples for the RL phases; each phase draws the lengths that are its own."""
    held_out: list[SourceConfig] = field(default_factory=list)
    """Examples for evaluation. A set that is also trained on is parted by its documents."""
    over_long: str = "drop"
    """What becomes of a document beyond the last context: drop, middle (cut out the middle) or
    keep_gold (cut around the gold documents)."""
    on_error: str = "stop"
    """What becomes of a file's row that gives no example: stop, or skip (counted and said)."""
    thinking: bool = True
    """Whether the policy thinks before it answers (Qwen3's modes). Rewards then count only what
    closes its thinking; SFT learns examples without reasoning in the other mode."""
    deduplicate: bool = False
    """Leaves out examples that repeat an earlier one of their list, near enough."""


@dataclass(frozen=True)
class BuildConfig:
    """What ``qwenlong data build`` takes: a set of examples, made once."""

    tokenizer: str = MISSING
    """A policy's folder or name: lengths are in its tokens, its chat template included."""
    sources: list[SourceConfig] = field(default_factory=list)
    examples: int | None = None
    """Of all sources together, by their weights; all that there are if null."""
    held_out: float = 0.0
    """Share that is kept apart for evaluation, by documents."""
    context: int | None = None
    """Longest prompt in tokens; longer ones meet over_long. No limit if null."""
    over_long: str = "drop"
    on_error: str = "stop"
    deduplicate: bool = True
    thinking: bool = True
    """Which of the template's modes lengths are counted in."""
    seed: int = 0


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


@dataclass(frozen=True)
class EngineConfig:
    """vLLM engines on Ray, an actor each."""

    actors: int = 1
    cpus: float = 1.0
    """CPUs that Ray reserves for an actor, shared by its tensor-parallel workers."""
    gpus: float = 0.0
    """GPUs an actor; at least tensor_parallel_size, or a fraction of one."""
    tensor_parallel_size: int = 1
    threads: int | None = None
    """CPU threads of an actor; if null, the cores shared by all actors (the learner waits)."""
    kv_cache_gb: float | None = None
    """KV cache of an actor in GiB; if null, 1 on the CPU, on a GPU what the next key leaves."""
    gpu_memory_utilization: float = 0.85


@dataclass(frozen=True)
class RolloutConfig(EngineConfig):
    batch_invariant: bool = False
    """vLLM's batch-invariant kernels, on GPUs: slower, and the same tokens in any company."""
    temperature: float = 0.7
    top_p: float = 0.95


@dataclass(frozen=True)
class RewardConfig:
    source: str = MISSING
    """A source of data.train; ``*`` is all that have no reward of their own."""
    rule: str | None = None
    """A kind of answer, or module:callable of any Python function (example, response, thinking)
    that gives a Score or a number from 0 to 1; each example's own kind if null."""
    combine: str = "rule"
    """rule or judge alone; or max (as in the paper), min or mean of both."""


@dataclass(frozen=True)
class JudgeConfig:
    model: str | None = None
    """Its name at ``url``, or, without one, a policy that vLLM engines of the run serve."""
    url: str | None = None
    """Of an OpenAI-compatible API, such as http://localhost:8000/v1."""
    key_env: str | None = None
    """Environment variable that holds the API's key."""
    timeout_s: float = 60.0
    """For a call; engines have it for every 16 calls of a step."""
    reply_tokens: int = 256
    """Longest reply; a judge that thinks needs more."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further keys of a request's body; an engine takes chat_template_kwargs alone, such as
    {enable_thinking: false}."""
    attempts: int = 5
    """Calls for one verdict, at most."""
    concurrency: int = 16
    """Calls at once; engines take all of a step."""
    max_calls: int | None = None
    max_tokens: int | None = None
    """What the run may spend, resumed or not; what comes after is unjudged."""
    cache: str | None = None
    """File of verdicts, which runs may share; one in the run's directory if null."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """Without ``url``: the engines, which get policy.dtype."""

    @property
    def is_engine(self) -> bool:
        return self.model is not None and self.url is None


@dataclass(frozen=True)
class RewardsConfig:
    by_source: list[RewardConfig] = field(default_factory=list)
    """Each example's own kind of answer decides alone where nothing is said."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    unjudged: str = "stop"
    """What becomes of a response that the judge gave no verdict on: stop (the run ends), rule
    (the rule decides alone) or drop (nobody learns from it)."""


@dataclass(frozen=True)
class LearnerConfig:
    cpus: float = 1.0
    gpus: float = 0.0
    threads: int | None = None
    """CPU threads of a process; if null, the cores shared by all of the learner's."""
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


@dataclass(frozen=True)
class EvaluationConfig:
    contexts: list[int] = field(default_factory=list)
    """Context lengths in tokens; those of the stages if empty."""
    examples: int = 200
    """Held-out questions at each context, at most."""
    response: int | None = None
    """Longest response in tokens; the longest of the phases if null. Needed without phases."""
    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(frozen=True)
class CheckpointConfig:
    every: int = 10
    """RL steps between checkpoints; every stage ends with one, too."""
    keep: int = 2
    """The last ones; the best by accuracy at the longest context stays beside them."""


@dataclass(frozen=True)
class FailuresConfig:
    learner: str = "resume"
    """What a dead learner leads to: resume (all actors start anew, from the last checkpoint) or
    stop."""
    restarts: int = 5
    """Most restarts of actors within ``period_s``; one more ends the run."""
    period_s: float = 3600.0
    timeout_s: float = 3600.0
    """Without an answer for so long a rollout actor counts as hung, and is replaced."""


@dataclass(frozen=True)
class GuardsConfig:
    """What follows when a run goes wrong: warn, stop, or, of the first two, skip.

    Warn goes on as if nothing were; skip leaves the optimizer update out; stop does, too, and ends
    the run after the step's metrics, to be gone on with from its last checkpoint.
    """

    non_finite: str = "stop"
    """Loss or gradient of an update is not a number, or infinite, in SFT too."""
    engine_kl: str = "warn"
    """Engine and learner differ by more than the next key over a step, in nats a token; all of
    its updates are left out then."""
    engine_kl_above: float = 0.1
    entropy: str = "warn"
    """Entropy of a step is below the next key, in nats a token; never at 0."""
    entropy_below: float = 0.0
    reward: str = "warn"
    """No reward at all in as many RL steps in a row as the next key says."""
    reward_zero_steps: int = 20
    disk: str = "stop"
    """Less GiB free than the next key, or than the last checkpoint takes, where the run is kept."""
    disk_gb: float = 1.0
    memory: str = "warn"
    """Less GiB left than the next key, of the driver's machine or of its container."""
    memory_gb: float = 0.5


@dataclass(frozen=True)
class RayConfig:
    address: str | None = None
    """A cluster to join (``auto``, ``ray://host:10001`` or host:port); a local one if null."""
    object_store_gb: float | None = None
    """Object store of a local Ray, which must hold the weights; Ray's own choice if null."""


@dataclass(frozen=True)
class Config:
    """A resolved experiment."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    data: DataConfig = field(default_factory=DataConfig)
    stages: dict[str, Any] = field(default_factory=dict)
    """Name to SftStage or RlStage (``kind: sft`` or ``rl``), in the order in which they run."""
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    failures: FailuresConfig = field(default_factory=FailuresConfig)
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    loggers: list[str] = field(default_factory=list)
    """Any of tensorboard, trackio, wandb, beside metrics.jsonl."""
    run_dir: str = ""
    """Where the run is kept; runs/<name of the experiment file> if empty."""
    seed: int = 0

    @property
    def phases(self) -> list[RlStage]:
        return [stage for stage in self.stages.values() if isinstance(stage, RlStage)]

    @property
    def contexts(self) -> list[int]:
        """Context lengths at which the policy is evaluated, ascending."""
        own = self.evaluation.contexts or [stage.context for stage in self.stages.values()]
        return sorted(set(own))

    @property
    def longest_response(self) -> int:
        """The longest response that any part of the run may sample, in tokens."""
        return max([phase.response for phase in self.phases] + [self.evaluation.response or 0])
