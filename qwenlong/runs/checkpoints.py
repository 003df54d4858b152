"""Checkpoints: what a run can go on from, each of them whole or none.

    0005-phase1-00010/                 number, stage, step
        state.json                     where the run was, and its curriculum
        learner-0-of-1.safetensors     one a process of the learner: see learner/storage.py
        MANIFEST.json                  size and SHA-256 of these, written last
    best.json                          the one with the best accuracy at the longest context
    trainer-sft-after-nothing/         an SFT stage's own, while it runs: TRL's, with manifests

A numbered folder is written as ``….partial``, synced to the disk, then renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qwenlong.disk.files import PARTIAL, sync, write_whole
from qwenlong.disk.manifest import FileEntry, Written, fault, file_entry, seal, trainer_step
from qwenlong.types import InputError, Rope, StoppedError

STATE, BEST = "state.json", "best.json"


@dataclass(frozen=True)
class Checkpoint:
    """A point from which the run can go on."""

    folder: Path
    stage: str
    step: int
    """Steps of the stage that are done; all of them for an SFT stage."""
    version: int
    rope: Rope
    """The stage's."""
    curriculum: Mapping[str, Any]


def read_checkpoint(folder: Path) -> Checkpoint:
    """
    Raises:
        InputError: it is not whole.
    """
    wrong = fault(folder)
    if wrong and (folder / "learner.pt").is_file():
        wrong = "learner.pt: pickled, by an earlier version; this one reads safetensors"
    if wrong:
        raise InputError(f"{folder}: {wrong}")
    state = json.loads((folder / STATE).read_text())
    return Checkpoint(folder, **{**state, "rope": Rope(**state["rope"])})


def whole_checkpoints(root: Path, say: Callable[[str], None]) -> Iterator[Checkpoint]:
    """The last first. Each is verified when its turn comes; ``say`` is told of a broken one."""
    for folder in reversed(_folders(root)):
        try:
            yield read_checkpoint(folder)
        except InputError as error:
            say(f"passed over: {error}")


def last_checkpoint(root: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """
    Raises:
        InputError: there are some, but none is whole. To begin anew would undo the run.
    """
    last = next(whole_checkpoints(root, say), None)
    if last is None and _folders(root):
        raise InputError(
            f"{root}: no checkpoint is whole; put a copy there that is, or train anew with another"
            " run_dir=…"
        )
    return last


def best_checkpoint(root: Path) -> Checkpoint:
    """
    Raises:
        InputError: no stage has been evaluated yet, or it is not whole.
    """
    name = _best(root).get("checkpoint")
    if not name:
        raise InputError(f"{root}: no {BEST}; it is there once a stage has been evaluated")
    return read_checkpoint(root / name)


class Saver:
    """Writes a run's checkpoints while the run goes on, one at a time.

    Args:
        root: the run's ``checkpoints``. keep: how many of the last stay; the best does anyway.
        start: has the learner copy its state and begin to write it into a folder.
        saved: what each process of it wrote; None of one that still writes, unless told to wait.
    """

    def __init__(
        self,
        root: Path,
        keep: int,
        start: Callable[[Path], object],
        saved: Callable[[bool], Sequence[Written | None]],
    ) -> None:
        self.root, self.keep, self.start, self.saved = root, keep, start, saved
        self.pending: Path | None = None
        self.last: str | None = None
        """Name of the last one that is whole, which the run could go on from."""
        self.passed_over: set[str] = set()
        """Whose checksums were wrong when the run went on."""
        for scrap in root.glob(f"[0-9]*{PARTIAL}"):
            shutil.rmtree(scrap)

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        self.last = checkpoint.folder.name
        number = _number(checkpoint.folder)
        self.passed_over = {each.name for each in _folders(self.root) if _number(each) > number}

    def begin(
        self, stage: str, step: int, version: int, rope: Rope, curriculum: Mapping[str, Any]
    ) -> None:
        """
        Raises:
            StoppedError: there is no room, for this one or for the one before.
        """
        self.confirm()
        number = max(map(_number, _folders(self.root)), default=0) + 1
        partial = self.root / f"{number:04d}-{stage}-{step:05d}{PARTIAL}"
        state = {"stage": stage, "step": step, "version": version, "rope": asdict(rope)}
        with _told(partial.stem):
            partial.mkdir()
            _write(partial / STATE, {**state, "curriculum": dict(curriculum)})
        self.start(partial)
        self.pending = partial

    def confirm(self, wait: bool = True) -> None:
        """Makes what was begun a checkpoint, if it is written; nothing where nothing was begun.

        Raises:
            StoppedError: it could not be written.
        """
        if not self.pending:
            return
        written = self.saved(wait)
        if any(each is None for each in written):
            return
        partial, self.pending = self.pending, None
        final = partial.with_suffix("")
        files: dict[str, FileEntry] = {}
        for each in filter(None, written):
            if each.error:
                raise StoppedError(_cannot(final.name, each.error))
            files |= each.files
        with _told(final.name):
            seal(partial, files | {STATE: file_entry(partial / STATE)})
            os.replace(partial, final)
            sync(self.root)
        self.last = final.name
        self._prune()

    def remember(self, accuracy: float, context: int) -> None:
        """Notes the last one as the best if it is.

        Args:
            accuracy: strict, of its policy at ``context`` tokens, the longest.
        """
        if not self.last:
            return
        noted = _best(self.root)
        # A number comes again where a checkpoint was taken away by hand.
        holds = noted and noted["checkpoint"] != self.last
        holds = holds and self._whole(self.root / noted["checkpoint"])
        if holds and accuracy <= noted["accuracy"]:
            return
        best = {"checkpoint": self.last, "accuracy": accuracy, "context": context}
        with _told(BEST):
            write_whole(self.root / BEST, json.dumps(best))
        self._prune()

    def _prune(self) -> None:
        """Leaves the last and the best, and whatever is broken, for that is the user's to judge.

        What an SFT stage had of its own is no longer needed once there is a later one.
        """
        for trainer in self.root.glob("trainer-*"):
            shutil.rmtree(trainer)
        whole = [each for each in _folders(self.root) if self._whole(each)]
        best = _best(self.root).get("checkpoint")
        for old in whole[: -self.keep]:
            if old.name != best:
                # Cut short, it is no checkpoint any more, and cleared away with the next.
                doomed = old.with_name(f"{old.name}{PARTIAL}")
                os.replace(old, doomed)
                shutil.rmtree(doomed)

    def _whole(self, folder: Path) -> bool:
        return folder.name not in self.passed_over and not fault(folder, deep=False)


def trainer_folder(root: Path, stage: str, after: str | None) -> Path:
    """Where an SFT stage keeps its own checkpoints while it runs.

    Args:
        after: name of the run's checkpoint before the stage. They are of no use to a run that goes
            on from another.
    """
    return root / f"trainer-{stage}-after-{after or 'nothing'}"


def trainer_checkpoint(
    folder: Path, processes: int, say: Callable[[str], None] = lambda _: None
) -> Path | None:
    """An SFT stage's last own checkpoint that is whole; several processes could not read it."""
    if processes > 1:
        return None
    for own in sorted(folder.glob("checkpoint-*"), key=trainer_step, reverse=True):
        wrong = fault(own)
        if not wrong:
            return own
        say(f"passed over: {own}: {wrong}")
    return None


def newest_folder(root: Path) -> Path | None:
    """Whole or not."""
    return next(reversed(_folders(root)), None)


def _folders(root: Path) -> list[Path]:
    """All that look like checkpoints, in the order of their numbers."""
    found = [path for path in root.glob("[0-9]*-*") if path.suffix != PARTIAL]
    return sorted((path for path in found if path.is_dir()), key=_number)


def _number(folder: Path) -> int:
    return int(folder.name.split("-")[0])


def _best(root: Path) -> dict[str, Any]:
    """What is noted of the best, which may be broken by now, as the note may."""
    try:
        return dict(json.loads((root / BEST).read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content))
    sync(path)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoppedError(_cannot(name, str(error))) from None


def _cannot(name: str, why: str) -> str:
    return f"checkpoint {name} cannot be written ({why}); the one before it is as it was"
