"""Reads rows from files: JSONL, JSON, CSV, Parquet. Each row comes with its file and line.

A broken row becomes a ``Rejected``; the rows behind it are read on.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from qwenlong.types import Example, InputError

if TYPE_CHECKING:
    from pyarrow import RecordBatch

Row = Mapping[str, Any]
LONGEST_LINE = 64 * 2**20
"""Bytes; a longer line is no row but a broken file, and is not held in memory."""
SURROGATE = re.compile("[\ud800-\udfff]")
_PIECE = 2**20
_BETWEEN = re.compile(r"[ \t\r\n,]*")


@dataclass(frozen=True)
class Rejected:
    """A row, or an example of one, that is left out, and why."""

    where: str
    """File and line, or file and row."""
    why: str


class RowError(ValueError):
    """A row that is read but gives no example. The message says why, in words."""


Rows = Iterator[tuple[str, Row] | Rejected]


@dataclass(frozen=True)
class Source:
    """A published set: its entry in ``sources/catalogue.toml``, and its functions."""

    name: str
    licence: str
    citation: str
    examples: Callable[[Row], Iterable[Example]]
    """The examples of a row; for one that gives none it raises RowError, KeyError, TypeError or
    ValueError."""
    rows: Callable[[Source, Path | None, str], Rows]
    """The rows of a subset, in a local file or folder or, with None, on the hub."""
    layout: str
    """What the local path must be."""
    subsets: Mapping[str, str] = field(default_factory=dict)
    """Each with its split on the hub."""
    hub: str = ""
    """Its name on the Hugging Face hub; empty: it is not there."""
    revision: str = ""
    config: str = ""
    files: str = ""
    """The pattern of a subset's files, if configuration and split do not name them."""
    archive: str = ""
    """The zip file on the hub that holds them; a copy on disk must be unpacked."""


def read(source: Source, path: Path | None, subset: str = "") -> Iterator[Example | Rejected]:
    """Every example of a set, from a copy at ``path`` or, with None, from the hub.

    Raises:
        InputError: there is no such subset, or the set cannot be had from the path or the hub.
    """
    check_subset(source, subset)
    if path is None and not source.hub:
        raise InputError(f"path=null: source {source.name} needs {source.layout}")
    rows = source.rows(source, path, subset)
    return convert(rows, lambda _, row: source.examples(row), source.name)


def check_subset(source: Source, subset: str) -> None:
    """
    Raises:
        InputError: the set has subsets, and this is none of them.
    """
    if source.subsets and subset and subset not in source.subsets:
        raise InputError(f"subset={subset}: must be one of {', '.join(source.subsets)}")


T = TypeVar("T")


def convert(
    rows: Rows, function: Callable[[str, Row], Iterable[T]], name: str
) -> Iterator[T | Rejected]:
    """What ``function`` makes of each row, called with where the row stands and the row itself.

    A row that it cannot convert, because it is not of the form that the set ``name`` has, becomes a
    Rejected with the reason, and the rows behind it are read on.
    """
    for item in rows:
        if isinstance(item, Rejected):
            yield item
            continue
        where, row = item
        try:
            yield from function(where, row)
        except (RowError, InputError) as error:
            yield Rejected(where, str(error))
        except KeyError as error:
            yield Rejected(where, f"{error.args[0]} is missing, which {name} has")
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            yield Rejected(where, f"not of {name}'s form: {' '.join(str(error).split())}")


def json_lines(path: Path) -> Rows:
    """The objects of a JSONL file; only a line feed ends a line. Memory holds one line.

    Raises:
        InputError: there is no such file.
    """
    with opened(path) as file:
        for number, raw in enumerate(lines_of(file), start=1):
            where = f"{path}:{number}"
            try:
                record = record_of(raw, number)
            except RowError as error:
                yield Rejected(where, str(error))
            else:
                if record is not None:
                    yield where, record


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; only a line feed ends one. A line that is too long is cut."""
    while raw := file.readline(LONGEST_LINE + 1):
        rest = raw
        while len(raw) > LONGEST_LINE and rest and not rest.endswith(b"\n"):
            rest = file.readline(_PIECE)
        yield raw


def record_of(raw: bytes, number: int) -> dict[str, Any] | None:
    """The JSON object in line ``number`` of a file; None for a blank line.

    Raises:
        RowError: there is none, and why.
    """
    if len(raw) > LONGEST_LINE:
        raise RowError(f"a line of more than {LONGEST_LINE:,} bytes")
    if not raw.strip():
        return None
    try:
        # Some published files have raw control characters in their texts.
        record = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"), strict=False)
    except UnicodeDecodeError as error:
        raise RowError(
            f"not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        raise RowError(f"not JSON: {what} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise RowError(f"not JSON that can be read: {error}") from None
    if not isinstance(record, dict):
        raise RowError(f"must be an object, is {named(record)}")
    return record


def json_file(path: Path) -> Any:
    """The one value that a JSON file holds.

    Raises:
        InputError: there is no such file, or it is not JSON.
    """
    with opened(path) as file:
        raw = file.read()
    try:
        return json.loads(raw.decode("utf-8-sig"), strict=False)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None


def json_list(path: Path, key: str = "") -> Rows:
    """The objects of a file that is one JSON list, or an object with the list under ``key``.

    Raises:
        InputError: there is no such file, or it is neither.
    """
    whole = json_file(path)
    listed = whole.get(key) if key and isinstance(whole, dict) else whole
    if not isinstance(listed, list):
        raise InputError(f"{path}: not of the form that is expected: must be a list of objects")
    for number, value in enumerate(listed, start=1):
        yield _object(value, f"{path}: row {number}")


def json_rows(path: Path) -> Rows:
    """The objects of a JSON file, a list or one object a line. Memory holds one of them.

    The list is taken apart by hand: ``ijson`` refuses the raw control characters, NaN and large
    integers that published files have, and silently replaces half of a surrogate pair.

    Raises:
        InputError: there is no such file, or it is not JSON; after a fault in the middle of a list
            nobody knows where the next object begins.
    """
    with opened(path) as raw:
        start = raw.read(_PIECE).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"["):
        yield from json_lines(path)
        return
    decoder = json.JSONDecoder(strict=False)
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            buffer = file.read(_PIECE).lstrip()
            at = 1  # behind the opening bracket
            while True:
                between = _BETWEEN.match(buffer, at)
                at = between.end() if between else at
                if buffer.startswith("]", at):
                    return
                try:
                    value, at = decoder.raw_decode(buffer, at)
                except (json.JSONDecodeError, RecursionError) as error:
                    rest = buffer[at:]
                    more = file.read(max(_PIECE, len(rest))) if len(rest) < LONGEST_LINE else ""
                    if not more:
                        raise InputError(f"{path}: not JSON behind row {number}: {error}") from None
                    buffer, at = rest + more, 0
                    continue
                number += 1
                yield _object(value, f"{path}: row {number}")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 behind row {number}") from None


def _object(value: Any, where: str) -> tuple[str, Row] | Rejected:
    if isinstance(value, dict):
        return where, value
    return Rejected(where, f"must be an object, is {named(value)}")


def csv_rows(path: Path) -> Rows:
    """The rows of a CSV file with a header.

    Raises:
        InputError: there is no such file, or it is not UTF-8.
    """
    opened(path).close()
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    yield Rejected(where, f"not the {len(reader.fieldnames or ())} columns")
                else:
                    yield where, row
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 (byte {error.start + 1})") from None
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: not CSV: {error}") from None


def parquet_rows(path: Path) -> Rows:
    """The rows of a Parquet file, read in batches.

    Raises:
        InputError: there is no such file, or it is not Parquet.
    """
    import pyarrow
    from pyarrow import parquet

    opened(path).close()
    try:
        file = parquet.ParquetFile(path, pre_buffer=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not Parquet: {_in_a_line(error)}") from None
    number = 0
    try:
        # A few rows of long documents are megabytes already.
        for batch in file.iter_batches(batch_size=8, use_threads=False):
            for row in _batch_rows(batch):
                number += 1
                where = f"{path}: row {number}"
                yield Rejected(where, row) if isinstance(row, str) else (where, row)
    except (pyarrow.ArrowException, OSError) as error:
        yield Rejected(
            f"{path}: row {number + 1}",
            f"the file is damaged and cannot be read from here on: {_in_a_line(error)}",
        )


def _batch_rows(batch: RecordBatch) -> list[Row | str]:
    """The rows; a row that cannot be read is replaced by the reason."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [f"has a text that is not UTF-8 (byte {error.start + 1} of it)"]
    return [row for at in range(batch.num_rows) for row in _batch_rows(batch.slice(at, 1))]


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def files(path: Path, *suffixes: str) -> list[Path]:
    """``path`` itself, or the files in it with one of the suffixes, in order.

    Raises:
        InputError: there is none.
    """
    if path.is_file():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.suffix in suffixes)
    if not found:
        raise InputError(f"{path}: no {' or '.join(suffixes)} file is there")
    return found


def opened(path: Path) -> BufferedReader:
    """
    Raises:
        InputError: there is no such file, or it cannot be opened.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def text_of(value: Any, key: str) -> str:
    """The text under a key of a user's row, unchanged.

    Raises:
        RowError: it is no text, a blank one, or one that cannot be encoded.
    """
    if value is None:
        raise RowError(f"{key} is missing")
    if not isinstance(value, str):
        raise RowError(f"{key} must be a text, not {named(value)}")
    if not value.strip():
        raise RowError(f"{key}={value!r}: must not be blank")
    if SURROGATE.search(value):
        raise RowError(f"{key} has half of a surrogate pair; write the character whole")
    return value


def named(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    names |= {int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), f"a {type(value).__name__}")
