"""Published sets that live on the Hugging Face hub: streamed from there, or read from a copy.

``datasets`` streams the rows from the hub, so that only one is kept in memory. It runs no code of a
repository: since version 4 it cannot. A copy on disk is a snapshot folder (``hf download NAME
--repo-type dataset --local-dir DIR``) or one of its files: Parquet, JSONL or JSON. Copies are not
read by ``datasets``, which stops at the first broken row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from qwenlong.data.rows import Row, Rows, Source, json_lines, json_rows, parquet_rows
from qwenlong.types import Example, InputError

_SUFFIXES = (".parquet", ".jsonl", ".json")
_SPLITS = {
    "validation": "validation|valid|val|dev",
    "test": "test|testing|eval|evaluation",
    "train": "train|training",
}
_NOT_ROWS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")

Opened = Callable[[str], Rows]
"""The rows of another part of the same copy, or of the same set on the hub."""


@dataclass(frozen=True)
class Part:
    """A subset as the hub has it."""

    split: str = "train"
    config: str = ""
    files: str = ""
    """The pattern of its files in the repository, if configuration and split do not name them."""
    archive: str = ""
    """The zip file of the repository that holds them; a copy on disk must be unpacked."""
    joined: bool = False
    """It is no subset of its own: the rows of another subset are joined with it."""


@dataclass(frozen=True)
class Snapshot:
    """The ``rows`` of a Source on the hub; called with a path it reads a copy, with None there."""

    hub: str
    parts: Mapping[str, Part]
    revision: str = ""
    join: Callable[[Rows, Opened], Rows] | None = None
    file: Callable[[Path], Rows] | None = None
    """Reads one file of a copy, if ``file_rows`` cannot."""

    @property
    def subsets(self) -> tuple[str, ...]:
        return tuple(name for name, part in self.parts.items() if not part.joined)

    def __call__(self, path: Path | None, subset: str) -> Rows:
        """The rows of a subset.

        Raises:
            InputError: there is no such subset or file, or the hub cannot be reached.
        """
        if subset and subset not in self.subsets:
            raise InputError(f"subset={subset}: must be one of {', '.join(self.subsets)}")
        part_of = partial(self._opened, path)
        rows = part_of(subset)
        return rows if self.join is None else self.join(rows, part_of)

    def _opened(self, path: Path | None, subset: str) -> Rows:
        if path is None:
            return self._streamed(subset or _only(self.subsets, self.hub))
        joined = subset in self.parts and self.parts[subset].joined
        files = self._files(path.parent if joined and path.is_file() else path, subset)
        read_file = self.file or file_rows
        return (row for file in files for row in read_file(file))

    def held(self, path: Path) -> dict[str, list[Path]]:
        """The files of each subset in a folder.

        Raises:
            InputError: there is no such folder, or no file of rows in it.
        """
        found = self._found(path)
        return {
            name: [file for file in found if _belongs(file.relative_to(path).as_posix(), part)]
            for name, part in self.parts.items()
        }

    def _files(self, path: Path, subset: str) -> list[Path]:
        """The files of a subset in a folder; without a subset, those of the only one there."""
        if path.is_file():
            return [path]
        held = self.held(path)
        if subset:
            if not held[subset]:
                raise InputError(f"path={path}: no file of subset {subset} is there")
            return held[subset]
        there = [name for name in self.subsets if held[name]]
        return held[_only(there, str(path))] if there else self._found(path)

    def _found(self, path: Path) -> list[Path]:
        """All files of rows in a folder."""
        if not path.is_dir():
            raise InputError(f"path={path}: there is no such file or folder; {_how(self)}")
        found = [file for file in sorted(path.rglob("*")) if _has_rows(file, path)]
        if not found:
            named = ", ".join(_SUFFIXES)
            raise InputError(f"path={path}: no {named} file is there; {_how(self)}")
        return found

    def _streamed(self, subset: str) -> Rows:
        part = self.parts[subset]
        rows = _tried(self, lambda: iter(_dataset(self, part)))
        number = 0
        while (row := _tried(self, lambda: next(rows, None))) is not None:
            number += 1
            yield f"{self.hub} {subset}: row {number}", row


def on_hub(
    name: str,
    examples: Callable[[Row], Iterable[Example]],
    snapshot: Snapshot,
    licence: str,
    citation: str,
    rows: Callable[..., Rows] | None = None,
) -> Source:
    """A set that the hub has. ``rows`` reads it where the snapshot's own rows are not enough."""
    return Source(
        name=name,
        examples=examples,
        rows=rows or snapshot,
        licence=licence,
        citation=citation,
        layout=f"a snapshot of huggingface.co/datasets/{snapshot.hub}, or a file of it",
        hub=snapshot.hub,
        subsets=snapshot.subsets,
    )


def splits(*names: str) -> dict[str, Part]:
    """Subsets that are splits of one configuration."""
    return {name: Part(name) for name in names}


def file_rows(path: Path) -> Rows:
    """The rows of one file, by its suffix; a JSON file may be a list or one object a line."""
    readers = {".parquet": parquet_rows, ".jsonl": json_lines, ".json": json_rows}
    if path.suffix in readers:
        return readers[path.suffix](path)
    raise InputError(f"path={path}: must be a {', '.join(_SUFFIXES)} file or a folder of them")


def _dataset(snapshot: Snapshot, part: Part) -> Any:
    from datasets import load_dataset

    given: dict[str, Any] = {"split": part.split, "streaming": True}
    if part.archive:
        inside = f"zip://{part.files}::hf://datasets/{snapshot.hub}/{part.archive}"
        return load_dataset("json", data_files=inside, **given)
    given |= {"data_files": {part.split: part.files}} if part.files else {}
    given |= {"revision": snapshot.revision} if snapshot.revision else {}
    return load_dataset(snapshot.hub, part.config or None, **given)


def _tried(snapshot: Snapshot, call: Callable[[], Any]) -> Any:
    """What the call returns; an error becomes one line that says what to do instead."""
    try:
        return call()
    except Exception as error:  # of datasets, huggingface_hub, fsspec, httpx, pyarrow: dozens
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(
            f"{snapshot.hub}: cannot be had from the Hugging Face hub ({why}); {_how(snapshot)}"
        ) from error


def _how(snapshot: Snapshot) -> str:
    revision = f" --revision {snapshot.revision}" if snapshot.revision else ""
    archives = sorted({part.archive for part in snapshot.parts.values() if part.archive})
    unpack = f", unpack {archives[0]} in it" if archives else ""
    return (
        f"where there is a network, run `hf download {snapshot.hub} --repo-type dataset{revision}"
        f" --local-dir DIR`{unpack}, then set path to DIR"
    )


def _only(subsets: tuple[str, ...] | list[str], where: str) -> str:
    if len(subsets) > 1:
        raise InputError(f"subset=null: {where} has {', '.join(subsets)}; name one of them")
    return subsets[0]


def _has_rows(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix in _SUFFIXES and not hidden and file.name not in _NOT_ROWS


def _belongs(name: str, part: Part) -> bool:
    """Whether a file of a snapshot belongs to the part, by its pattern or by words of its path."""
    if part.files:
        stem, _, suffix = part.files.rpartition("/")[2].rpartition(".")
        # multifieldqa_zh.half_dev.jsonl belongs to multifieldqa_zh.jsonl.
        like = f"*/{stem}.*{suffix}" if stem[0] != "*" else part.files
        return fnmatch(name, part.files) or fnmatch(f"/{name}", like)
    split = _SPLITS.get(part.split, re.escape(part.split))
    if not part.config:
        return _says(split, name)
    anywhere = not any(_says(words, name) for words in _SPLITS.values())
    return _says(re.escape(part.config), name) and (anywhere or _says(split, name))


def _says(words: str, name: str) -> bool:
    return re.search(rf"(?<![^\W_])(?:{words})(?![^\W_])", name, re.IGNORECASE) is not None
