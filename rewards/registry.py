"""Finds the kinds of answer: every file of ``kinds/`` has one, as ``KIND``."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from functools import cache
from importlib import import_module

from qwenlong.rewards import kinds as folder
from qwenlong.rewards.kind import Kind, Verifier
from qwenlong.types import Example, InputError, Score


@cache
def kinds() -> dict[str, Kind]:
    """Every kind by its name.

    Raises:
        TypeError: a file of the folder has no kind of its own name.
    """
    found: dict[str, Kind] = {}
    for module in pkgutil.iter_modules(folder.__path__):
        kind = getattr(import_module(f"{folder.__name__}.{module.name}"), "KIND", None)
        if not isinstance(kind, Kind) or kind.name != module.name:
            raise TypeError(f"kinds/{module.name}.py: needs KIND = Kind({module.name!r}, …)")
        found[kind.name] = kind
    return found


def find(name: str) -> Kind:
    """The kind of this name, or what is true of every unknown kind.

    Only a verifier of the user's own (``rule: module:callable``) can score an unknown kind. Its
    prompt asks for "the answer", its documents are cut as any others, and no judge sees it.
    """
    return kinds().get(name) or replace(_UNKNOWN, name=name)


def kind_of(example: Example) -> Kind:
    return find(example.kind)


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """The score by the verifier of ``example.kind``, which does not check the gold answers again.

    Raises:
        InputError: the kind is unknown.
    """
    return kind_of(example).score(example, response, thinking)


def verifier(example: Example) -> Verifier:
    """The verifier of an example, whose gold answers it can read.

    Raises:
        InputError: the kind is unknown, or its verifier cannot read the gold answers.
    """
    kind = kind_of(example)
    try:
        kind.check(example)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"example {example.id!r}: {' '.join(str(error).split())}") from None
    return kind.score


def _refuse(example: Example, response: str = "", thinking: bool = True) -> Score:
    raise InputError(
        f"kind={example.kind!r} of example {example.id!r}: must be one of {', '.join(kinds())}"
    )


def _refuse_gold(example: Example) -> None:
    _refuse(example)


_UNKNOWN = Kind("unknown", _refuse, _refuse_gold)
