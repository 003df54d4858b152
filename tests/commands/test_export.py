"""A real learner's checkpoints: a disk that is full, and policies exported as policy/ is."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from qwenlong.commands.export import export
from qwenlong.config import Config, LearnerConfig
from qwenlong.config.reading import load_config
from qwenlong.disk.manifest import Written
from qwenlong.learner.actor import LearnerActor
from qwenlong.runs.checkpoints import Saver
from qwenlong.runs.directory import RunDir
from qwenlong.types import Batch, InputError, StoppedError
from tests.arrays import row
from tests.disks import small_disk, small_files
from tests.saving import NATIVE, YARN, commit, contents, last_of, names

ROW = row([5, 6], [[7, 8], [9]], [[-3.0, -3.0], [-3.0]], [1.0, -1.0])
BATCH = Batch((ROW,), 1, 1e-2, 8)
EXPERIMENT = """
policy: {path: %s, dtype: %s, window: 256}
learner: {lora_rank: %d}
stages: {one: {kind: rl, context: 200, response: 8, steps: 3, batch: 8}}
"""


@pytest.fixture
def actor(tiny_policy: Path) -> LearnerActor:
    return joined(tiny_policy, "float32", LearnerConfig())


def joined(policy: Path, dtype: str, config: LearnerConfig) -> LearnerActor:
    actor = LearnerActor(str(policy), dtype, config, seed=0)
    actor.join(0, "")
    return actor


@dataclass(frozen=True)
class Alone:
    """A learner of one process, as the driver has it."""

    actor: LearnerActor

    def save_state(self, folder: Path) -> None:
        self.actor.save_state(folder)

    def saved(self, wait: bool) -> list[Written | None]:
        return [self.actor.saved(wait)]


def saver_of(actor: LearnerActor, root: Path) -> Saver:
    root.mkdir(parents=True, exist_ok=True)
    return Saver(root, 2, Alone(actor))


def refused(saver: Saver, step: int) -> str:
    with pytest.raises(StoppedError) as error:
        commit(saver, step)
    assert "\n" not in str(error.value)
    return str(error.value)


def goes_on(saver: Saver, actor: LearnerActor, policy: Path) -> None:
    """From the last checkpoint, once there is room: as if nothing had been."""
    expected = actor.step(BATCH).metrics["loss"]
    fresh = joined(policy, "float32", LearnerConfig())
    fresh.restore_state(last_of(saver.root).folder)
    assert fresh.step(BATCH).metrics["loss"] == expected
    saver = saver_of(fresh, saver.root)
    commit(saver, 2)
    assert last_of(saver.root).state.step == 2
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
        assert last_of(saver.root).state.step == 1
        filler.unlink()
        goes_on(saver, actor, tiny_policy)


def test_a_policy_for_which_there_is_no_room_stops_the_run(
    tmp_path: Path, actor: LearnerActor
) -> None:
    with (
        small_files(100_000),
        pytest.raises(StoppedError, match=r"policy cannot be written \(.*File too large"),
    ):
        actor.save_policy(tmp_path / "policy")


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
        actor.set_rope(rope)
        actor.step(BATCH)
        commit(saver, step, rope)
        saver.note_accuracy(1 / step, 200)
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
    assert "no best.json; it is there once" in refusal(run.root, out, True)
    assert refusal(tmp_path / "none", out, False) == f"{tmp_path}/none: no such checkpoint or run"
    assert "--best: goes with a run" in refusal(run.checkpoints, out, True)
    assert "neither a run nor a checkpoint" in refusal(tmp_path, out, False)
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
    with (
        small_files(100_000),
        pytest.raises(InputError, match=r"--out=.*out cannot .*File too large"),
    ):
        export(run.root, out, False, print)
    export(run.root, out, False, print)
    assert policy_in(out) == policy_in(run.policy) and not (tmp_path / "out.partial").exists()
    shutil.rmtree(policy)
    with pytest.raises(InputError, match=f"policy.path={policy}: no policy there"):
        export(run.root, tmp_path / "again", False, print)
