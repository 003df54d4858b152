"""Manifests: lists of a folder's files with their hashes, to find incomplete or changed files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwenlong.disk.files import sync, write_whole

MANIFEST = "MANIFEST.json"
FORMAT = 2

FileEntry = dict[str, Any]
"""``bytes`` and ``sha256`` of a file."""


@dataclass(frozen=True)
class Written:
    """The files that a process has written, by name; or the error."""

    files: Mapping[str, FileEntry] = field(default_factory=dict)
    error: str = ""


def file_entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        return {
            "bytes": os.fstat(file.fileno()).st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def seal(folder: Path, files: Mapping[str, FileEntry]) -> None:
    """Writes the manifest of ``files``. With it the folder counts as complete."""
    manifest = {"format": FORMAT, "files": dict(files), "sha256": _digest(files)}
    write_whole(folder / MANIFEST, json.dumps(manifest))
    sync(folder)


def fault(folder: Path, deep: bool = True) -> str | None:
    """What is wrong with a folder, with the file's name; None if nothing is.

    Args:
        deep: whether to check hashes, or sizes alone.
    """
    if not (folder / MANIFEST).is_file():
        return f"{MANIFEST}: missing"
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            return f"{MANIFEST}: format {manifest['format']}; this version reads format {FORMAT}"
        if manifest["sha256"] != _digest(manifest["files"]):
            return f"{MANIFEST}: is not what was written"
        for name, entry in manifest["files"].items():
            path = folder / name
            if not path.is_file():
                return f"{name}: missing"
            if path.stat().st_size != entry["bytes"]:
                return f"{name}: has {path.stat().st_size:,} bytes, not {entry['bytes']:,}"
            if deep and file_entry(path)["sha256"] != entry["sha256"]:
                return f"{name}: is not what was written (its SHA-256 is another)"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST}: is not what was written"
    except OSError as error:
        return f"cannot be read ({error})"
    return None


def trainer_step(checkpoint: Path | None) -> int:
    """The step of a trainer's checkpoint; 0 without a checkpoint."""
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


def _digest(files: Mapping[str, FileEntry]) -> str:
    """The hash of the list itself: an entry that is removed from the list is noticed."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
