"""Published sets that live on the Hugging Face hub: streamed from there, or read from a copy.

``datasets`` streams the rows from the hub, so that only one is kept in memory. It runs no code of a
repository: since version 4 it cannot. A copy on disk is a snapshot folder (``hf download NAME
--repo-type dataset --local-dir DIR``) or one of its files: Parquet, JSONL or JSON. Copies are not
read by ``datasets``, which stops at the first broken row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from qwenlong.data.rows import Rows, Source, json_lines, json_rows, parquet_rows
from qwenlong.types import InputError

_READERS = {".parquet": parquet_rows, ".jsonl": json_lines, ".json": json_rows}
_SPLITS = {
    "validation": "validation|valid|val|dev",
    "test": "test|testing|eval|evaluation",
    "train": "train|training",
}
_NOT_ROWS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


def file_rows(path: Path) -> Rows:
    """The rows of one file, by its suffix; a JSON file may be a list or one object a line."""
    if path.suffix in _READERS:
        return _READERS[path.suffix](path)
    raise InputError(f"path={path}: must be a {', '.join(_READERS)} file or a folder of them")


def rows(
    source: Source,
    path: Path | None,
    subset: str,
    read_file: Callable[[Path], Rows] = file_rows,
) -> Rows:
    """The rows of a subset: of a copy at ``path`` or, with None, from the hub.

    Raises:
        InputError: there is no such file, or the hub cannot be reached.
    """
    if path is None:
        return _streamed(source, subset or _only(source.subsets, source.hub))
    if path.is_file():
        return read_file(path)
    held = files_of(source, path)
    if subset and not held[subset]:
        raise InputError(f"path={path}: no file of subset {subset} is there")
    there = [subset] if subset else [name for name in held if held[name]]
    files = held[_only(there, str(path))] if there else _files_in(source, path)
    return (row for file in files for row in read_file(file))


def files_of(source: Source, folder: Path) -> dict[str, list[Path]]:
    """The files of each subset in a folder.

    Raises:
        InputError: there is no such folder, or no file of rows in it.
    """
    found = [(file, file.relative_to(folder).as_posix()) for file in _files_in(source, folder)]
    return {
        subset: [file for file, name in found if _belongs(name, source, subset)]
        for subset in source.subsets
    }


def _files_in(source: Source, folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"path={folder}: there is no such file or folder; {_how(source)}")
    found = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix in _READERS
        and file.name not in _NOT_ROWS
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    if not found:
        raise InputError(f"path={folder}: no {', '.join(_READERS)} file is there; {_how(source)}")
    return found


def _belongs(name: str, source: Source, subset: str) -> bool:
    """Whether a file of a snapshot belongs to a subset, by its pattern or by words of its path."""
    if source.files:
        files = source.files.format(subset)
        stem, _, suffix = files.rpartition("/")[2].rpartition(".")
        # multifieldqa_zh.half_dev.jsonl belongs to multifieldqa_zh.jsonl.
        like = f"*/{stem}.*{suffix}" if stem[0] != "*" else files
        return fnmatch(name, files) or fnmatch(f"/{name}", like)
    split, config = source.subsets[subset], _config(source, subset)
    words = _SPLITS.get(split, re.escape(split))
    if not config:
        return _has_words(words, name)
    any_split = not any(_has_words(each, name) for each in _SPLITS.values())
    return _has_words(re.escape(config), name) and (any_split or _has_words(words, name))


def _has_words(words: str, name: str) -> bool:
    return re.search(rf"(?<![^\W_])(?:{words})(?![^\W_])", name, re.IGNORECASE) is not None


def _config(source: Source, subset: str) -> str:
    return source.config.format(subset) or subset.rpartition("/")[0]


def _only(subsets: Iterable[str], where: str) -> str:
    first, *others = subsets
    if others:
        names = ", ".join([first, *others])
        raise InputError(f"subset=null: {where} has {names}; name one of them")
    return first


def _streamed(source: Source, subset: str) -> Rows:
    stream = _or_advice(source, lambda: iter(_dataset(source, subset)))
    number = 0
    while (row := _or_advice(source, lambda: next(stream, None))) is not None:
        number += 1
        yield f"{source.hub} {subset}: row {number}", row


def _dataset(source: Source, subset: str) -> Any:
    from datasets import load_dataset

    split, files = source.subsets[subset], source.files.format(subset)
    if source.archive:
        inside = f"zip://{files}::hf://datasets/{source.hub}/{source.archive}"
        return load_dataset("json", data_files={split: inside}, split=split, streaming=True)
    return load_dataset(
        source.hub,
        _config(source, subset) or None,
        data_files={split: files} if files else None,
        revision=source.revision or None,
        split=split,
        streaming=True,
    )


def _or_advice(source: Source, call: Callable[[], Any]) -> Any:
    """What the call returns; an error becomes one line that says what to do instead."""
    try:
        return call()
    except Exception as error:  # of datasets, huggingface_hub, fsspec, httpx, pyarrow: dozens
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(
            f"{source.hub}: cannot be had from the Hugging Face hub ({why}); {_how(source)}"
        ) from error


def _how(source: Source) -> str:
    revision = f" --revision {source.revision}" if source.revision else ""
    unpack = f", unpack {source.archive} in it" if source.archive else ""
    return (
        f"where there is a network, run `hf download {source.hub} --repo-type dataset{revision}"
        f" --local-dir DIR`{unpack}, then set path to DIR"
    )
