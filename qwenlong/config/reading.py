"""Reads an experiment file, applies overrides, and refuses what cannot work."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qwenlong.config import BuildConfig, Config
from qwenlong.config.callables import anchored, is_reference
from qwenlong.config.checks import check, check_build
from qwenlong.config.keys import REQUIRED, declaration
from qwenlong.config.stages import STAGES
from qwenlong.types import InputError

BASE = "base"
"""Key of an experiment file that names another one, whose keys it changes."""


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads an experiment file (or a run's saved ``config.yaml``) and applies ``key=value``.

    A file may name another one of its folder as its ``base`` and set only what differs; a stage
    that is null there is left out. Paths of files are relative to the experiment file, those of
    policies to the working directory; all become absolute, so that a saved config stands alone.

    Raises:
        InputError: with the key, its value and what would be right.
    """
    path = Path(path)
    raw = _overridden(_over_its_base(_read(path), path), path, overrides)
    config = _experiment(raw, path.parent)
    # A judge at a url has a name there, which is no path even if a folder is called the same.
    policy, judge = config.policy, config.rewards.judge
    policy = replace(policy, path=_absolute_if_folder(policy.path))
    if judge.is_engine:
        judge = replace(judge, model=_absolute_if_folder(str(judge.model)))
    config = replace(
        config,
        policy=policy,
        rewards=replace(config.rewards, judge=judge),
        run_dir=config.run_dir or str(Path("runs") / path.stem),
    )
    check(config)
    return config


def load_build(path: str | Path, overrides: Sequence[str] = ()) -> BuildConfig:
    """Reads the file of ``qwenlong data build``.

    Raises:
        InputError: with the key, its value and what would be right.
    """
    path = Path(path)
    config: BuildConfig = _typed(
        BuildConfig, _overridden(_read(path), path, overrides), "", path.parent
    )
    config = replace(config, tokenizer=_absolute_if_folder(config.tokenizer))
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
    """``raw`` over the experiment that it names as its base: mappings merge, all else replaces."""
    base = raw.pop(BASE, None)
    if base is None:
        _check_left_out(raw, ())
        return raw
    file = (path.parent / str(base)).resolve()
    if file in above or file == path.resolve():
        raise InputError(f"{path}: {BASE}={base}: an experiment cannot be its own base")
    if file.parent != path.parent.resolve():
        raise InputError(
            f"{path}: {BASE}={base}: must be in the same folder, because paths are relative to it"
        )
    under = _over_its_base(_read(file), file, (*above, path.resolve()))
    _check_left_out(raw, under.get("stages") or ())
    merged = OmegaConf.merge(under, raw)
    assert isinstance(merged, DictConfig)
    return merged


def _overridden(raw: DictConfig, path: Path, overrides: Sequence[str]) -> DictConfig:
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise InputError(f"{override!r}: an override has the form key=value")
        # An override may leave out a stage that an earlier one has added.
        known = list(raw.get("stages") or ())
        try:
            # An override replaces a mapping whole: with merge, no key could be taken out of it.
            OmegaConf.update(raw, key, yaml.safe_load(text), merge=False, force_add=True)
        except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
            raise InputError(f"{override}: cannot be applied: {_one_line(error)}") from None
        _check_left_out(raw, known)
    try:
        OmegaConf.resolve(raw)
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {_one_line(error)}") from None
    return raw


def _check_left_out(raw: DictConfig, known: Collection[str]) -> None:
    """Only a stage that would be there otherwise can be null."""
    stages = raw.get("stages")
    for name in map(str, stages if isinstance(stages, DictConfig) else ()):
        if stages[name] is None and name not in known:
            others = ", ".join(map(str, known)) or "none"
            raise InputError(f"stages.{name}=null: there is no such stage to leave out ({others})")


def _experiment(raw: DictConfig, folder: Path) -> Config:
    # A stage's schema depends on its kind, and its values on the stages before: not OmegaConf's.
    stages = raw.pop("stages", None)
    if not isinstance(stages, DictConfig):
        raise InputError(f"stages={stages}: must be a mapping from names to at least one stage")
    config = _typed(Config, raw, "", folder)
    resolved: dict[str, Any] = {}
    before: dict[str, DictConfig] = {}
    for name, stage in ((str(name), stage) for name, stage in stages.items()):
        if stage is None:  # the base has it, and this experiment leaves it out
            continue
        kind = str(stage.get("kind")) if isinstance(stage, DictConfig) else "None"
        if kind not in STAGES:
            others = ", ".join(str(other) for other in stages if other != name) or "none"
            raise InputError(
                f"stages.{name}.kind={kind}: must be one of {', '.join(STAGES)}, if this is meant"
                f" to be a stage; the others are {others}"
            )
        inherited = OmegaConf.merge(before.get(kind, OmegaConf.create()), stage)
        assert isinstance(inherited, DictConfig)
        if "mix" in stage:  # shares belong together
            inherited.mix = stage.mix
        before[kind] = inherited
        resolved[name] = _typed(STAGES[kind], inherited, f"stages.{name}", folder)
    return replace(config, stages=resolved)


def _typed(schema: Any, raw: Any, prefix: str, folder: Path) -> Any:
    """``raw`` as the dataclass ``schema``, level by level, so that an error names the whole key."""
    if not isinstance(raw, DictConfig):
        raise InputError(f"{prefix}={raw}: must be a mapping of keys")
    hints: dict[str, Any] = get_type_hints(schema)
    values: dict[str, Any] = {}
    for name in map(str, raw):
        full = _joined(prefix, name)
        if name not in hints:
            near = " or ".join(get_close_matches(name, hints))
            right = f"did you mean {near}?" if near else f"known keys are {', '.join(hints)}"
            raise InputError(f"{full}={raw[name]}: there is no such key; {right}")
        hint = hints[name]
        inner = next(iter(get_args(hint)), None)
        if is_dataclass(hint):
            values[name] = _typed(hint, raw[name], full, folder)
        elif get_origin(hint) is list and is_dataclass(inner):
            items = _list(raw[name], full)
            values[name] = [_typed(inner, x, f"{full}.{i}", folder) for i, x in enumerate(items)]
        else:
            values[name] = _value(schema, name, raw, full, folder)
    for each in fields(schema):
        if each.default == REQUIRED and each.name not in values:
            raise InputError(f"{_joined(prefix, each.name)}: is missing, and has no default")
    return schema(**values)


def _value(schema: Any, name: str, raw: DictConfig, full: str, folder: Path) -> Any:
    """One value: converted by OmegaConf, made absolute, held to the rules of its key."""
    # OmegaConf's own error would not say how a list is written.
    if get_origin(get_type_hints(schema)[name]) is list:
        _list(raw[name], full)
    try:
        # One key at a time, so that the error's line can name the whole key.
        merged: Any = OmegaConf.merge(_structured(schema), {name: raw[name]})
        converted: Any = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        given: Any = OmegaConf.to_container(raw)
        raise InputError(f"{full}={given[name]}: {str(error).splitlines()[0]}") from None
    value, declared = converted[name], declaration(schema, name)
    if value and declared.path:
        value = str((folder / value).resolve())
    if value and declared.function and is_reference(value):
        value = anchored(value, folder)
    declared.check(full, value)
    return value


def _list(value: Any, full: str) -> ListConfig:
    if not isinstance(value, ListConfig):
        raise InputError(f"{full}={value}: must be a list, such as [{value}]")
    return value


@cache
def _structured(schema: Any) -> Any:
    return OmegaConf.structured(schema)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _absolute_if_folder(policy: str) -> str:
    """A policy is a folder, or a name on the hub."""
    return str(Path(policy).resolve()) if Path(policy).is_dir() else policy


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
