"""How a key of the experiment is declared: its default, its meaning and its rules, in one field.

``key`` makes the field of a dataclass. Reading an experiment, ``qwenlong config`` and the tests
all take the rules from there, so that a new key is one field and nothing else.
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
_RULES = "rules"


@dataclass(frozen=True)
class Rules:
    """What a key means, and what its value may be. Those of a list hold for each of its items."""

    meaning: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    one_of: Sequence[str] = ()
    function: Sequence[str] = ()
    """Parameters of a function of one's own that may be named instead (``callables.py``)."""
    names: str = ""
    """What a name may be, in words, if a room above this one knows the names and checks them."""
    distinct: bool = False
    """No item of the list may come twice."""
    beside: bool = False
    """A path that is relative to the experiment file."""
    schemas: Sequence[Any] = ()
    """Of a mapping: the dataclasses that its values may be, one for each ``kind``."""

    @property
    def right(self) -> str:
        """What the value must be, in words; empty if anything of its type may stand there."""
        own = "module:callable" if self.function else ""
        if self.one_of:
            return f"one of {', '.join(filter(None, [*self.one_of, own]))}"
        if self.names or own:
            return " or ".join(filter(None, [self.names, own]))
        bounds = [
            "" if self.at_least is None else f"at least {self.at_least:g}",
            "" if self.above is None else f"above {self.above:g}",
            "" if self.at_most is None else f"at most {self.at_most:g}",
            "" if self.below is None else f"below {self.below:g}",
        ]
        if self.below == math.inf:
            bounds[-1] = "finite"
        return " and ".join(bound for bound in bounds if bound)

    def check(self, name: str, value: Any) -> None:
        """
        Raises:
            InputError: the value of the key ``name`` breaks a rule.
        """
        if isinstance(value, list | dict):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for at, item in items:
                self.check(f"{name}.{at}", item)
                if self.distinct and value.index(item) != at:
                    raise InputError(f"{name}={value}: must name each once")
        elif value is None:
            return
        elif self.function and is_reference(value):
            resolve(value, name, self.function)
        elif not self._allows(value):
            near = get_close_matches(str(value), self.one_of, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"{name}={value}: must be {self.right}{hint}")

    def _allows(self, value: Any) -> bool:
        if self.one_of or self.function or self.names:
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
        meaning: one sentence in plain words, units included; a section's may come from the first
            line of its dataclass.
        rules: those of ``Rules``.
    """
    metadata = {_RULES: Rules(meaning or default.__doc__.splitlines()[0], **rules)}
    if is_dataclass(default):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Declared:
    """A key as its field declares it."""

    name: str
    """Its whole name; ``N`` stands for a place in a list, ``NAME`` for one in a mapping."""
    rules: Rules
    hint: Any
    default: Any
    schemas: tuple[Any, ...] = ()
    """The dataclasses that declare its own keys, if it is a section."""
    kind: str = ""
    """The ``kind`` of the stage that it is a key of, if any."""

    @property
    def place(self) -> str:
        """How a list or mapping of sections calls a place: ``N`` or ``NAME``; else empty."""
        places = {list: "N", dict: "NAME"}
        return places.get(get_origin(self.hint) or self.hint, "") if self.schemas else ""

    @property
    def allowed(self) -> str:
        """Its type and rules in words, such as ``whole number, at least 1, or null``."""
        rules = self.rules
        named = rules.right if rules.one_of or rules.names or rules.function else ""
        parts = [_in_words(self.hint, named), "" if named else rules.right]
        parts += ["each once"] if rules.distinct else []
        parts += ["or null"] if type(None) in get_args(self.hint) else []
        return ", ".join(filter(None, parts))


def declared(schema: Any, prefix: str = "", kind: str = "") -> Iterator[Declared]:
    """Every key of a dataclass and of those within it, a section before its own keys."""
    hints = get_type_hints(schema)
    for each in fields(schema):
        hint, rules = hints[each.name], each.metadata[_RULES]
        name = f"{prefix}.{each.name}" if prefix else each.name
        schemas = tuple(filter(is_dataclass, (hint, *get_args(hint), *rules.schemas)))
        made = each.default_factory
        default = each.default if made is MISSING else None if is_dataclass(hint) else made()
        found = Declared(name, rules, hint, default, schemas, kind)
        yield found
        below = f"{name}.{found.place}" if found.place else name
        for inner in schemas:
            yield from declared(inner, below, inner.kind if rules.schemas else kind)


def rules_of(schema: Any, name: str) -> Rules:
    """The rules of a dataclass's field."""
    return schema.__dataclass_fields__[name].metadata[_RULES]


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
