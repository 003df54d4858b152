"""``qwenlong config``: the keys of an experiment, with meaning, default and allowed values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from qwenlong.config import BuildConfig, Config
from qwenlong.config.callables import SOURCE, VERIFIER
from qwenlong.config.keys import REQUIRED, Key, all_keys
from qwenlong.types import InputError

BUILD = "build"
"""Prefix of the keys that stand in the file of ``qwenlong data build``."""
_PLACES = {"N": r"(\.(\d+|N))?", "NAME": r"(\.[\w-]+)?"}
"""Patterns of a place in a list or mapping, which may be left out when a key is looked up."""


def show_keys(name: str | None, console: Console) -> None:
    """Prints one key, all keys of a section, or all that there are.

    Args:
        name: a key as an experiment or an override has it; its last parts are enough.

    Raises:
        InputError: there is no such key; the line names the most similar one.
    """
    keys = [*all_keys(Config), *all_keys(BuildConfig, BUILD)]
    shown = keys if name is None else _found(name, keys)
    printed: dict[tuple[object, ...], str] = {}  # sections by their dataclasses
    repeated: str | None = None
    for key in shown:
        if repeated and key.name.startswith(repeated):
            continue
        same = printed.setdefault(key.schemas, key.name) if key.schemas else key.name
        repeated = None if same == key.name else f"{key.name}."
        _print(key, same, console)
    if len(shown) == 1 and shown[0].declaration.names:
        _print_line(f"Names: {', '.join(sorted(_names(shown[0])))}.", console)


def _found(name: str, keys: Sequence[Key]) -> list[Key]:
    """The keys that ``name`` may mean, each section with its own keys."""
    for match in (_is_whole_name, _is_start_of_name, _is_end_of_name):
        found = [key for key in keys if match(name, key)]
        if found:
            within = tuple(f"{key.name}." for key in found if key.schemas)
            return [key for key in keys if key in found or key.name.startswith(within)]
    ends = [key.name.rpartition(".")[2] for key in keys]
    near = get_close_matches(name, [*(key.name for key in keys), *ends], n=1)
    sections = [key.name for key in keys if key.schemas and "." not in key.name]
    right = f"did you mean {near[0]}?" if near else f"sections are {', '.join(sections)}"
    raise InputError(f"{name}: there is no such key; {right}")


def _is_whole_name(name: str, key: Key) -> bool:
    return re.fullmatch(_pattern(key, key.name.split(".")), f".{name}") is not None


def _is_start_of_name(name: str, key: Key) -> bool:
    return key.name.startswith(f"{name}.")


def _is_end_of_name(name: str, key: Key) -> bool:
    parts = key.name.split(".")
    ends = [parts[i:] for i, part in enumerate(parts) if part not in _PLACES]
    return any(re.fullmatch(_pattern(key, end), f".{name}") for end in ends)


def _pattern(key: Key, parts: Sequence[str]) -> str:
    pattern = "".join(_PLACES.get(part, rf"\.{re.escape(part)}") for part in parts)
    return pattern + _PLACES.get(key.place, "")


def _print(key: Key, same: str, console: Console) -> None:
    """
    Args:
        same: the section whose keys were printed and are the same; the key's own name if none.
    """
    title = Text(key.name, style="bold")
    kind = f"  ({key.kind})" if key.kind else ""
    default = "  must be set" if key.default is REQUIRED else f" = {_yaml(key.default)}"
    title.append(kind if key.schemas else kind + default, style="not bold")
    console.print(title, soft_wrap=True)
    declared = key.declaration
    lines = [declared.meaning]
    if not key.schemas or key.place:
        lines.append(f"Allowed: {key.allowed}.")
    if declared.function:
        lines.append(f"module:callable is called with ({', '.join(declared.function)}).")
    if same != key.name:
        lines.append(f"Its keys are those of {same}.")
    for line in lines:
        _print_line(line, console)


def _print_line(line: str, console: Console) -> None:
    console.print(Padding(Text(line), (0, 0, 0, 4), expand=False))


def _names(key: Key) -> Iterable[str]:
    """The names that only the rooms of data and rewards know; importing them takes a while."""
    if key.declaration.function == SOURCE:
        from qwenlong.data.registry import OWN, PUBLISHED
        from qwenlong.data.synthesis import TASKS

        return [*OWN, *PUBLISHED, *TASKS]
    from qwenlong.rewards.registry import kinds

    assert key.declaration.function == VERIFIER
    return kinds()


def _yaml(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value or '""' if isinstance(value, str) else json.dumps(value)
