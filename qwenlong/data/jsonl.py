"""The user's own examples: one JSON object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from qwenlong.config import SourceConfig
from qwenlong.types import CountTokens, Example, InputError, Split

_DOCUMENTS = ("documents", "context", "document")
_ANSWERS = ("answers", "answer")
_KNOWN = {"id", "source", "question", "kind", "reasoning", "metadata", *_DOCUMENTS, *_ANSWERS}
_SCORED = {"response", "score"}
"""Of lines that ``qwenlong score`` reads or has written: no part of an example."""
ANSWERLESS = {"format"}
"""Kinds that compare with no gold answer."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def read(
    spec: SourceConfig, split: Split, count_tokens: CountTokens, seed: int
) -> Iterator[Example]:
    """Yields the examples of ``spec.path`` in file order, at most ``spec.examples``.

    A line needs ``question`` (text), ``documents`` (a list of texts) or ``context`` or
    ``document`` (a text), and ``answers`` (a list of texts) or ``answer`` (a text), without which
    only ``kind: format`` can do. It may have ``id`` (else the file's name and the line number),
    ``kind``, ``reasoning`` and ``source`` (else the file's name). What the kind takes stands in
    the line or in an object ``metadata``, which goes before, as in lines for ``qwenlong score``;
    every other key goes to the metadata. Blank lines are passed over.

    ``split`` is ignored, for training and held-out examples are separate files; ``count_tokens``
    and ``seed`` belong to the signature that all readers share.

    Raises:
        InputError: ``path:line: …`` for the first line that is no such object.
    """
    if spec.path is None:
        raise InputError(f"path={spec.path}: source jsonl needs the path of a JSONL file")
    yield from islice(_examples(Path(spec.path)), spec.examples)


def opened(path: Path) -> BinaryIO:
    """The file, to be read line by line; only a line feed ends a line.

    Raises:
        InputError: it cannot be opened.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def record_of(raw: bytes, number: int) -> dict[str, Any] | None:
    """The JSON object in line ``number`` of a file; None for a blank line.

    Raises:
        InputError: there is none, and why; where, the caller knows.
    """
    try:
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8"
        ) from None
    if not line.strip():
        return None
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON that can be read: {error}") from None
    if not isinstance(record, dict):
        raise InputError(f"a line must be a JSON object, not {_named(record)}")
    return record


def _examples(path: Path) -> Iterator[Example]:
    lines: dict[str, int] = {}
    for number, record in _records(path):
        where = f"{path}:{number}"
        example = _example(record, where, path.stem, number)
        if example.id in lines:
            raise InputError(
                f"{where}: id {example.id!r} is already that of line {lines[example.id]}"
            )
        lines[example.id] = number
        yield example
    if not lines:
        raise InputError(f"{path}: the file is empty; one JSON object a line is needed")


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects with their lines' numbers; blank lines are passed over."""
    with opened(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                record = record_of(raw, number)
            except InputError as error:
                raise InputError(f"{path}:{number}: {error}") from None
            if record is not None:
                yield number, record


def _example(record: dict[str, Any], where: str, stem: str, number: int) -> Example:
    kind = _optional(record, "kind", where) or "extractive"
    answerless = kind in ANSWERLESS and not any(record.get(key) for key in _ANSWERS)
    return Example(
        id=_identity(record, where) or f"{stem}:{number}",
        source=_optional(record, "source", where) or stem,
        question=_text(record.get("question"), "question", where),
        documents=_texts(record, _DOCUMENTS, where),
        answers=() if answerless else _texts(record, _ANSWERS, where),
        kind=kind,
        reasoning=_optional(record, "reasoning", where),
        metadata=_metadata(record, where),
    )


def _metadata(record: dict[str, Any], where: str) -> dict[str, Any]:
    """What no other field is, with the line's own ``metadata`` over it."""
    own = record.get("metadata")
    if own is not None and not isinstance(own, dict):
        raise InputError(f"{where}: metadata must be an object, not {_named(own)}")
    rest = {key: value for key, value in record.items() if key not in _KNOWN | _SCORED}
    if isinstance(rest.get("thinking"), bool):
        del rest["thinking"]  # said of a response; what kind format asks for is a text
    return rest | (own or {})


def _identity(record: dict[str, Any], where: str) -> str:
    value = record.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _optional(record, "id", where)


def _optional(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    return "" if value is None or value == "" else _text(value, key, where)


def _texts(record: dict[str, Any], keys: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The list under ``keys[0]``, or the single text under one of the other keys."""
    given = [key for key in keys if record.get(key) is not None]
    if not given:
        raise InputError(f"{where}: {' or '.join(keys)} is missing")
    if len(given) > 1:
        raise InputError(f"{where}: has both {' and '.join(given)}; keep one of them")
    key = given[0]
    value = record[key]
    if key != keys[0]:
        return (_text(value, key, where),)
    if not isinstance(value, list):
        raise InputError(f"{where}: {key} must be a list of texts, not {_named(value)}")
    if not value:
        raise InputError(f"{where}: {key}=[]: at least one text is needed")
    return tuple(_text(item, f"{key}[{index}]", where) for index, item in enumerate(value))


def _text(value: Any, key: str, where: str) -> str:
    if value is None:
        raise InputError(f"{where}: {key} is missing")
    if not isinstance(value, str):
        raise InputError(f"{where}: {key} must be a text, not {_named(value)}")
    if not value.strip():
        raise InputError(f"{where}: {key}={value!r}: must not be blank")
    if _SURROGATE.search(value):
        raise InputError(f"{where}: {key} has half of a surrogate pair; write the character whole")
    return value


def _named(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    names |= {int: "a number", float: "a number", type(None): "null"}
    return names[type(value)]
