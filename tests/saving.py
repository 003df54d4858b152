"""Shared by tests of checkpoints: saves one, and lists what a folder holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qwenlong.runs.checkpoints import Checkpoint, RunState, Saver, last_checkpoint
from qwenlong.types import Rope

NATIVE = Rope(theta=10_000.0, window=256)
YARN = replace(NATIVE, factor=2.0)


def commit(saver: Saver, step: int, rope: Rope = YARN, stage: str = "one") -> None:
    saver.begin(RunState(stage, step, step, rope, {"drawn": step}))
    saver.confirm()


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def last_of(root: Path) -> Checkpoint:
    last = last_checkpoint(root, print)
    assert last
    return last
