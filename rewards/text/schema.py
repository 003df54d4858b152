"""Checks JSON values against a JSON schema (draft 2020-12) in bounded time and memory.

References to other documents and ``patternProperties`` are refused. A ``pattern`` is searched for
by re2, in linear time, where Python's ``re`` tries one way after another and takes years for
``^(a+)+$`` and 60 characters. The syntax is re2's, with ``\\uXXXX``: as in ECMAScript ``$`` is the
end only, ``\\d``, ``\\w`` and ``\\b`` know ASCII alone, and ``.`` is any character but a line feed;
``\\s`` is ASCII's space, too. Back references, lookaround, atomic groups, possessive repeats and
repeats above 1,000 are refused, as is a pattern of more than some 10,000 instructions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import re2
import referencing
import referencing.exceptions
import referencing.jsonschema

from qwenlong.rewards.text.answer import shown

# Bytes for a pattern: its program and the states of its automaton that re2 keeps.
_MEMORY = 1 << 20
# Bytes of text times instructions, over all searches in one value: 20 ms where re2 is slowest.
_STEPS = 5_000_000
# ECMAScript's escape of a character; half a surrogate pair is none.
_ESCAPE = re.compile(r"\\(?:u(?![dD][89a-fA-F])([0-9a-fA-F]{4})|.)", re.DOTALL)
# jsonschema's own uniqueItems compares every pair, a second for a thousand items.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"uniqueItems": lambda _validator, wanted, items, _schema: _repeated(wanted, items)},
)


class _TooLongError(Exception):
    """No steps are left."""


@dataclass
class _Budget:
    left: int


def check_schema(schema: Any) -> None:
    """Raises ``ValueError`` unless ``schema`` is one that ``misfit`` can follow."""
    if not isinstance(schema, Mapping | bool):
        raise ValueError(f"json_schema={schema!r}: must be a JSON schema, an object")
    try:
        # No formats: that of a pattern would be Python's.
        _Validator.check_schema(schema, format_checker=jsonschema.FormatChecker(formats=()))
        json.dumps(schema)
    except (jsonschema.SchemaError, TypeError) as error:
        why = getattr(error, "message", str(error))
        raise ValueError(f"json_schema: must be a schema of draft 2020-12; {why}") from None
    if next(_values(schema, "patternProperties"), None) is not None:
        raise ValueError("json_schema: patternProperties cannot be used here")
    for pattern in _values(schema, "pattern"):
        if isinstance(pattern, str):
            _compiled(pattern)
    contents = referencing.Resource.from_contents(
        schema, default_specification=referencing.jsonschema.DRAFT202012
    )
    resolver = referencing.Registry().with_resource("", contents).resolver()
    references = [*_values(schema, "$ref"), *_values(schema, "$dynamicRef")]
    for reference in (each for each in references if isinstance(each, str)):
        try:
            if reference.startswith("#"):
                resolver.lookup(reference)
                continue
        except referencing.exceptions.Unresolvable:
            pass
        raise ValueError(f"json_schema: $ref {reference!r} must be to a part of itself")


def misfit(value: Any, schema: Mapping[str, Any] | bool) -> str:
    """Where ``value`` does not fit, and why; "" where it fits."""
    cls, budget = _Validator, _Budget(_STEPS)
    if next(_values(schema, "pattern"), None) is not None:
        cls = jsonschema.validators.extend(
            cls, {"pattern": lambda _, wanted, text, __: _unmatched(wanted, text, budget)}
        )
    # An empty registry: nothing is fetched over the network.
    validator = cls(schema, registry=referencing.Registry())
    try:
        error = next(validator.iter_errors(value), None)
    except _TooLongError:
        return "the pattern takes too long"
    except (RecursionError, referencing.exceptions.Unresolvable) as broken:
        return f"the schema cannot be followed: {shown(str(broken))}"
    return "" if error is None else f"{error.json_path}: {shown(error.message)}"


@lru_cache(maxsize=128)
def _compiled(pattern: str) -> Any:
    """Raises ``ValueError`` where re2 cannot have ``pattern``."""
    options = re2.Options()
    options.max_mem = _MEMORY
    options.never_capture = True
    options.log_errors = False
    spelt = _ESCAPE.sub(lambda found: rf"\x{{{found[1]}}}" if found[1] else found[0], pattern)
    try:
        return re2.compile(_bytes(spelt), options)
    except re2.error as error:
        why = " ".join(shown(error.args[0].decode("utf-8", "replace")).split())
        raise ValueError(
            f"pattern={shown(pattern)!r}: {why}; must be one for re2, "
            "which has no back references and no lookaround"
        ) from None


def _unmatched(pattern: str, text: Any, budget: _Budget) -> Iterator[jsonschema.ValidationError]:
    if not isinstance(text, str):
        return
    compiled, read = _compiled(pattern), _bytes(text)
    budget.left -= (len(read) + 1) * compiled.programsize
    if budget.left < 0:  # an error that is yielded would let "not" hold
        raise _TooLongError
    if compiled.search(read) is None:
        yield jsonschema.ValidationError(f"{shown(text)!r} does not match {shown(pattern)!r}")


def _bytes(text: str) -> bytes:
    """The bytes that re2 reads; half a surrogate pair, which JSON can have, is one character."""
    return text.encode("utf-8", "surrogatepass")


def _repeated(wanted: bool, items: Any) -> Iterator[jsonschema.ValidationError]:
    if wanted and isinstance(items, list):
        keys = {json.dumps(_same(item), sort_keys=True) for item in items}
        if len(keys) < len(items):
            yield jsonschema.ValidationError("an item is repeated")


def _same(value: Any) -> Any:
    """1.0 as 1, which are equal in a schema."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _same(child) for key, child in value.items()}
    return [_same(child) for child in value] if isinstance(value, list) else value


def _values(schema: Any, wanted: str) -> Iterator[Any]:
    """What stands under a key, wherever it is in ``schema``."""
    if isinstance(schema, Mapping):
        for key, child in schema.items():
            if key == wanted:
                yield child
            yield from _values(child, wanted)
    elif isinstance(schema, list | tuple):
        for child in schema:
            yield from _values(child, wanted)
