"""Reads an experiment file, applies what a person overrides, and refuses what cannot work."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qwenlong.config import BuildConfig, Config, RlStage, SftStage, SourceConfig
from qwenlong.config.checks import check, check_build
from qwenlong.types import InputError

STAGES = {"sft": SftStage, "rl": RlStage}
BASE = "base"
"""Key of an experiment file that names another one, whose keys it changes."""


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads an experiment file (or a run's saved ``config.yaml``) and applies ``key=value``.

    A file may name another one of its folder as its ``base`` and say only what differs; a stage
    that is null there is left out.

    Raises:
        InputError: with the key, its value and what would be right.
    """
    path = Path(path)
    raw = _over_its_base(_read(path), path)
    config = _structured(_overridden(raw, path, overrides))
    config = replace(config, run_dir=config.run_dir or str(Path("runs") / path.stem))
    config = _anchored(config, path.parent)
    check(config)
    return config


def _overridden(raw: DictConfig, path: Path, overrides: Sequence[str]) -> DictConfig:
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise InputError(f"{override!r}: an override has the form key=value")
        known = list(raw.get("stages") or ())
        try:
            OmegaConf.update(raw, key, yaml.safe_load(text), merge=False, force_add=True)
        except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
            raise InputError(f"{override}: cannot be applied: {_one_line(error)}") from None
        _check_left_out(raw, known)
    try:
        OmegaConf.resolve(raw)
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {_one_line(error)}") from None
    return raw


def load_build(path: str | Path, overrides: Sequence[str] = ()) -> BuildConfig:
    """Reads what ``qwenlong data build`` takes.

    Raises:
        InputError: with the key, its value and what would be right.
    """
    path = Path(path)
    raw = _overridden(_read(path), path, overrides)
    config: BuildConfig = _typed(BuildConfig, raw, "")
    if Path(config.tokenizer).is_dir():
        config = replace(config, tokenizer=str(Path(config.tokenizer).resolve()))
    config = replace(config, sources=[_found(source, path.parent) for source in config.sources])
    check_build(config)
    return config


def as_yaml(config: Config) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _read(path: Path) -> DictConfig:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        raw = OmegaConf.load(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {_one_line(error)}") from None
    if not isinstance(raw, DictConfig):
        raise InputError(f"{path}: an experiment file is a mapping of keys, not a list")
    if not raw:
        raise InputError(f"{path}: the file is empty; an experiment needs policy, data and stages")
    return raw


def _over_its_base(raw: DictConfig, path: Path, above: tuple[Path, ...] = ()) -> DictConfig:
    """``raw`` over the experiment that it names as its base: mappings merge, the rest replaces."""
    base = raw.pop(BASE, None)
    if base is None:
        _check_left_out(raw, ())
        return raw
    there = (path.parent / str(base)).resolve()
    if there in above or there == path.resolve():
        raise InputError(f"{path}: {BASE}={base}: an experiment cannot be its own base")
    if there.parent != path.parent.resolve():
        raise InputError(f"{path}: {BASE}={base}: must lie in the same folder, as paths go by it")
    under = _over_its_base(_read(there), there, (*above, path.resolve()))
    _check_left_out(raw, under.get("stages") or ())
    merged = OmegaConf.merge(under, raw)
    assert isinstance(merged, DictConfig)
    return merged


def _check_left_out(raw: DictConfig, known: Collection[str]) -> None:
    """A stage that is null is one that would be there without it."""
    stages = raw.get("stages")
    for name in map(str, stages if isinstance(stages, DictConfig) else ()):
        if stages[name] is None and name not in known:
            there = ", ".join(map(str, known)) or "none"
            raise InputError(f"stages.{name}=null: there is no such stage to leave out ({there})")


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
        if stage is None:  # of the base, and not wanted here
            continue
        kind = str(stage.get("kind")) if isinstance(stage, DictConfig) else "None"
        if kind not in STAGES:
            others = ", ".join(str(other) for other in stages if other != name) or "none"
            raise InputError(
                f"stages.{name}.kind={kind}: must be one of {', '.join(STAGES)}, where the stage is"
                f" meant to be one; the others are {others}"
            )
        inherited = OmegaConf.merge(before.get(kind, OmegaConf.create()), stage)
        assert isinstance(inherited, DictConfig)
        if "mix" in stage:  # shares belong together
            inherited.mix = stage.mix
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
        if key not in hints:
            near = " or ".join(get_close_matches(key, hints))
            right = f"did you mean {near}?" if near else f"known are {', '.join(hints)}"
            raise InputError(f"{full}={raw[key]}: there is no such key; {right}")
        hint = hints[key]
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
    if get_origin(get_type_hints(schema)[key]) is list and not isinstance(raw[key], ListConfig):
        raise InputError(f"{full}={raw[key]}: must be a list, such as [{raw[key]}]")
    try:
        merged: Any = OmegaConf.merge(OmegaConf.structured(schema), {key: raw[key]})
        value: Any = OmegaConf.to_container(merged, resolve=True)
        return value[key]
    except OmegaConfBaseException as error:
        value = OmegaConf.to_container(raw)
        raise InputError(f"{full}={value[key]}: {str(error).splitlines()[0]}") from None


def _found(source: SourceConfig, folder: Path) -> SourceConfig:
    """``source`` with its paths, which are relative to ``folder``, made absolute."""

    def found(path: str | None) -> str | None:
        return str((folder / path).resolve()) if path else None

    return replace(source, path=found(source.path), corpus=found(source.corpus))


def _anchored(config: Config, folder: Path) -> Config:
    """Makes relative paths absolute, so that a saved config stands alone.

    Those of files are relative to the experiment file, a policy's to the working directory.
    """

    data = replace(
        config.data,
        sft=[_found(source, folder) for source in config.data.sft],
        train=[_found(source, folder) for source in config.data.train],
        held_out=[_found(source, folder) for source in config.data.held_out],
    )
    policy, judge = config.policy, config.rewards.judge
    if Path(policy.path).is_dir():
        policy = replace(policy, path=str(Path(policy.path).resolve()))
    if judge.url is None and judge.model and Path(judge.model).is_dir():
        judge = replace(judge, model=str(Path(judge.model).resolve()))
    if judge.cache:
        judge = replace(judge, cache=str((folder / judge.cache).resolve()))
    rewards = replace(config.rewards, judge=judge)
    return replace(config, data=data, policy=policy, rewards=rewards)
