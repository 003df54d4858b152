"""``qwenlong config``: the keys of an experiment, with meaning, default and allowed values."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from difflib import get_close_matches

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from qwenlong.config import BuildConfig, Config
from qwenlong.config.keys import REQUIRED, Declared, declared
from qwenlong.types import InputError

BUILD = "build"
"""Prefix of the keys that stand in the file of ``qwenlong data build``."""
_PLACES = {"N": r"(\.(\d+|N))?", "NAME": r"(\.[\w-]+)?"}
"""Patterns of a place in a list or mapping, which may be left out when a key is asked for."""


def show_keys(name: str | None, console: Console) -> None:
    """Prints one key, all keys of a section, or all that there are.

    Args:
        name: a key as an experiment or an override has it; its last parts are enough.

    Raises:
        InputError: there is no such key; the line names the most similar one.
    """
    keys = [*declared(Config), *declared(BuildConfig, BUILD)]
    shown = keys if name is None else _found(name, keys)
    schemas: dict[tuple[object, ...], str] = {}  # where the keys of a schema were printed
    printed_elsewhere: str | None = None
    for key in shown:
        if printed_elsewhere and key.name.startswith(printed_elsewhere):
            continue
        first = schemas.setdefault(key.schemas, key.name) if key.schemas else key.name
        printed_elsewhere = f"{key.name}." if first != key.name else None
        _print(key, first, console)


def _found(name: str, keys: Sequence[Declared]) -> list[Declared]:
    """The keys that ``name`` may mean, each section with its own keys."""
    for match in (_is_whole_name, _is_start_of_name, _is_end_of_name):
        found = [key for key in keys if match(name, key)]
        if found:
            sections = tuple(f"{key.name}." for key in found if key.schemas)
            return [key for key in keys if key in found or key.name.startswith(sections)]
    sections = [key.name for key in keys if key.schemas and "." not in key.name]
    ends = [key.name.rpartition(".")[2] for key in keys]
    near = get_close_matches(name, [*(key.name for key in keys), *ends], n=1)
    right = f"did you mean {near[0]}?" if near else f"sections are {', '.join(sections)}"
    raise InputError(f"{name}: there is no such key; {right}")


def _is_whole_name(name: str, key: Declared) -> bool:
    return re.fullmatch(_pattern(key, key.name.split(".")), f".{name}") is not None


def _is_start_of_name(name: str, key: Declared) -> bool:
    return key.name.startswith(f"{name}.")


def _is_end_of_name(name: str, key: Declared) -> bool:
    parts = key.name.split(".")
    ends = [parts[i:] for i, part in enumerate(parts) if part not in _PLACES]
    return any(re.fullmatch(_pattern(key, end), f".{name}") for end in ends)


def _pattern(key: Declared, parts: Sequence[str]) -> str:
    pattern = "".join(_PLACES.get(part, rf"\.{re.escape(part)}") for part in parts)
    return pattern + _PLACES.get(key.place, "")


def _print(key: Declared, schema_is_at: str, console: Console) -> None:
    title = Text(key.name, style="bold")
    if key.kind:
        title.append(f"  ({key.kind})", style="not bold")
    if key.default is REQUIRED:
        title.append("  must be set", style="not bold")
    elif not key.schemas:
        title.append(f" = {_yaml(key.default)}", style="not bold")
    lines = [key.rules.meaning]
    if not key.schemas or key.place:
        lines.append(f"Allowed: {key.allowed}.")
    if key.rules.function:
        lines.append(f"module:callable is called with ({', '.join(key.rules.function)}).")
    if schema_is_at != key.name:
        lines.append(f"Its keys are those of {schema_is_at}.")
    console.print(title, soft_wrap=True)
    for line in lines:
        console.print(Padding(Text(line), (0, 0, 0, 4), expand=False))


def _yaml(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value or '""' if isinstance(value, str) else json.dumps(value)
