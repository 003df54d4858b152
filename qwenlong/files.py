"""Files that are there whole or not at all, whenever a run is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from qwenlong.types import StoppedError

PARTIAL = ".partial"


def write_whole(path: Path, text: str) -> None:
    """Writes beside ``path``, then takes its place."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(text, encoding="utf-8")
    sync(partial)
    os.replace(partial, path)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, would outlast a loss of power."""
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
