"""Files and folders that are complete or absent, at whatever moment a run is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from qwenlong.types import StoppedError

PARTIAL = ".partial"
TORCH_SAVE = ("PytorchStreamWriter", "inline_container", "iostream error")
"""torch.save raises a RuntimeError with one of these words when the disk is full."""


def write_whole(path: Path, text: str) -> None:
    """Writes a partial file next to ``path`` and then renames it."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(text, encoding="utf-8")
    sync(partial)
    os.replace(partial, path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder for the block to write into; at the end it replaces ``path``.

    Raises:
        StoppedError: it cannot be written.
    """
    partial = path.with_name(path.name + PARTIAL)
    if partial.exists():
        shutil.rmtree(partial)
    with room_for(path):
        yield partial
        for file in partial.iterdir():
            sync(file)
        # A folder cannot be renamed onto one that is not empty.
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)


def sync(path: Path) -> None:
    """Waits until a file, or the list of a folder's files, would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """
    Raises:
        StoppedError: what the block writes to ``path`` cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StoppedError(f"{path} cannot be written ({error})") from None
    except RuntimeError as error:
        if not any(word in str(error) for word in TORCH_SAVE):
            raise
        raise StoppedError(f"{path} cannot be written (torch.save: {error})") from None
