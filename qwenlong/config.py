"""The experiment file: every key with its meaning, how a file is read, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qwenlong.types import InputError


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
    """facts, recital, ottqa or jsonl."""
    path: str | None = None
    """File or folder, for the sources that read one; relative to the experiment file."""
    examples: int | None = None
    """How many a synthetic source makes, or the most that are taken from a file."""
    min_tokens: int = 0
    """Synthetic sources: the shortest document."""
    max_tokens: int = 256
    """Synthetic sources: the longest document."""


@dataclass(frozen=True)
class DataConfig:
    sft: list[SourceConfig] = field(default_factory=list)
    """Examples with a worked solution, for the SFT stages."""
    train: list[SourceConfig] = field(default_factory=list)
    """Examples for the RL phases; each phase draws the lengths that are its own."""
    held_out: list[SourceConfig] = field(default_factory=list)
    """Examples for evaluation."""
    over_long: str = "drop"
    """What becomes of a document beyond the last context: drop, or middle (cut out the middle)."""


@dataclass(frozen=True)
class SftStage:
    """Supervised warm-up with TRL's SFTTrainer. Unset keys are those of the SFT stage before."""

    kind: str = "sft"
    context: int = MISSING
    """Longest row, prompt and response together, in tokens."""
    sources: list[str] = field(default_factory=list)
    """Sources of data.sft to learn from; all if empty."""
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
class RlStage:
    """One GRPO phase. Unset keys are those of the phase before."""

    kind: str = "rl"
    context: int = MISSING
    """Longest prompt in tokens; the phase draws prompts longer than the last phase's context."""
    response: int = MISSING
    """Longest response in tokens."""
    yarn_factor: float = 1.0
    """RoPE stretch over the native window, in learner and engine; 1 is the native RoPE."""
    steps: int = MISSING
    """Rollout batches, each trained on once."""
    batch: int = MISSING
    """Rollouts a step: prompts times group."""
    group: int = 8
    """Rollouts a prompt (G)."""
    mini_batch: int | None = None
    """Rollouts an optimizer update; the whole batch if null."""
    learning_rate: float = 2e-6


@dataclass(frozen=True)
class RolloutConfig:
    actors: int = 1
    cpus: float = 1.0
    """CPUs that Ray reserves for an actor, shared by its tensor-parallel workers."""
    gpus: float = 0.0
    """GPUs an actor; at least tensor_parallel_size, or a fraction of one."""
    tensor_parallel_size: int = 1
    threads: int | None = None
    """CPU threads of an actor; the machine's cores if null, since learner and actors alternate."""
    memory_gb: int = 1
    """KV cache of an actor on the CPU, in GiB."""
    gpu_memory_utilization: float = 0.85
    temperature: float = 0.7
    top_p: float = 0.95


@dataclass(frozen=True)
class LearnerConfig:
    cpus: float = 1.0
    gpus: float = 0.0
    threads: int | None = None
    """CPU threads; the machine's cores if null."""
    clip_low: float = 0.2
    clip_high: float = 0.2
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    max_grad_norm: float = 1.0
    logprob_chunk: int = 1024
    """Response tokens whose logits are held at once."""
    activation_checkpointing: bool = False


@dataclass(frozen=True)
class EvaluationConfig:
    contexts: list[int] = field(default_factory=list)
    """Context lengths in tokens; those of the stages if empty."""
    examples: int = 200
    """Held-out questions at each context, at most."""
    response: int | None = None
    """Longest response in tokens; the longest of the phases if null."""
    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(frozen=True)
class CheckpointConfig:
    every: int = 10
    """RL steps between checkpoints; every stage ends with one, too."""
    keep: int = 2


@dataclass(frozen=True)
class RayConfig:
    address: str | None = None
    """A cluster to join (``auto``, ``ray://host:10001`` or host:port); a local one if null."""
    object_store_gb: float = 0.5
    """Object store of a local Ray; it must hold the weights."""


@dataclass(frozen=True)
class Config:
    """A resolved experiment."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    data: DataConfig = field(default_factory=DataConfig)
    stages: dict[str, Any] = field(default_factory=dict)
    """Name to SftStage or RlStage (``kind: sft`` or ``rl``), in the order in which they run."""
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
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


STAGES = {"sft": SftStage, "rl": RlStage}
DTYPES = ("float32", "bfloat16")
OVER_LONG = ("drop", "middle")
LOGGERS = ("tensorboard", "trackio", "wandb")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads an experiment file (or a run's saved ``config.yaml``) and applies ``key=value``.

    Raises:
        InputError: with the key, its value and what would be right.
    """
    path = Path(path)
    raw = read_yaml(path)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise InputError(f"{override!r}: an override has the form key=value")
        OmegaConf.update(raw, key, yaml.safe_load(value), force_add=True)
    config = _structure(raw)
    config = replace(config, run_dir=config.run_dir or str(Path("runs") / path.stem))
    config = _anchor_paths(config, path.parent)
    check(config)
    return config


def save_config(config: Config, path: Path) -> None:
    OmegaConf.save(OmegaConf.structured(config), path)


def read_yaml(path: Path) -> DictConfig:
    if not path.is_file():
        raise InputError(f"{path}: there is no such experiment file")
    try:
        raw = OmegaConf.load(path)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, DictConfig):
        raise InputError(f"{path}: an experiment file is a mapping of keys, not a list")
    return raw


def _structure(raw: DictConfig) -> Config:
    stages = raw.pop("stages", None) or {}
    if not isinstance(stages, DictConfig):
        raise InputError(f"stages={stages}: must be a mapping from stage names to stages")
    config = _typed(Config, raw, "")
    resolved: dict[str, Any] = {}
    before: dict[str, DictConfig] = {}
    for name, stage in stages.items():
        kind = stage.get("kind") if isinstance(stage, DictConfig) else None
        if kind not in STAGES:
            raise InputError(f"stages.{name}.kind={kind}: must be one of {', '.join(STAGES)}")
        inherited = OmegaConf.merge(before.get(kind, OmegaConf.create()), stage)
        assert isinstance(inherited, DictConfig)
        before[kind] = inherited
        resolved[str(name)] = _typed(STAGES[kind], inherited, f"stages.{name}.")
    return replace(config, stages=resolved)


def _typed(schema: Any, raw: DictConfig, prefix: str) -> Any:
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), raw))
    except OmegaConfBaseException as error:
        message = str(error).splitlines()[0]
        key = getattr(error, "full_key", None) or ""
        raise InputError(f"{prefix}{key}: {message}") from None


def _anchor_paths(config: Config, folder: Path) -> Config:
    """Makes relative paths those of the experiment file, so that a saved config stands alone."""

    def anchored(sources: list[SourceConfig]) -> list[SourceConfig]:
        return [
            replace(source, path=str((folder / source.path).resolve())) if source.path else source
            for source in sources
        ]

    data = config.data
    return replace(
        config,
        data=replace(
            data,
            sft=anchored(data.sft),
            train=anchored(data.train),
            held_out=anchored(data.held_out),
        ),
    )


def check(config: Config) -> None:
    """Refuses what no run could do, as far as the configuration alone tells."""

    def require(holds: bool, key: str, value: Any, right: str) -> None:
        if not holds:
            raise InputError(f"{key}={value}: {right}")

    require(bool(config.stages), "stages", "{}", "at least one stage is needed")
    require(bool(config.phases), "stages", list(config.stages), "at least one needs kind: rl")
    for key, value, known in (
        ("policy.dtype", config.policy.dtype, DTYPES),
        ("data.over_long", config.data.over_long, OVER_LONG),
        *((f"loggers.{i}", name, LOGGERS) for i, name in enumerate(config.loggers)),
    ):
        require(value in known, key, value, f"must be one of {', '.join(known)}")
    for key, count in (
        ("rollout.actors", config.rollout.actors),
        ("rollout.tensor_parallel_size", config.rollout.tensor_parallel_size),
        ("learner.logprob_chunk", config.learner.logprob_chunk),
        ("evaluation.examples", config.evaluation.examples),
        ("checkpoint.every", config.checkpoint.every),
        ("checkpoint.keep", config.checkpoint.keep),
    ):
        require(count >= 1, key, count, "must be at least 1")
    for name, stage in config.stages.items():
        _check_stage(f"stages.{name}", stage, require)
    phases = [(name, s) for name, s in config.stages.items() if isinstance(s, RlStage)]
    for (_, before), (name, phase) in pairwise(phases):
        require(
            phase.context >= before.context,
            f"stages.{name}.context",
            phase.context,
            f"must not be shorter than the phase before it ({before.context})",
        )


def _check_stage(key: str, stage: Any, require: Any) -> None:
    counts = ["context", "batch"]
    counts += ["response", "steps", "group"] if isinstance(stage, RlStage) else []
    for name in counts:
        require(getattr(stage, name) >= 1, f"{key}.{name}", getattr(stage, name), "must be >= 1")
    require(stage.learning_rate > 0, f"{key}.learning_rate", stage.learning_rate, "must be > 0")
    if isinstance(stage, SftStage):
        require(stage.epochs > 0, f"{key}.epochs", stage.epochs, "must be > 0")
        require(0 <= stage.warmup < 1, f"{key}.warmup", stage.warmup, "must be in [0, 1)")
        micro_batch = stage.micro_batch or stage.batch
        require(
            stage.batch % micro_batch == 0,
            f"{key}.micro_batch",
            micro_batch,
            f"must divide batch ({stage.batch})",
        )
        return
    require(stage.group >= 2, f"{key}.group", stage.group, "GRPO compares at least 2 rollouts")
    require(stage.yarn_factor >= 1, f"{key}.yarn_factor", stage.yarn_factor, "must be >= 1")
    require(
        stage.batch % stage.group == 0,
        f"{key}.batch",
        stage.batch,
        f"must be a multiple of group ({stage.group}): it counts rollouts",
    )
    mini_batch = stage.mini_batch or stage.batch
    require(
        mini_batch % stage.group == 0 and stage.batch % mini_batch == 0,
        f"{key}.mini_batch",
        mini_batch,
        f"must be a multiple of group ({stage.group}) and divide batch ({stage.batch})",
    )


def check_rope(config: Config, window: int) -> None:
    """Refuses rows longer than the RoPE of their stage serves. ``window``: the policy's own."""
    for name, stage in config.stages.items():
        factor = stage.yarn_factor if isinstance(stage, RlStage) else 1.0
        row = stage.context + (stage.response if isinstance(stage, RlStage) else 0)
        if row > int(window * factor):
            at_least = f"yarn_factor >= {row / window:.4g}" if isinstance(stage, RlStage) else ""
            raise InputError(
                f"stages.{name}.context={stage.context}: a row of {row} tokens is beyond the"
                f" {int(window * factor)} that RoPE allows (window {window}, yarn_factor"
                f" {factor:g}); {at_least or 'shorten it'}"
            )
