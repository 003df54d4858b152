"""Reads an experiment file, applies what a person overrides, and refuses what cannot work."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qwenlong.config import Config, RlStage, SftStage, SourceConfig
from qwenlong.types import InputError

STAGES = {"sft": SftStage, "rl": RlStage}
DTYPES = ("float32", "bfloat16")
OVER_LONG = ("drop", "middle")
ATTENTIONS = ("auto", "sdpa", "flex", "flash")
LOGGERS = ("tensorboard", "trackio", "wandb")
UNTRAINED = "untrained"
"""What the policy is called before its first stage."""

Require = Callable[[bool, str, Any, str], None]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads an experiment file (or a run's saved ``config.yaml``) and applies ``key=value``.

    Raises:
        InputError: with the key, its value and what would be right.
    """
    path = Path(path)
    raw = _read(path)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise InputError(f"{override!r}: an override has the form key=value")
        try:
            OmegaConf.update(raw, key, yaml.safe_load(text), merge=False, force_add=True)
        except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
            raise InputError(f"{override}: cannot be applied: {_one_line(error)}") from None
    try:
        OmegaConf.resolve(raw)
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {_one_line(error)}") from None
    config = _structured(raw)
    config = replace(config, run_dir=config.run_dir or str(Path("runs") / path.stem))
    config = _anchored(config, path.parent)
    check(config)
    return config


def save_config(config: Config, path: Path) -> None:
    OmegaConf.save(OmegaConf.structured(config), path)


def _read(path: Path) -> DictConfig:
    if not path.is_file():
        raise InputError(f"{path}: there is no such experiment file")
    try:
        raw = OmegaConf.load(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {_one_line(error)}") from None
    if not isinstance(raw, DictConfig):
        raise InputError(f"{path}: an experiment file is a mapping of keys, not a list")
    if not raw:
        raise InputError(f"{path}: the file is empty; an experiment needs policy, data and stages")
    return raw


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _structured(raw: DictConfig) -> Config:
    stages = raw.pop("stages", None)
    if not isinstance(stages, DictConfig):
        raise InputError(f"stages={stages}: must be a mapping from names to at least one stage")
    config = _typed(Config, raw, "")
    resolved: dict[str, Any] = {}
    before: dict[str, DictConfig] = {}
    for name, stage in ((str(name), stage) for name, stage in stages.items()):
        kind = str(stage.get("kind")) if isinstance(stage, DictConfig) else "None"
        if kind not in STAGES:
            raise InputError(f"stages.{name}.kind={kind}: must be one of {', '.join(STAGES)}")
        inherited = OmegaConf.merge(before.get(kind, OmegaConf.create()), stage)
        assert isinstance(inherited, DictConfig)
        before[kind] = inherited
        resolved[name] = _typed(STAGES[kind], inherited, f"stages.{name}")
    return replace(config, stages=resolved)


def _typed(schema: Any, raw: Any, prefix: str) -> Any:
    """``raw`` as the dataclass ``schema``, level by level, so that an error names the whole key."""
    if not isinstance(raw, DictConfig):
        raise InputError(f"{prefix}={raw}: must be a mapping of keys")
    hints: dict[str, Any] = get_type_hints(schema)
    values: dict[str, Any] = {}
    for key in map(str, raw):
        full = f"{prefix}.{key}" if prefix else key
        hint = hints.get(key)
        inner = next(iter(get_args(hint)), None)
        if is_dataclass(hint):
            values[key] = _typed(hint, raw[key], full)
        elif get_origin(hint) is list and is_dataclass(inner):
            if not isinstance(raw[key], ListConfig):
                raise InputError(f"{full}={raw[key]}: must be a list")
            values[key] = [_typed(inner, item, f"{full}.{i}") for i, item in enumerate(raw[key])]
        else:
            values[key] = _value(schema, key, raw, full)
    for each in fields(schema):
        if each.default == MISSING and each.name not in values:
            raise InputError(f"{prefix}.{each.name}: is missing, and has no default")
    return schema(**values)


def _value(schema: Any, key: str, raw: DictConfig, full: str) -> Any:
    """One value, checked and converted by OmegaConf."""
    try:
        merged: Any = OmegaConf.merge(OmegaConf.structured(schema), {key: raw[key]})
        value: Any = OmegaConf.to_container(merged, resolve=True)
        return value[key]
    except OmegaConfBaseException as error:
        value = OmegaConf.to_container(raw)
        raise InputError(f"{full}={value[key]}: {str(error).splitlines()[0]}") from None


def _anchored(config: Config, folder: Path) -> Config:
    """Makes relative paths absolute, so that a saved config stands alone.

    Those of data are relative to the experiment file, a policy's to the working directory.
    """

    def anchored(sources: list[SourceConfig]) -> list[SourceConfig]:
        return [
            replace(source, path=str((folder / source.path).resolve())) if source.path else source
            for source in sources
        ]

    data = replace(
        config.data,
        sft=anchored(config.data.sft),
        train=anchored(config.data.train),
        held_out=anchored(config.data.held_out),
    )
    policy = config.policy
    if Path(policy.path).is_dir():
        policy = replace(policy, path=str(Path(policy.path).resolve()))
    return replace(config, data=data, policy=policy)


def check(config: Config) -> None:
    """Refuses what no run could do, as far as the configuration alone tells."""

    def require(holds: bool, key: str, value: Any, right: str) -> None:
        if not holds:
            raise InputError(f"{key}={value}: {right}")

    _check_values(config, require)
    for name, stage in config.stages.items():
        named = re.fullmatch(r"[\w-]+", name) and name != UNTRAINED
        require(bool(named), "stages", name, f"a name is a word, and not {UNTRAINED!r}")
        _check_stage(f"stages.{name}", stage, config.learner.processes, require)
    require(bool(config.phases), "stages", list(config.stages), "at least one needs kind: rl")
    phases = [(name, s) for name, s in config.stages.items() if isinstance(s, RlStage)]
    for (_, before), (name, phase) in pairwise(phases):
        right = f"must not be shorter than the phase before it ({before.context})"
        key = f"stages.{name}.context"
        require(phase.context >= before.context, key, phase.context, right)


def _check_values(config: Config, require: Require) -> None:
    rollout, evaluation, learner = config.rollout, config.evaluation, config.learner
    for key, name, known in (
        ("policy.dtype", config.policy.dtype, DTYPES),
        ("data.over_long", config.data.over_long, OVER_LONG),
        ("learner.attention", learner.attention, ATTENTIONS),
        *((f"loggers.{i}", name, LOGGERS) for i, name in enumerate(config.loggers)),
    ):
        require(name in known, key, name, f"must be one of {', '.join(known)}")
    for key, count in (
        ("policy.window", config.policy.window or 1),
        ("rollout.actors", rollout.actors),
        ("rollout.tensor_parallel_size", rollout.tensor_parallel_size),
        ("learner.max_tokens", learner.max_tokens or 1),
        ("learner.data_ranks", learner.data_ranks),
        ("learner.sequence_ranks", learner.sequence_ranks),
        ("evaluation.examples", evaluation.examples),
        *((f"evaluation.contexts.{i}", n) for i, n in enumerate(evaluation.contexts)),
        ("checkpoint.every", config.checkpoint.every),
        ("checkpoint.keep", config.checkpoint.keep),
        *(
            (f"data.{part}.{i}.examples", 1 if source.examples is None else source.examples)
            for part in ("sft", "train", "held_out")
            for i, source in enumerate(getattr(config.data, part))
        ),
    ):
        require(count >= 1, key, count, "must be at least 1")
    # A temperature of 0 has no probabilities to train on.
    temperature = rollout.temperature
    require(0 < temperature < math.inf, "rollout.temperature", temperature, "must be above 0")
    temperature = evaluation.temperature
    require(temperature >= 0, "evaluation.temperature", temperature, "must be at least 0")
    for key, share in (
        ("rollout.gpu_memory_utilization", rollout.gpu_memory_utilization),
        ("learner.beta1", learner.beta1),
        ("learner.beta2", learner.beta2),
    ):
        require(0 <= share < 1, key, share, "must be in [0, 1)")
    for key, amount in (
        ("rollout.cpus", rollout.cpus),
        ("learner.cpus", learner.cpus),
        ("rollout.threads", 1 if rollout.threads is None else rollout.threads),
        ("learner.threads", 1 if learner.threads is None else learner.threads),
        ("rollout.kv_cache_gb", 1 if rollout.kv_cache_gb is None else rollout.kv_cache_gb),
        ("learner.max_grad_norm", learner.max_grad_norm),
        ("ray.object_store_gb", config.ray.object_store_gb or 1),
        ("evaluation.response", 1 if evaluation.response is None else evaluation.response),
        *((f"policy.tiny.{name}", n) for name, n in vars(config.policy.tiny).items()),
    ):
        require(amount > 0, key, amount, "must be above 0")
    for key, gpus in (("rollout.gpus", rollout.gpus), ("learner.gpus", learner.gpus)):
        require(gpus >= 0, key, gpus, "must be at least 0")
    for key, top_p in (("rollout", rollout.top_p), ("evaluation", evaluation.top_p)):
        require(0 < top_p <= 1, f"{key}.top_p", top_p, "must be above 0 and at most 1")
    _check_learner(config, require)


def _check_learner(config: Config, require: Require) -> None:
    from qwenlong.learner.objectives import find_objective  # imports torch, which takes a while

    learner = config.learner
    find_objective(learner.objective)
    for name, stage in config.stages.items():
        longest = stage.context + stage.response if isinstance(stage, RlStage) else 0
        fits = learner.max_tokens is None or learner.max_tokens >= longest
        right = f"must hold a prompt and a response of stages.{name} ({longest} tokens)"
        require(fits, "learner.max_tokens", learner.max_tokens, right)
    options = ("clip_low", "clip_high", "kl_coefficient", "overlong_buffer", "lora_rank")
    for key in (*options, "weight_decay"):
        amount = getattr(learner, key) or 0
        require(amount >= 0, f"learner.{key}", amount, "must be at least 0")
    low = 0.0 if learner.clip_low is None else learner.clip_low
    require(low <= 1, "learner.clip_low", low, "must be at most 1: no ratio is below 0")
    require(learner.lora_alpha > 0, "learner.lora_alpha", learner.lora_alpha, "must be above 0")
    on_gpu = learner.gpus > 0 or learner.attention in ("auto", "sdpa")
    require(on_gpu, "learner.attention", learner.attention, "needs a GPU (learner.gpus is 0)")
    half = learner.attention != "flash" or config.policy.dtype == "bfloat16"
    require(half, "learner.attention", learner.attention, "needs policy.dtype=bfloat16")
    cap = learner.importance_cap
    require(cap is None or cap > 0, "learner.importance_cap", cap, "must be above 0")
    ratio = learner.mask_ratio
    require(ratio is None or ratio > 1, "learner.mask_ratio", ratio, "must be above 1")


def _check_stage(key: str, stage: Any, processes: int, require: Require) -> None:
    counts = ["context", "batch"]
    counts += ["checkpoint_every"] if isinstance(stage, SftStage) else []
    counts += ["response", "steps"] if isinstance(stage, RlStage) else []
    for name in counts:
        value = getattr(stage, name)
        require(value >= 1, f"{key}.{name}", value, "must be at least 1")
    rate = stage.learning_rate
    require(rate > 0, f"{key}.learning_rate", rate, "must be above 0")
    if isinstance(stage, SftStage):
        require(stage.epochs > 0, f"{key}.epochs", stage.epochs, "must be above 0")
        require(0 <= stage.warmup < 1, f"{key}.warmup", stage.warmup, "must be in [0, 1)")
        micro = stage.batch if stage.micro_batch is None else stage.micro_batch
        right = f"must divide batch ({stage.batch})"
        require(micro >= 1 and stage.batch % micro == 0, f"{key}.micro_batch", micro, right)
        right = f"must be a multiple of the learner's {processes} processes"
        require(micro % processes == 0, f"{key}.micro_batch", micro, right)
        return
    require(stage.group >= 2, f"{key}.group", stage.group, "GRPO compares at least 2 rollouts")
    require(stage.yarn_factor >= 1, f"{key}.yarn_factor", stage.yarn_factor, "must be at least 1")
    right = f"must be a multiple of group ({stage.group}): it counts rollouts"
    require(stage.batch % stage.group == 0, f"{key}.batch", stage.batch, right)
    mini = stage.batch if stage.mini_batch is None else stage.mini_batch
    fits = mini >= 1 and mini % stage.group == 0 and stage.batch % mini == 0
    right = f"must be a multiple of group ({stage.group}) and divide batch ({stage.batch})"
    require(fits, f"{key}.mini_batch", mini, right)


def check_rope(config: Config, window: int) -> None:
    """Refuses rows longer than the RoPE of their stage serves. ``window``: the policy's own."""
    for name, stage in config.stages.items():
        is_phase = isinstance(stage, RlStage)
        factor = stage.yarn_factor if is_phase else 1.0
        row = stage.context + (stage.response if is_phase else 0)
        if row <= int(window * factor):
            continue
        mend = f"set yarn_factor >= {row / window:.4g}" if is_phase else "shorten it"
        raise InputError(
            f"stages.{name}.context={stage.context}: a row of {row} tokens is beyond the"
            f" {int(window * factor)} that RoPE allows (window {window}, yarn_factor"
            f" {factor:g}); {mend}"
        )
    longest = config.contexts[-1] + (config.evaluation.response or config.longest_response)
    limit = int(window * max(phase.yarn_factor for phase in config.phases))
    if longest > limit:
        raise InputError(
            f"evaluation.contexts={config.contexts}: a row of {longest} tokens, response included,"
            f" is beyond the {limit} that the RoPE of the last phase allows"
        )
