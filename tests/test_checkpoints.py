"""Checkpoints: whole or told of, written while the learner goes on, exported as policy/ is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
import torch

from qwenlong.checkpoints import (
    Checkpoint,
    Saver,
    best_checkpoint,
    fault,
    last_checkpoint,
    read_checkpoint,
    trainer_checkpoint,
    trainer_folder,
    trainer_step,
)
from qwenlong.config import Config, LearnerConfig
from qwenlong.experiment import load_config
from qwenlong.export import export
from qwenlong.learner.actor import LearnerActor
from qwenlong.learner.storage import Piece, StoredTensors, Written, write_pieces
from qwenlong.run import RunDir
from qwenlong.types import Batch, InputError, Rope, Row, StoppedError
from tests.disks import small_disk, small_files

NATIVE = Rope(theta=10_000.0, window=256)
YARN = replace(NATIVE, factor=2.0)
BATCH = Batch((Row((5, 6), ((7, 8), (9,)), ((-3.0, -3.0), (-3.0,)), (1.0, -1.0)),), 1, 1e-2, 8)


class Numbers:
    """A learner of two processes whose only weight, a row in each, is a number."""

    def __init__(self) -> None:
        self.number = 0.0
        self.threads = ThreadPoolExecutor(1)
        self.may_write = Event()
        self.may_write.set()
        self.writing: list[Future[Written]] = []

    def start(self, folder: Path) -> None:
        self.writing = [
            self.threads.submit(self._write, folder, rank, torch.tensor([[self.number]]))
            for rank in (0, 1)
        ]

    def _write(self, folder: Path, rank: int, row: torch.Tensor) -> Written:
        self.may_write.wait(60)
        return write_pieces(folder, rank, 2, {"model/w": Piece(row, (2, 1), rank)})

    def saved(self, wait: bool) -> list[Written | None]:
        return [each.result() if wait or each.done() else None for each in self.writing]

    def saver(self, root: Path, keep: int = 2) -> Saver:
        root.mkdir(exist_ok=True)
        return Saver(root, keep, self.start, self.saved)


def commit(saver: Saver, step: int, rope: Rope = YARN, stage: str = "one") -> None:
    saver.begin(stage, step, step, rope, {"drawn": step})
    saver.confirm()


def save(saver: Saver, learner: Numbers, step: int, stage: str = "one") -> None:
    learner.number = float(step)
    commit(saver, step, stage=stage)


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def last_of(root: Path) -> Checkpoint:
    last = last_checkpoint(root, print)
    assert last
    return last


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
    assert last == Checkpoint(last.folder, "one", 2, 2, YARN, {"drawn": 2})
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
            saver.remember({3: 0.25, 8: 0.5, 9: 0.5}[step], context=480)
        assert last_of(saver.root).step == step
    assert names(saver.root) == ["0008-a-00008", "0011-a-00011", "0012-a-00012", "best.json"]
    assert best_checkpoint(saver.root).step == 8
    assert json.loads((saver.root / "best.json").read_text()) == {
        "checkpoint": "0008-a-00008", "accuracy": 0.5, "context": 480,
    }  # fmt: skip
    saver.remember(0.75, context=480)
    assert names(saver.root) == ["0011-a-00011", "0012-a-00012", "best.json"]


def test_a_best_that_is_broken_is_the_best_no_more(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    save(saver, learner, 1)
    saver.remember(0.5, context=480)
    (saver.root / "0001-one-00001" / "state.json").unlink()
    save(saver, learner, 2)
    saver.remember(0.5, context=480)
    assert best_checkpoint(saver.root).step == 2


def test_an_sft_stages_own_last_until_there_is_a_later_one(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    save(saver, learner, 1)
    folder = trainer_folder(saver.root, "sft", saver.last)
    assert folder.name == "trainer-sft-after-0001-one-00001"
    for step, state in ((90, "{}"), (120, '{"cut'), (60, "{}")):
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    last = trainer_checkpoint(folder)
    assert trainer_step(last) == 90
    assert trainer_step(trainer_checkpoint(trainer_folder(saver.root, "sft", None))) == 0
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
    saver.begin("one", 2, 2, YARN, {})
    learner.saved(wait=True)  # all is written but the manifest, and then the run dies
    assert names(saver.root) == ["0001-one-00001", "0002-one-00002.partial"]
    assert last_of(saver.root).step == 1

    saver = learner.saver(saver.root)
    save(saver, learner, 3)
    assert names(saver.root) == ["0001-one-00001", "0002-one-00003"]


def test_it_is_written_while_the_learner_goes_on(tmp_path: Path) -> None:
    learner = Numbers()
    saver = learner.saver(tmp_path / "checkpoints")
    saver.confirm()  # nothing was begun
    learner.may_write.clear()
    learner.number = 1.0
    saver.begin("one", 1, 1, YARN, {})
    learner.number = 2.0
    saver.confirm(wait=False)
    assert names(saver.root) == ["0001-one-00001.partial"] and saver.last is None
    learner.may_write.set()
    saver.begin("one", 2, 2, YARN, {})  # waits for the one before
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
    of_version_1: "learner.pt: of an earlier version's format 1; this one reads format 2",
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
    assert last and last.step == 1 and weight(last) == [1.0, 1.0]
    (line,) = said
    assert line.startswith(f"passed over: {broken}: {BROKEN[breaks]}") and "\n" not in line
    assert contents(saver.root) == before
    with pytest.raises(InputError, match=str(broken)):
        read_checkpoint(broken)

    # It is left where it is.
    save(saver, learner, 2)
    assert "0002-one-00002" in names(saver.root) and last_of(saver.root).folder.name[:4] == "0003"


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
    with pytest.raises(InputError, match=r"checkpoints: no checkpoint is whole; put a copy"):
        last_checkpoint(saver.root, said.append)
    assert len(said) == 2 and contents(saver.root) == before


# A real learner.


@pytest.fixture
def actor(tiny_policy: Path) -> LearnerActor:
    return joined(tiny_policy, "float32", LearnerConfig())


def joined(policy: Path, dtype: str, config: LearnerConfig) -> LearnerActor:
    actor = LearnerActor(str(policy), dtype, config, seed=0)
    actor.join(0, "")
    return actor


def saver_of(actor: LearnerActor, root: Path) -> Saver:
    root.mkdir(parents=True, exist_ok=True)
    return Saver(root, 2, actor.save_state, lambda wait: [actor.saved(wait)])


def refused(saver: Saver, step: int) -> str:
    with pytest.raises(StoppedError) as error:
        commit(saver, step)
    assert "\n" not in str(error.value)
    return str(error.value)


def goes_on(saver: Saver, actor: LearnerActor, policy: Path) -> None:
    """From the last checkpoint, once there is room: as if nothing had been."""
    expected = actor.step(BATCH)["loss"]
    fresh = joined(policy, "float32", LearnerConfig())
    fresh.restore_state(last_of(saver.root).folder)
    assert fresh.step(BATCH)["loss"] == expected
    saver = saver_of(fresh, saver.root)
    commit(saver, 2)
    assert last_of(saver.root).step == 2
    assert not [name for name in names(saver.root) if name.endswith(".partial")]


def test_a_full_disk_stops_the_run_and_takes_nothing(
    tmp_path: Path, tiny_policy: Path, actor: LearnerActor
) -> None:
    actor.step(BATCH)
    mebibytes = sum(each.tensor.nbytes for each in actor.learner.state().values()) // 2**20 + 1
    disk = tmp_path / "disk"
    with small_disk(disk, 4 * mebibytes * 2**20):
        saver = saver_of(actor, disk / "checkpoints")
        commit(saver, 1)
        before = contents(saver.root)
        filler = disk / "filler"
        filler.write_bytes(bytes(int(2.5 * mebibytes * 2**20)))
        why = refused(saver, 2)
        assert why.startswith("checkpoint 0002-one-00002 cannot be written (learner-0-of-1")
        assert "No space left on device" in why
        assert {name: contents(saver.root)[name] for name in before} == before
        assert last_of(saver.root).step == 1
        filler.unlink()
        goes_on(saver, actor, tiny_policy)


def test_a_file_that_cannot_be_written_stops_the_run(
    tmp_path: Path, tiny_policy: Path, actor: LearnerActor
) -> None:
    actor.step(BATCH)
    saver = saver_of(actor, tmp_path / "checkpoints")
    commit(saver, 1)
    before = contents(saver.root)
    with small_files(100_000):
        assert "File too large" in refused(saver, 2)
    with small_files(10):
        assert "File too large" in refused(saver_of(actor, saver.root), 2)
    assert contents(last_of(saver.root).folder) == before
    goes_on(saver, actor, tiny_policy)


# Export.

EXPERIMENT = """
policy: {path: %s, dtype: %s, window: 256}
learner: {lora_rank: %d}
stages: {one: {kind: rl, context: 200, response: 8, steps: 3, batch: 8}}
"""


def run_of(folder: Path, policy: Path, dtype: str, lora_rank: int) -> tuple[RunDir, Config]:
    (folder / "mine.yaml").write_text(EXPERIMENT % (policy, dtype, lora_rank))
    config = load_config(folder / "mine.yaml", [f"run_dir={folder}/run"])
    return RunDir.create(config, None), config


def trained_run(folder: Path, policy: Path, dtype: str = "float32", lora_rank: int = 0) -> RunDir:
    """Three checkpoints, the first of them the best, and the policy at the end."""
    run, config = run_of(folder, policy, dtype, lora_rank)
    actor = joined(policy, dtype, config.learner)
    saver = saver_of(actor, run.checkpoints)
    for step, rope in ((1, NATIVE), (2, NATIVE), (3, YARN)):
        actor.stretch(rope)
        actor.step(BATCH)
        commit(saver, step, rope)
        saver.remember(1 / step, 200)
    actor.save_policy(run.policy)
    return run


def policy_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("dtype", "lora_rank"), [("float32", 0), ("bfloat16", 0), ("float32", 4)])
def test_an_exported_policy_is_the_runs_own(
    tmp_path: Path, tiny_policy: Path, dtype: str, lora_rank: int
) -> None:
    run = trained_run(tmp_path, tiny_policy, dtype, lora_rank)
    outs = [tmp_path / "of the run", tmp_path / "of the last"]
    export(run.root, outs[0], False, print)
    export(run.checkpoints / "0003-one-00003", outs[1], False, print)
    for out in outs:
        assert policy_in(out) == policy_in(run.policy)


def test_a_mixture_of_experts_is_exported(tmp_path: Path, tiny_moe_policy: Path) -> None:
    run = trained_run(tmp_path, tiny_moe_policy)
    export(run.root, tmp_path / "out", False, print)
    assert policy_in(tmp_path / "out") == policy_in(run.policy)


def test_the_best_is_exported_with_its_own_rope(tmp_path: Path, tiny_policy: Path) -> None:
    run = trained_run(tmp_path, tiny_policy)
    assert export(run.root, tmp_path / "out", True, print).step == 1
    best, last = policy_in(tmp_path / "out"), policy_in(run.policy)
    assert best["model.safetensors"] != last["model.safetensors"]
    assert json.loads(best["config.json"])["max_position_embeddings"] == NATIVE.limit


def test_a_broken_checkpoint_is_not_exported(tmp_path: Path, tiny_policy: Path) -> None:
    run = trained_run(tmp_path, tiny_policy)
    broken = run.checkpoints / "0003-one-00003"
    (broken / "learner-0-of-1.safetensors").unlink()
    with pytest.raises(InputError, match=r"0003-one-00003: learner-0-of-1.safetensors: missing"):
        export(broken, tmp_path / "out", False, print)
    said: list[str] = []
    assert export(run.root, tmp_path / "out", False, said.append).step == 2
    assert len(said) == 1 and "0003-one-00003" in said[0]


def test_what_cannot_be_exported_is_refused(tmp_path: Path, tiny_policy: Path) -> None:
    run, _ = run_of(tmp_path, tiny_policy, "float32", 0)

    def refusal(where: Path, out: Path, best: bool) -> str:
        with pytest.raises(InputError) as error:
            export(where, out, best, print)
        return str(error.value)

    out = tmp_path / "out"
    assert refusal(run.root, out, False) == f"{run.root}: has no checkpoint yet"
    assert "best.json, for no stage" in refusal(run.root, out, True)
    assert refusal(tmp_path / "none", out, False) == f"{tmp_path}/none: no such checkpoint or run"
    assert "--best: goes with a run" in refusal(run.checkpoints, out, True)
    assert "holds no run" in refusal(tmp_path, out, False)
    assert (
        refusal(run.root, run.root, False)
        == f"--out={run.root}: is there already; name a new folder"
    )
    assert not out.exists()


def test_a_policy_that_has_no_room_or_no_origin_is_refused(
    tmp_path: Path, tiny_policy: Path
) -> None:
    policy = shutil.copytree(tiny_policy, tmp_path / "policy")
    run, out = trained_run(tmp_path, policy), tmp_path / "out"
    with small_files(100_000), pytest.raises(InputError, match=r"--out=.*out: .*File too large"):
        export(run.root, out, False, print)
    export(run.root, out, False, print)
    assert policy_in(out) == policy_in(run.policy) and not (tmp_path / "out.partial").exists()
    shutil.rmtree(policy)
    with pytest.raises(InputError, match=f"policy.path={policy}: no policy there"):
        export(run.root, tmp_path / "again", False, print)
