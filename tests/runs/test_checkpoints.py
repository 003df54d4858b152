"""Checkpoints: whole or told of, and written while the learner goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch

from qwenlong.disk.manifest import Written, fault, file_entry, seal, trainer_step
from qwenlong.learner.distributed.storage import StoredTensors, TensorShard, write_shards
from qwenlong.runs.checkpoints import (
    Checkpoint,
    RunState,
    Saver,
    best_checkpoint,
    last_checkpoint,
    read_checkpoint,
    trainer_checkpoint,
    trainer_folder,
)
from qwenlong.types import InputError
from tests.saving import YARN, commit, contents, last_of, names


class Numbers:
    """A learner of two processes whose only weight, a row in each, is a number."""

    def __init__(self) -> None:
        self.number = 0.0
        self.threads = ThreadPoolExecutor(1)
        self.may_write = Event()
        self.may_write.set()
        self.writing: list[Future[Written]] = []

    def save_state(self, folder: Path) -> None:
        self.writing = [
            self.threads.submit(self._write, folder, rank, torch.tensor([[self.number]]))
            for rank in (0, 1)
        ]

    def _write(self, folder: Path, rank: int, row: torch.Tensor) -> Written:
        self.may_write.wait(60)
        return write_shards(folder, rank, 2, {"model/w": TensorShard(row, (2, 1), rank)})

    def saved(self, wait: bool) -> list[Written | None]:
        return [each.result() if wait or each.done() else None for each in self.writing]

    def saver(self, root: Path, keep: int = 2) -> Saver:
        root.mkdir(exist_ok=True)
        return Saver(root, keep, self)


def save(saver: Saver, learner: Numbers, step: int, stage: str = "one") -> None:
    learner.number = float(step)
    commit(saver, step, stage=stage)


def weight(checkpoint: Checkpoint) -> list[float]:
    stored = StoredTensors(checkpoint.folder)
    return stored.like("model/w", torch.zeros(2, 1)).flatten().tolist()


# One after the other.


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    assert last_checkpoint(saver.root, print) is None
    save(saver, learner, 7, "warm")
    save(saver, learner, 2)
    last = last_of(saver.root)
    assert last == Checkpoint(last.folder, RunState("one", 2, 2, YARN, {"drawn": 2}))
    assert last.folder.name == saver.last == "0002-one-00002"
    assert weight(last) == [2.0, 2.0]
    assert names(last.folder) == [
        "MANIFEST.json", "learner-0-of-2.safetensors", "learner-1-of-2.safetensors", "state.json",
    ]  # fmt: skip


def test_the_last_are_kept_past_the_tenth_and_the_best(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    for step in range(1, 13):
        save(saver, learner, step, "z" if step < 6 else "a")
        if step in (3, 8, 9):
            saver.note_accuracy({3: 0.25, 8: 0.5, 9: 0.5}[step], context=480)
        assert last_of(saver.root).state.step == step
    assert names(saver.root) == ["0008-a-00008", "0011-a-00011", "0012-a-00012", "best.json"]
    assert best_checkpoint(saver.root).state.step == 8
    assert json.loads((saver.root / "best.json").read_text()) == {
        "checkpoint": "0008-a-00008", "accuracy": 0.5, "context": 480,
    }  # fmt: skip
    saver.note_accuracy(0.75, context=480)
    assert names(saver.root) == ["0011-a-00011", "0012-a-00012", "best.json"]


def test_a_best_that_is_broken_is_the_best_no_more(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    save(saver, learner, 1)
    saver.note_accuracy(0.5, context=480)
    (saver.root / "0001-one-00001" / "state.json").unlink()
    save(saver, learner, 2)
    saver.note_accuracy(0.5, context=480)
    assert best_checkpoint(saver.root).state.step == 2


def test_an_sft_stages_own_last_until_there_is_a_later_one(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    save(saver, learner, 1)
    folder = trainer_folder(saver.root, "sft", saver.last)
    assert folder.name == "trainer-sft-after-0001-one-00001"
    for step in (90, 150, 120, 60):
        own = folder / f"checkpoint-{step}"
        own.mkdir(parents=True)
        (own / "optimizer.pt").write_text("a rather long one")
        if step < 150:
            seal(own, {"optimizer.pt": file_entry(own / "optimizer.pt")})
    (folder / "checkpoint-120" / "optimizer.pt").write_text("another long one.")
    said: list[str] = []
    assert trainer_step(trainer_checkpoint(folder, 1, said.append)) == 90
    assert said == [
        f"skipped: {folder}/checkpoint-150: MANIFEST.json: missing",
        f"skipped: {folder}/checkpoint-120: optimizer.pt: is not what was written (its SHA-256"
        " is another)",
    ]
    assert trainer_checkpoint(folder, 2) is None  # the trainer could not read it
    assert trainer_checkpoint(trainer_folder(saver.root, "sft", None), 1) is None
    save(saver, learner, 2)
    assert not folder.exists()


def test_past_the_ten_thousandth(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints", keep=1)
    save(saver, learner, 1)
    (saver.root / "0001-one-00001").rename(saver.root / "9999-one-00001")
    save(saver, learner, 2)
    save(saver, learner, 3)
    assert names(saver.root) == ["10001-one-00003"]


def test_one_that_was_cut_short_is_ignored_and_cleared_away(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    save(saver, learner, 1)
    saver.begin(RunState("one", 2, 2, YARN, {}))
    learner.saved(wait=True)  # all is written but the manifest, and then the run dies
    assert names(saver.root) == ["0001-one-00001", "0002-one-00002.partial"]
    assert last_of(saver.root).state.step == 1

    saver = learner.saver(saver.root)
    save(saver, learner, 3)
    assert names(saver.root) == ["0001-one-00001", "0002-one-00003"]


def test_it_is_written_while_the_learner_goes_on(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    saver.confirm()  # nothing was begun
    learner.may_write.clear()
    learner.number = 1.0
    saver.begin(RunState("one", 1, 1, YARN, {}))
    learner.number = 2.0
    saver.confirm(wait=False)
    assert names(saver.root) == ["0001-one-00001.partial"] and saver.last is None
    learner.may_write.set()
    saver.begin(RunState("one", 2, 2, YARN, {}))  # waits for the one before
    assert weight(last_of(saver.root)) == [1.0, 1.0]
    learner.saved(wait=True)
    saver.confirm(wait=False)
    assert weight(last_of(saver.root)) == [2.0, 2.0] and saver.last == "0002-one-00002"


# Broken ones.


def truncated(folder: Path) -> None:
    file = folder / "learner-1-of-2.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flipped(folder: Path) -> None:
    file = folder / "learner-0-of-2.safetensors"
    whole = bytearray(file.read_bytes())
    whole[-1] ^= 1
    file.write_bytes(whole)


def other_state(folder: Path) -> None:
    file = folder / "state.json"
    file.write_text(file.read_text().replace('"step": 2', '"step": 3'))


def of_version_1(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "state.json").write_text('{"stage": "one", "step": 2, "version": 2}')
    torch.save({"model": {}}, folder / "learner.pt")


def of_a_later_version(folder: Path) -> None:
    (folder / "MANIFEST.json").write_text('{"format": 3, "files": {}}')


def without_a_shard(folder: Path) -> None:
    (folder / "learner-1-of-2.safetensors").unlink()


def without_a_manifest(folder: Path) -> None:
    (folder / "MANIFEST.json").unlink()


def with_half_a_manifest(folder: Path) -> None:
    (folder / "MANIFEST.json").write_text('{"format": 2')


BROKEN: dict[Callable[[Path], None], str] = {
    truncated: "learner-1-of-2.safetensors: has ",
    flipped: "learner-0-of-2.safetensors: is not what was written (its SHA-256",
    other_state: "state.json: is not what was written",
    without_a_shard: "learner-1-of-2.safetensors: missing",
    without_a_manifest: "MANIFEST.json: missing",
    with_half_a_manifest: "MANIFEST.json: is not what was written",
    of_version_1: "learner.pt: pickled, by an earlier version; this one reads safetensors",
    of_a_later_version: "MANIFEST.json: format 3; this version reads format 2",
}
"""What is done to the last one, and how the line on it begins."""


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda breaks: breaks.__name__)
def test_the_one_before_a_broken_one_is_taken(
    tmp_path: Path, breaks: Callable[[Path], None]
) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    for step in (1, 2):
        save(saver, learner, step)
    broken = saver.root / "0002-one-00002"
    breaks(broken)
    before = contents(saver.root)
    said: list[str] = []
    last = last_checkpoint(saver.root, said.append)
    assert last and last.state.step == 1 and weight(last) == [1.0, 1.0]
    (line,) = said
    assert line.startswith(f"skipped: {broken}: {BROKEN[breaks]}") and "\n" not in line
    assert contents(saver.root) == before
    with pytest.raises(InputError, match=str(broken)):
        read_checkpoint(broken)

    # It is left where it is, and is none of those that are kept.
    saver = learner.saver(saver.root)
    saver.resume_from(last)
    save(saver, learner, 2)
    assert names(saver.root) == ["0001-one-00001", "0002-one-00002", "0003-one-00002"]
    assert last_of(saver.root).folder.name[:4] == "0003"


def test_any_byte_that_is_flipped_is_seen(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    save(saver, learner, 1)
    folder = last_of(saver.root).folder
    for path in folder.iterdir():
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert fault(folder), f"{path.name}, byte {at}"
        path.write_bytes(whole)
    assert fault(folder) is None


def test_a_run_whose_checkpoints_are_all_broken_is_not_begun_anew(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    for step in (1, 2):
        save(saver, learner, step)
    for folder in saver.root.iterdir():
        of_version_1(folder)
    before, said = contents(saver.root), list[str]()
    with pytest.raises(
        InputError, match=r"checkpoints: no checkpoint is complete; put a complete copy"
    ):
        last_checkpoint(saver.root, said.append)
    assert len(said) == 2 and contents(saver.root) == before
