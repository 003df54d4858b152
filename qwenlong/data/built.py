"""A built set on disk: one Parquet file a split, and ``manifest.json`` that says how it came about.

A row is an example with the length of its prompt in tokens. Metadata is one JSON text, for every
kind of answer has its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from qwenlong.config import SourceConfig
from qwenlong.data.rows import Rejected, Rows, parquet_rows
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
"""Written at once: 128K-token documents are half a megabyte each."""


class Writer:
    """Writes a split row by row; memory holds a few rows."""

    def __init__(self, path: Path) -> None:
        self._file = parquet.ParquetWriter(path, SCHEMA, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self.written = 0

    def add(self, example: Example, tokens: int) -> None:
        difficulty = example.metadata.get("difficulty")
        self._rows.append(
            {
                **{name: getattr(example, name) for name in SCHEMA.names[:9]},
                "difficulty": None if difficulty is None else float(difficulty),
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
    """The examples of a built set, in its order; ``count_tokens`` and ``seed`` are of no use here.

    Raises:
        InputError: there is no such set, or it is not as it was written.
    """
    folder = Path(spec.path or "")
    manifest = manifest_of(folder)
    if split not in manifest["splits"]:
        raise InputError(f"path={folder}: has no {split} split; build it with held_out above 0")
    path = folder / f"{split}.parquet"
    if digest(path) != manifest["splits"][split]["sha256"]:
        raise InputError(f"{path}: is not the file that {MANIFEST} tells of; build it again")
    for item in rows(path):
        if isinstance(item, Rejected):
            yield item
        else:
            yield example_of(item[1])


def rows(path: Path) -> Rows:
    return parquet_rows(path)


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
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / MANIFEST}: not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{folder / MANIFEST}: not of format {FORMAT}; build it again")
    return manifest


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
