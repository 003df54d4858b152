"""Checkpoints: a run resumes from the last one that is complete.

    0005-phase1-00010/                 number, stage, step
        state.json                     where the run was, and its curriculum
        learner-0-of-1.safetensors     one a process of the learner: learner/distributed/storage.py
        MANIFEST.json                  size and SHA-256 of these, written last
    best.json                          the one with the best accuracy at the longest context
    trainer-sft-after-nothing/         an SFT stage's own, while it runs: TRL's, with manifests

A numbered folder is written as ``….partial``, synced to the disk, then renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from qwenlong.disk.files import PARTIAL, sync, write_whole
from qwenlong.disk.manifest import FileEntry, Written, fault, file_entry, seal, trainer_step
from qwenlong.types import InputError, Rope, StoppedError

STATE, BEST = "state.json", "best.json"


@dataclass(frozen=True)
class RunState:
    """Where a run is between two steps. With the learner's tensors it is a checkpoint."""

    stage: str
    step: int
    """Steps of the stage that are done; all of them for an SFT stage."""
    version: int
    """How many times the engines were given new weights."""
    rope: Rope
    """The stage's."""
    curriculum: Mapping[str, Any]
    """State of the last phase's curriculum; empty before the first phase."""


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    state: RunState


def read_checkpoint(folder: Path) -> Checkpoint:
    """
    Raises:
        InputError: it is not complete.
    """
    wrong = fault(folder)
    if wrong and (folder / "learner.pt").is_file():
        wrong = "learner.pt: pickled, by an earlier version; this one reads safetensors"
    if wrong:
        raise InputError(f"{folder}: {wrong}")
    state = json.loads((folder / STATE).read_text())
    return Checkpoint(folder, RunState(**{**state, "rope": Rope(**state["rope"])}))


def complete_checkpoints(root: Path, say: Callable[[str], None]) -> Iterator[Checkpoint]:
    """The last first. Each is verified when its turn comes; ``say`` names the broken ones."""
    for folder in reversed(_folders(root)):
        try:
            yield read_checkpoint(folder)
        except InputError as error:
            say(f"skipped: {error}")


def last_checkpoint(root: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """
    Raises:
        InputError: there are some, but none is complete. Starting over would undo the run.
    """
    last = next(complete_checkpoints(root, say), None)
    if last is None and _folders(root):
        raise InputError(
            f"{root}: no checkpoint is complete; put a complete copy there, or train again with"
            " another run_dir=…"
        )
    return last


def best_checkpoint(root: Path) -> Checkpoint:
    """
    Raises:
        InputError: no stage has been evaluated yet, or the checkpoint is not complete.
    """
    name = _best(root).get("checkpoint")
    if not name:
        raise InputError(f"{root}: no {BEST}; it is there once a stage has been evaluated")
    return read_checkpoint(root / name)


class SavesState(Protocol):
    """The learner, as the saver uses it."""

    def save_state(self, folder: Path) -> None:
        """Copies the state and begins to write it into ``folder``."""
        ...

    def saved(self, wait: bool) -> list[Written | None]:
        """What each process has written; None if it still writes, unless asked to ``wait``."""
        ...


class Saver:
    """Writes a run's checkpoints while the run goes on, one at a time.

    Args:
        root: the run's ``checkpoints``.
        keep: how many of the last stay; the best stays anyway. With 0 none is written.
    """

    def __init__(self, root: Path, keep: int, learner: SavesState) -> None:
        self.root, self.keep, self.learner = root, keep, learner
        self.pending: Path | None = None
        """The checkpoint that is being written."""
        self.last: str | None = None
        """Name of the last complete checkpoint."""
        self.skipped: set[str] = set()
        """Checkpoints whose checksums were wrong when the run was resumed."""
        for partial in root.glob(f"[0-9]*{PARTIAL}"):
            shutil.rmtree(partial)

    def resume_from(self, checkpoint: Checkpoint) -> None:
        self.last = checkpoint.folder.name
        number = _number(checkpoint.folder)
        self.skipped = {each.name for each in _folders(self.root) if _number(each) > number}

    def begin(self, state: RunState) -> None:
        """
        Raises:
            StoppedError: the disk has no room, for this checkpoint or for the one before.
        """
        if not self.keep:
            return
        # One at a time: the learner keeps a single copy of its state to write from.
        self.confirm()
        number = max(map(_number, _folders(self.root)), default=0) + 1
        partial = self.root / f"{number:04d}-{state.stage}-{state.step:05d}{PARTIAL}"
        with _no_room(partial.stem):
            partial.mkdir()
            content = {**vars(state), "rope": asdict(state.rope)}
            (partial / STATE).write_text(json.dumps(content))
            sync(partial / STATE)
        self.learner.save_state(partial)
        self.pending = partial

    def confirm(self, wait: bool = True) -> None:
        """Completes the pending checkpoint, if it is written; nothing if none is pending.

        Raises:
            StoppedError: it could not be written.
        """
        if not self.pending:
            return
        written = self.learner.saved(wait)
        if any(each is None for each in written):
            return
        partial, self.pending = self.pending, None
        final = partial.with_suffix("")
        files: dict[str, FileEntry] = {}
        for each in filter(None, written):
            if each.error:
                raise StoppedError(_cannot_write(final.name, each.error))
            files |= each.files
        with _no_room(final.name):
            # The manifest comes last but for the rename, so whatever is cut short has none.
            seal(partial, files | {STATE: file_entry(partial / STATE)})
            os.replace(partial, final)
            sync(self.root)
        self.last = final.name
        self._prune()

    def note_accuracy(self, accuracy: float, context: int) -> None:
        """Marks the last checkpoint as the best if it is.

        Args:
            accuracy: of its policy at ``context`` tokens, the longest.
        """
        if not self.last:
            return
        best = _best(self.root)
        # A number is used again if a user has removed its checkpoint.
        holds = best and best["checkpoint"] != self.last
        holds = holds and self._is_complete(self.root / best["checkpoint"])
        if holds and accuracy <= best["accuracy"]:
            return
        best = {"checkpoint": self.last, "accuracy": accuracy, "context": context}
        with _no_room(BEST):
            write_whole(self.root / BEST, json.dumps(best))
        self._prune()

    def _prune(self) -> None:
        """Removes all but the last ones and the best. Broken ones stay for the user to judge.

        A later checkpoint also replaces those that an SFT stage's trainer kept.
        """
        for trainer in self.root.glob("trainer-*"):
            shutil.rmtree(trainer)
        complete = [each for each in _folders(self.root) if self._is_complete(each)]
        best = _best(self.root).get("checkpoint")
        for old in complete[: -self.keep]:
            if old.name != best:
                # If the run is killed here, the renamed folder is no checkpoint any more, and the
                # next run removes it.
                renamed = old.with_name(f"{old.name}{PARTIAL}")
                os.replace(old, renamed)
                shutil.rmtree(renamed)

    def _is_complete(self, folder: Path) -> bool:
        return folder.name not in self.skipped and not fault(folder, deep=False)


def trainer_folder(root: Path, stage: str, after: str | None) -> Path:
    """Where an SFT stage's trainer keeps its own checkpoints while the stage runs.

    Args:
        after: name of the run's checkpoint before the stage. The trainer's checkpoints continue
            that one and no other.
    """
    return root / f"trainer-{stage}-after-{after or 'nothing'}"


def trainer_checkpoint(
    folder: Path, processes: int, say: Callable[[str], None] = lambda _: None
) -> Path | None:
    """The trainer's last complete checkpoint; None for several processes, which write none."""
    if processes > 1:
        return None
    for own in sorted(folder.glob("checkpoint-*"), key=trainer_step, reverse=True):
        wrong = fault(own)
        if not wrong:
            return own
        say(f"skipped: {own}: {wrong}")
    return None


def newest_folder(root: Path) -> Path | None:
    """The last checkpoint, complete or not."""
    return next(reversed(_folders(root)), None)


def _folders(root: Path) -> list[Path]:
    """Everything that looks like a checkpoint, in the order of the numbers."""
    found = [path for path in root.glob("[0-9]*-*") if path.suffix != PARTIAL]
    return sorted((path for path in found if path.is_dir()), key=_number)


def _number(folder: Path) -> int:
    return int(folder.name.split("-")[0])


def _best(root: Path) -> dict[str, Any]:
    """What best.json says; empty if it is missing or broken. Its checkpoint may be broken, too."""
    try:
        return dict(json.loads((root / BEST).read_text()))
    except (FileNotFoundError, ValueError):
        return {}


@contextmanager
def _no_room(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoppedError(_cannot_write(name, str(error))) from None


def _cannot_write(name: str, why: str) -> str:
    return f"checkpoint {name} cannot be written ({why}); the one before it is unchanged"
