"""A built set on disk: a Parquet file for every split, and ``manifest.json``: how it was made.

A row is an example with the length of its prompt in tokens. Metadata is one JSON text, because
every kind of answer has its own; a ``difficulty`` that is a number is a column, too.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from qwenlong.config import SourceConfig
from qwenlong.data.rows import Rejected, Rows, opened, parquet_rows
from qwenlong.types import CountTokens, Example, InputError, Split

FORMAT = 1
MANIFEST = "manifest.json"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("question", pa.string()),
        ("documents", pa.list_(pa.string())),
        ("answers", pa.list_(pa.string())),
        ("kind", pa.string()),
        ("reasoning", pa.string()),
        ("gold_documents", pa.list_(pa.int32())),
        ("group", pa.string()),
        ("difficulty", pa.float64()),
        ("metadata", pa.string()),
        ("tokens", pa.int32()),
    ]
)
_ROWS = 64
"""Rows that are written at once; documents of 128K tokens are half a megabyte each."""


class Writer:
    """Writes the file of a split; memory holds a few rows."""

    def __init__(self, path: Path) -> None:
        self._file = parquet.ParquetWriter(path, SCHEMA, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self.written = 0

    def add(self, example: Example, tokens: int) -> None:
        self._rows.append(
            {
                **{name: getattr(example, name) for name in SCHEMA.names[:9]},
                "difficulty": _number(example.metadata.get("difficulty")),
                "metadata": json.dumps(example.metadata, ensure_ascii=False, sort_keys=True),
                "tokens": tokens,
            }
        )
        self.written += 1
        if len(self._rows) == _ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows = []


def read(
    spec: SourceConfig, split: Split, count_tokens: CountTokens, seed: int
) -> Iterator[Example | Rejected]:
    """The examples of a built set, in its order; ``count_tokens`` and ``seed`` are not needed.

    Raises:
        InputError: there is no such set, or it is not as it was written.
    """
    folder = Path(spec.path or "")
    manifest = manifest_of(folder)
    if split not in manifest["splits"]:
        raise InputError(f"path={folder}: has no {split} split; build it with held_out above 0")
    for item in rows(file_of(folder, manifest, split)):
        if isinstance(item, Rejected):
            yield item
        else:
            yield example_of(item[1])


def rows(path: Path) -> Rows:
    """The rows of one file of a built set.

    Raises:
        InputError: it is another Parquet file, or none.
    """
    for item in parquet_rows(path):
        if not isinstance(item, Rejected) and list(item[1]) != SCHEMA.names:
            raise InputError(
                f"{path}: is of no built set: its columns are {', '.join(item[1])};"
                f" a built set's are {', '.join(SCHEMA.names)}"
            )
        yield item


def _number(difficulty: Any) -> float | None:
    """The difficulty as a number; None for a text such as "hard", which stays in the metadata."""
    if isinstance(difficulty, bool) or not isinstance(difficulty, int | float):
        return None
    return float(difficulty) if math.isfinite(difficulty) else None


def example_of(row: Mapping[str, Any]) -> Example:
    return Example(
        id=row["id"],
        source=row["source"],
        question=row["question"],
        documents=tuple(row["documents"]),
        answers=tuple(row["answers"]),
        kind=row["kind"],
        reasoning=row["reasoning"],
        gold_documents=tuple(row["gold_documents"]),
        group=row["group"],
        metadata=json.loads(row["metadata"]),
    )


def manifest_of(folder: Path) -> dict[str, Any]:
    """
    Raises:
        InputError: the folder holds no built set, or one of another format.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"path={folder}: holds no built set (there is no {MANIFEST})") from None
    except OSError as error:
        raise InputError(f"path={folder}: holds no built set: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{folder / MANIFEST}: not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{folder / MANIFEST}: not of format {FORMAT}; build it again")
    if not _is_complete(manifest):
        raise InputError(f"{folder / MANIFEST}: is not as it was written; build it again")
    return manifest


def _is_complete(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest has everything that is read of it."""
    splits, sources = manifest.get("splits"), manifest.get("sources")
    counted = {"examples", "tokens", "longest", "lengths", "kinds", "sources", "sha256"}
    return (
        isinstance(splits, dict)
        and all(isinstance(each, dict) and counted <= each.keys() for each in splits.values())
        and isinstance(sources, list)
        and all(isinstance(each, dict) and {"source", "splits"} <= each.keys() for each in sources)
        and isinstance(manifest.get("recipe"), dict)
    )


def file_of(folder: Path, manifest: Mapping[str, Any], split: str) -> Path:
    """The file of a split.

    Raises:
        InputError: it is not there, or not as it was written.
    """
    path = folder / f"{split}.parquet"
    if digest(path) != manifest["splits"][split]["sha256"]:
        raise InputError(f"{path}: is not the file that {MANIFEST} describes; build the set again")
    return path


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        InputError: it cannot be read.
    """
    with opened(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
