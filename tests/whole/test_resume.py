"""Runs that are stopped, killed or damaged and resumed end the same; a guard stops a run."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import Command
from tests.disks import small_disk
from tests.small import PLAIN, assert_same, lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_run_that_is_killed_and_interrupted_ends_the_same(
    whole: tuple[Path, str], experiment: Path, start: Callable[..., Command]
) -> None:
    run = experiment.parent / "stopped"
    killed = start("train", str(experiment), f"run_dir={run}")
    own = run / "checkpoints" / "trainer-sft-after-nothing"
    killed.wait_for((own / "checkpoint-30" / "MANIFEST.json").exists)
    killed.process.kill()
    # Ray's own agents take a minute to notice, but the run can be resumed at once.
    assert killed.process.wait() == -signal.SIGKILL
    assert not (run / "policy").exists()

    killed = start("resume", str(run))
    from_sft = re.compile(r"continuing from step \d+0 of sft")
    killed.wait_for(lambda: bool(from_sft.search(killed.output.read_text())))
    killed.wait_for((run / "checkpoints" / "0005-phase2-00002").exists)
    killed.process.kill()
    assert killed.process.wait() == -signal.SIGKILL
    assert not own.exists()

    interrupted = start("resume", str(run))
    interrupted.wait_for(lambda: any("ray::" in line for line in interrupted.left()))
    os.killpg(interrupted.process.pid, signal.SIGINT)  # as Ctrl-C does
    assert interrupted.ended() == 130
    printed = interrupted.output.read_text()
    assert printed.endswith(f"qwenlong: stopped by Ctrl-C; continue with `qwenlong resume {run}`\n")
    assert printed.count("qwenlong: stopping\n") == 1 and "Traceback" not in printed

    resumed = start("resume", str(run))
    assert resumed.ended() == 0, resumed.output.read_text()
    assert "continuing from step 2 of phase2" in resumed.output.read_text()

    assert_same(run, whole[0])


def test_a_run_with_a_damaged_checkpoint_and_a_full_disk_resumes_from_the_one_before(
    whole: tuple[Path, str], start: Callable[..., Command]
) -> None:
    checkpoint = whole[0] / "checkpoints" / "0005-phase2-00002"
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    own = sum(path.stat().st_size for path in whole[0].rglob("*") if path.is_file())
    disk = whole[0].parent / "disk"
    with small_disk(disk, own + 8 * size):
        run = shutil.copytree(whole[0], disk / "run")
        shutil.rmtree(run / "policy")
        # The disk guard would stop the run before the disk is full.
        config = run / "config.yaml"
        config.write_text(config.read_text().replace("disk: stop", "disk: warn"))
        for name in ("phase2-00003", "phase2-eval"):
            (run / "rollouts" / f"{name}.jsonl").unlink()
        broken = run / "checkpoints" / "0006-phase2-00003"
        with (broken / "learner-0-of-1.safetensors").open("r+b") as file:
            file.truncate(1000)
        filler = disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - size // 2))

        full = start("resume", str(run))
        assert full.ended() == 1, full.output.read_text()
        printed = full.output.read_text()
        assert f"skipped: {broken}: learner-0-of-1.safetensors: has 1,000 bytes, not" in printed
        assert "continuing from step 2 of phase2" in printed and broken.exists()
        assert "stopped: checkpoint 0007-phase2-00003 cannot be written (learner-0-of" in printed
        assert "No space left on device" in printed and "Traceback" not in printed

        filler.unlink()
        resumed = start("resume", str(run))
        assert resumed.ended() == 0, resumed.output.read_text()
        assert "continuing from step 2 of phase2" in resumed.output.read_text()
        assert_same(run, whole[0])
        assert (run / "checkpoints" / "0007-phase2-00003").exists()


def test_a_run_that_a_guard_stopped_resumes_once_the_cause_is_fixed(
    experiment: Path, start: Callable[..., Command]
) -> None:
    """Engine and learner differ by rounding, and an untrained policy gets no reward."""
    run = experiment.parent / "guarded"
    command = start(
        "train", str(experiment), f"run_dir={run}", "stages.sft=null", *PLAIN, "stages.phase2=null",
        "stages.phase1.steps=2", "evaluation.examples=2", "guards.engine_kl=stop",
        "guards.engine_kl_above=0", "guards.entropy_below=100", "guards.reward_zero_steps=2",
    )  # fmt: skip
    assert command.ended() == 1, command.output.read_text()
    printed = command.output.read_text()
    assert "step 1 of phase1: guards.entropy=warn: entropy is" in printed
    last = printed.rstrip().split("\n")[-1]
    begin = "qwenlong: stopped: step 1 of phase1: guards.engine_kl=stop: engine and learner differ"
    assert last.startswith(begin) and "Traceback" not in printed
    named = (
        r"most in examples train-\d+ \(\S+\), train-\d+ \(\S+\), train-\d+ \(\S+\); 2 updates left"
    )
    assert re.search(named, last), last
    (stopped,) = lines(run / "metrics.jsonl")
    assert stopped["updates_left_out"] == 2 and stopped["engine_learner_kl"] > 0
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("engine_kl: stop", "engine_kl: warn"))
    resumed = start("resume", str(run))
    assert resumed.ended() == 0, resumed.output.read_text()
    printed = resumed.output.read_text()
    assert printed.count("guards.engine_kl=warn: engine and learner differ by") == 2
    assert "step 2 of phase1: guards.reward=warn: no reward in 2 steps in a row" in printed
    again = lines(run / "metrics.jsonl")
    assert [line["updates_left_out"] for line in again] == [0, 0]
    assert again[0]["loss"] == stopped["loss"]
