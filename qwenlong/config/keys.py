"""How a key of the experiment is declared: default, meaning and rules in one field.

``key`` makes the field of a dataclass. Reading an experiment, ``qwenlong config`` and the tests
take everything from there, so a new key is one field and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_origin, get_type_hints

from qwenlong.config.callables import is_reference, resolve
from qwenlong.types import InputError

REQUIRED: Any = "???"
"""The default of a key that must be set: OmegaConf's mark."""
_DECLARATION = "declaration"


@dataclass(frozen=True)
class Declaration:
    """What a key means, and what its value may be. In a list the rules hold for each item."""

    meaning: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    one_of: Sequence[str] = ()
    names: str = ""
    """What else it may name, in words; a room above this one knows these names and checks them."""
    function: Sequence[str] = ()
    """The parameters of a user's function that it may name (``callables.py``)."""
    distinct: bool = False
    """No item of the list may come twice."""
    path: bool = False
    """It is a path, relative to the experiment file."""
    schemas: Sequence[Any] = ()
    """The dataclasses that the values of a mapping may be, one for each ``kind``."""

    @property
    def right(self) -> str:
        """What the value must be, in words; empty if any value of its type may stand there."""
        if self.is_name:
            named = f"one of {', '.join(self.one_of)}" if self.one_of else self.names
            return " or ".join(filter(None, [named, "module:callable" if self.function else ""]))
        bounds = {"at least": self.at_least, "above": self.above, "at most": self.at_most}
        words = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
        if self.below is not None:
            words.append("finite" if self.below == math.inf else f"below {self.below:g}")
        return " and ".join(words)

    @property
    def is_name(self) -> bool:
        return bool(self.one_of or self.names or self.function)

    def check(self, name: str, value: Any) -> None:
        """
        Raises:
            InputError: the value of the key ``name`` breaks a rule.
        """
        if isinstance(value, list):
            for i, item in enumerate(value):
                self.check(f"{name}.{i}", item)
            if self.distinct and len(set(value)) < len(value):
                raise InputError(f"{name}={value}: must name each once")
        elif isinstance(value, dict):
            for part, item in value.items():
                self.check(f"{name}.{part}", item)
        elif value is not None and self.function and is_reference(value):
            resolve(value, name, self.function)
        elif value is not None and not self._allows(value):
            near = get_close_matches(str(value), self.one_of, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"{name}={value}: must be {self.right}{hint}")

    def _allows(self, value: Any) -> bool:
        if self.is_name:
            # Names that another room knows are checked by ``train/names.py``.
            return value in self.one_of or bool(self.names)
        return (  # NaN is within no bounds
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


def key(default: Any, meaning: str = "", **rules: Any) -> Any:
    """The field of a key, for a dataclass.

    Args:
        default: the value if none is set; ``REQUIRED`` if one must be; a dataclass for a section.
        meaning: one sentence in plain words, units included; without one, a section has the first
            line of its dataclass.
        rules: those of ``Declaration``.
    """
    # In the field's metadata, and not in a string below the field, which only an editor sees.
    metadata = {_DECLARATION: Declaration(meaning or default.__doc__.splitlines()[0], **rules)}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def declaration(schema: Any, name: str) -> Declaration:
    """How a dataclass declares one of its fields."""
    found: Declaration = schema.__dataclass_fields__[name].metadata[_DECLARATION]
    return found


@dataclass(frozen=True)
class Key:
    """A key of the experiment, for those who list all keys."""

    name: str
    """Its whole name; ``N`` stands for a place in a list, ``NAME`` for one in a mapping."""
    declaration: Declaration
    hint: Any
    """Its type."""
    default: Any
    schemas: tuple[Any, ...] = ()
    """The dataclasses of its own keys, if it is a section."""
    kind: str = ""
    """The ``kind`` of the stage that has it, if it is a stage's."""

    @property
    def place(self) -> str:
        """``N`` or ``NAME`` for a list or mapping of sections; else empty."""
        container = get_origin(self.hint) or self.hint
        return {list: "N", dict: "NAME"}.get(container, "") if self.schemas else ""

    @property
    def allowed(self) -> str:
        """Its type and rules in words, such as ``whole number, at least 1, or null``."""
        declared = self.declaration
        named = declared.right if declared.is_name else ""
        parts = [_in_words(self.hint, named), "" if named else declared.right]
        parts += ["each once"] if declared.distinct else []
        parts += ["or null"] if type(None) in get_args(self.hint) else []
        return ", ".join(filter(None, parts))


def all_keys(schema: Any, prefix: str = "", kind: str = "") -> Iterator[Key]:
    """Every key of a dataclass and of the dataclasses in it, a section before its own keys."""
    hints = get_type_hints(schema)
    for each in fields(schema):
        hint, declared = hints[each.name], declaration(schema, each.name)
        name = f"{prefix}.{each.name}" if prefix else each.name
        schemas = tuple(filter(is_dataclass, (hint, *get_args(hint), *declared.schemas)))
        made = each.default_factory
        default = each.default if made is MISSING else None if is_dataclass(hint) else made()
        found = Key(name, declared, hint, default, schemas, kind)
        yield found
        below = f"{name}.{found.place}" if found.place else name
        for inner in schemas:
            yield from all_keys(inner, below, vars(inner)["kind"] if declared.schemas else kind)


_WORDS = {
    int: ("whole number", "whole numbers"),
    float: ("number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("text", "texts"),
}


def _in_words(hint: Any, named: str) -> str:
    inner = [each for each in get_args(hint) if each is not type(None)]
    if get_origin(hint) is list:
        items = "sections" if is_dataclass(inner[0]) else _WORDS[inner[0]][1]
        return f"list, each {named}" if named else f"list of {items}"
    if get_origin(hint) is dict:
        values = "" if inner[1] is Any else f" to {_WORDS[inner[1]][1]}"
        return f"mapping from names{values}"
    if named:
        return named
    return "section" if is_dataclass(hint) else _WORDS[(inner or [hint])[0]][0]
