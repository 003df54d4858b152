"""The whole thing, small and real: one run undisturbed, and one stopped twice and gone on with."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwenlong.config import TinyConfig
from qwenlong.data.prompts import training_texts
from qwenlong.learner.storage import StoredTensors
from qwenlong.model.tiny import build_tiny
from qwenlong.types import Example
from tests.command import Command
from tests.disks import small_disk
from tests.judge_server import MODEL, Handler, honest, says, sends, serving, shown
from tests.small import assert_same, lines

STAGES = ["untrained", "sft", "phase1", "polish", "phase2"]
CONTEXTS = ["200", "480"]
METRICS = {
    "stage", "kind", "step", "version", "reward_mean", "reward_std", "zero_variance_share",
    "prompt_tokens_mean", "response_tokens_mean", "truncated_share", "entropy", "clip_share",
    "engine_learner_kl", "grad_norm", "loss", "rollout_tokens_per_s", "learner_tokens_per_s",
    "tokens_per_s", "seconds_rollout", "seconds_score", "seconds_learn", "seconds_load",
    "seconds_step", "peak_memory_gb",
}  # fmt: skip

pytestmark = pytest.mark.timeout(600)


def test_every_part_leaves_its_file(whole: tuple[Path, str]) -> None:
    run, _ = whole
    there = {path.name for path in run.iterdir()}
    assert there >= {
        "config.yaml", "metrics.jsonl", "rollouts", "checkpoints", "policy", "summary.json",
        "report.html", "logs",
    }  # fmt: skip
    assert not list(run.rglob("*.partial")) and not list(run.glob("checkpoints/trainer-*"))
    checkpoints = {path.name for path in (run / "checkpoints").iterdir()}
    best = json.loads((run / "checkpoints" / "best.json").read_text())["checkpoint"]
    assert checkpoints == {"0005-phase2-00002", "0006-phase2-00003", best, "best.json"}


def test_the_best_checkpoint_is_of_the_most_accurate_stage(whole: tuple[Path, str]) -> None:
    run, _ = whole
    best = json.loads((run / "checkpoints" / "best.json").read_text())
    stages = json.loads((run / "summary.json").read_text())["stages"][1:]
    accuracy = [stage["accuracy"][CONTEXTS[-1]]["value"] for stage in stages]
    first = stages[accuracy.index(max(accuracy))]["name"]
    assert best["checkpoint"].split("-")[1] == first
    assert (best["accuracy"], best["context"]) == (max(accuracy), int(CONTEXTS[-1]))


def test_a_line_a_step_with_all_its_metrics(whole: tuple[Path, str]) -> None:
    logged = lines(whole[0] / "metrics.jsonl")
    rl = [line for line in logged if line["kind"] == "rl"]
    assert [(line["stage"], line["step"]) for line in rl] == [
        (phase, step) for phase in ("phase1", "phase2") for step in (1, 2, 3)
    ]
    for line in rl:
        assert line.keys() >= METRICS, METRICS - line.keys()
        assert 0 <= line["engine_learner_kl"] < 1e-5
        assert line["grad_norm"] > 0 and line["entropy"] > 0
    assert [line["version"] for line in rl] == [2, 3, 4, 6, 7, 8]
    assert any(line["reward_std"] > 0 for line in rl if line["stage"] == "phase1")
    assert any(line["reward_std"] > 0 for line in rl if line["stage"] == "phase2")
    sft = [line for line in logged if line["stage"] == "sft"]
    assert len(sft) >= 3 and sft[-1]["loss"] < sft[0]["loss"] / 3


def test_every_rollout_is_kept_with_its_score(whole: tuple[Path, str]) -> None:
    rollouts = whole[0] / "rollouts"
    for line in lines(whole[0] / "metrics.jsonl"):
        if line["kind"] != "rl":
            continue
        records = lines(rollouts / f"{line['stage']}-{line['step']:05d}.jsonl")
        # What was sampled, and what waited since the step before.
        assert len(records) == 8 * (line["gate_sampled"] + line["gate_carried_in"]) >= 32
        sampled = [r["score"]["value"] for r in records if r["version"] == line["version"] - 1]
        assert sum(sampled) / len(sampled) == pytest.approx(line["reward_mean"])
        aside, records = records[32:], records[:32]
        assert all(record["advantage"] is None for record in aside)
        # Groups that waited are of the version before.
        waited = sum(record["version"] == line["version"] - 2 for record in records)
        assert waited == 8 * line["gate_carried_in"]
        assert {record["version"] for record in records} <= {line["version"] - n for n in (1, 2)}
        longer = sum(record["prompt_tokens"] > 200 for record in records)
        assert longer in ((0,) if line["stage"] == "phase1" else (16, 24, 32))
        assert all(record["score"]["breakdown"]["why"] for record in records)
        for first in range(0, 32, 8):
            group = records[first : first + 8]
            assert len({record["id"] for record in group}) == 1
            assert sum(record["advantage"] for record in group) == pytest.approx(0, abs=1e-9)
    for stage in STAGES:
        records = lines(rollouts / f"{stage}-eval.jsonl")
        assert [str(record["context"]) for record in records] == ["200"] * 8 + ["480"] * 8
        assert all(record["id"].startswith("held_out-") for record in records)


def test_the_curriculum_shows_in_the_metrics(whole: tuple[Path, str]) -> None:
    rl = [line for line in lines(whole[0] / "metrics.jsonl") if line["kind"] == "rl"]
    drawn = [sum(v for k, v in line.items() if k.startswith("draws_source/")) for line in rl]
    for line in rl:
        assert line["gate_sampled"] + line["gate_carried_in"] >= 4 and line["gate_refills"] <= 2
        assert line["aepo_masking"] in (0.0, 1.0)
        rates = [v for k, v in line.items() if k.startswith("pool_pass_rate/")]
        assert sum(rates) == line["pool"] > 0
    sampled = [line["gate_sampled"] for line in rl]
    assert drawn == [*accumulate(sampled[:3]), *accumulate(sampled[3:])]


def test_the_policy_learns_from_its_own_right_rollouts(whole: tuple[Path, str]) -> None:
    _, printed = whole
    (said,) = re.findall(r"polish: learns from (\d+) rollouts of its own", printed)
    steps = [line for line in lines(whole[0] / "metrics.jsonl") if line["stage"] == "polish"]
    assert len(steps) == math.ceil(int(said) / 4) > 0


def test_the_summary(whole: tuple[Path, str]) -> None:
    summary = json.loads((whole[0] / "summary.json").read_text())
    assert [stage["name"] for stage in summary["stages"]] == STAGES
    assert [stage["kind"] for stage in summary["stages"]][1:] == ["sft", "rl", "sft", "rl"]
    for stage in summary["stages"]:
        assert stage["accuracy"].keys() == set(CONTEXTS)
        assert all(at["n"] == 8 and 0 <= at["value"] <= 1 for at in stage["accuracy"].values())
        assert stage["name"] == "untrained" or stage["seconds"] > 0
        assert stage["evaluation_seconds"] > 0
    kl = [line.get("engine_learner_kl", 0.0) for line in lines(whole[0] / "metrics.jsonl")]
    assert summary["engine_learner_kl_max"] == max(kl)


def test_the_report_is_one_file_without_network(whole: tuple[Path, str]) -> None:
    html = (whole[0] / "report.html").read_text()
    assert all(stage in html for stage in STAGES)
    reaching = r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|url\(["']?(?:https?:)?//|@import|<link"""
    assert not re.search(reaching, html)


def test_the_policy_loads_with_its_yarn(whole: tuple[Path, str]) -> None:
    run, _ = whole
    policy = AutoModelForCausalLM.from_pretrained(run / "policy")
    assert policy.config.rope_parameters["rope_type"] == "yarn"
    assert policy.config.rope_parameters["factor"] == 2.0
    assert policy.config.max_position_embeddings == 512
    stored = StoredTensors(run / "checkpoints/0006-phase2-00003")
    for name, tensor in policy.state_dict().items():
        assert name == "lm_head.weight" or torch.equal(tensor, stored.whole(f"model/{name}"))
    tokenizer = AutoTokenizer.from_pretrained(run / "policy")
    assert tokenizer.decode(tokenizer.encode("Who is it?")) == "Who is it?"


def test_the_last_checkpoint_is_exported_as_the_policy(
    whole: tuple[Path, str], start: Callable[..., Command]
) -> None:
    run, _ = whole
    out = run.parent / "exported"
    command = start("export", str(run), "--out", str(out))
    assert command.ended() == 0, command.output.read_text()
    assert command.output.read_text() == f"{out}: step 3 of phase2\n"
    assert {path.name for path in out.iterdir()} == {
        path.name for path in (run / "policy").iterdir()
    }
    for path in out.iterdir():
        assert path.read_bytes() == (run / "policy" / path.name).read_bytes(), path.name
    again = start("export", str(run / "checkpoints/0005-phase2-00002"), "--out", str(out))
    assert again.ended() == 2
    assert (
        again.output.read_text() == f"qwenlong: --out={out}: is there already; name a new folder\n"
    )


def test_a_full_disk_is_one_line(whole: tuple[Path, str], start: Callable[..., Command]) -> None:
    command = start("report", str(whole[0]), "--out", "/dev/full")
    assert command.ended() == 1
    assert command.output.read_text() == (
        "qwenlong: stopped: No space left on device; once there is room, `qwenlong resume` goes on"
        " with a run\n"
    )


def test_only_progress_is_printed_and_chatter_goes_to_files(whole: tuple[Path, str]) -> None:
    run, printed = whole
    assert "phase2" in printed and str(run / "report.html") in printed
    assert not re.search(r"INFO|WARNING|Warning|raylet|vllm\.|\x1b|it/s", printed), printed
    assert {path.name for path in (run / "logs").iterdir()} >= {"learner-0.log", "rollout-0.log"}
    assert (run / "logs" / "rollout-0.log").stat().st_size > 0


def test_a_run_killed_and_interrupted_ends_as_if_it_had_not_been(
    whole: tuple[Path, str], experiment: Path, start: Callable[..., Command]
) -> None:
    run = experiment.parent / "stopped"
    killed = start("train", str(experiment), f"run_dir={run}")
    own = run / "checkpoints" / "trainer-sft-after-nothing"
    killed.wait_for((own / "checkpoint-30" / "trainer_state.json").exists)
    killed.process.kill()
    # Ray's own agents take a minute to notice; the run can be gone on with at once.
    assert killed.process.wait() == -signal.SIGKILL
    assert not (run / "policy").exists()

    killed = start("resume", str(run))
    killed.wait_for((run / "checkpoints" / "0005-phase2-00002").exists)
    killed.process.kill()
    assert killed.process.wait() == -signal.SIGKILL
    assert not own.exists()

    interrupted = start("resume", str(run))
    interrupted.wait_for(lambda: any("ray::" in line for line in interrupted.left()))
    os.killpg(interrupted.process.pid, signal.SIGINT)  # as Ctrl-C does
    assert interrupted.ended() in (1, 130)
    assert "Traceback" not in interrupted.output.read_text()

    resumed = start("resume", str(run))
    assert resumed.ended() == 0, resumed.output.read_text()
    assert "going on from step 2 of phase2" in resumed.output.read_text()

    assert_same(run, whole[0])


def test_a_run_with_a_broken_checkpoint_and_a_full_disk_goes_on_from_the_one_before(
    whole: tuple[Path, str], start: Callable[..., Command]
) -> None:
    checkpoint = whole[0] / "checkpoints" / "0005-phase2-00002"
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    own = sum(path.stat().st_size for path in whole[0].rglob("*") if path.is_file())
    disk = whole[0].parent / "disk"
    with small_disk(disk, own + 8 * size):
        run = shutil.copytree(whole[0], disk / "run")
        shutil.rmtree(run / "policy")
        # Its guard would see to the disk first.
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
        assert f"passed over: {broken}: learner-0-of-1.safetensors: has 1,000 bytes, not" in printed
        assert "going on from step 2 of phase2" in printed and broken.exists()
        assert "stopped: checkpoint 0007-phase2-00003 cannot be written (learner-0-of" in printed
        assert "No space left on device" in printed and "Traceback" not in printed

        filler.unlink()
        resumed = start("resume", str(run))
        assert resumed.ended() == 0, resumed.output.read_text()
        assert "going on from step 2 of phase2" in resumed.output.read_text()
        assert_same(run, whole[0])
        assert (run / "checkpoints" / "0007-phase2-00003").exists()


def test_a_step_made_again_is_the_same(
    whole: tuple[Path, str], start: Callable[..., Command]
) -> None:
    """From far before: a phase, SFT on own rollouts, and the next phase's first step."""
    run, _ = whole
    files = [path for path in run.rglob("*") if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}
    command = start("replay", str(run), "--stage", "phase2", "--step", "1")
    assert command.ended() == 0, command.output.read_text()
    printed = command.output.read_text()
    # The best checkpoint, or none, stands before phase2.
    assert "step 1 of phase2 is made again from " in printed
    assert "all steps between are trained again" in printed
    for stage, step in (("phase1", 1), ("phase1", 2), ("phase1", 3), ("phase2", 1)):
        kept = len(lines(run / "rollouts" / f"{stage}-{step:05d}.jsonl"))
        assert f"step {step} of {stage}: all {kept} rollouts are equal" in printed
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files} == before


def test_a_guard_stops_a_run_which_goes_on_once_it_is_mended(
    experiment: Path, start: Callable[..., Command]
) -> None:
    """Engine and learner are never quite the same, and a policy that knows nothing earns none."""
    run = experiment.parent / "guarded"
    command = start(
        "train", str(experiment), f"run_dir={run}", "stages.sft=null", *PLAIN, "stages.phase2=null",
        "stages.phase1.steps=2", "evaluation.examples=2", "guards.engine_kl=stop",
        "guards.engine_kl_above=0", "guards.entropy_below=100", "guards.reward_zero_steps=2",
    )  # fmt: skip
    assert command.ended() == 1, command.output.read_text()
    printed = command.output.read_text()
    assert "step 1 of phase1: guards.entropy=warn: entropy is" in printed
    told = printed.rstrip().split("\n")[-1]
    begin = "qwenlong: stopped: step 1 of phase1: guards.engine_kl=stop: engine and learner differ"
    assert told.startswith(begin) and "Traceback" not in printed
    named = (
        r"most in examples train-\d+ \(\S+\), train-\d+ \(\S+\), train-\d+ \(\S+\); 2 updates left"
    )
    assert re.search(named, told), told
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


PLAIN = ("stages.polish=null", "stages.phase1.refill=0", "stages.phase2.sampler={replay: 0.0}")
"""The experiment without its curriculum."""
REWARDS = "rewards.by_source=[{source: '*', combine: judge}]"


@pytest.fixture(scope="module")
def adapted(
    experiment: Path, start: Callable[..., Command], examples: list[Example]
) -> tuple[Path, str]:
    """A run with adapters, DAPO, a reference and a judge on engines, and what it printed."""
    run, folder = experiment.parent / "adapted", experiment.parent / "judge"
    small = TinyConfig(layers=1, hidden=64, intermediate=128, heads=2, kv_heads=1)
    build_tiny(folder, training_texts(examples), small, 4096, seed=0)
    command = start(
        "train", str(experiment), f"run_dir={run}", "learner.lora_rank=4", "learner.lora_alpha=8",
        "learner.objective=dapo", "learner.kl_coefficient=0.05", "learner.overlong_buffer=8",
        "learner.importance_cap=2", "learner.max_tokens=600", REWARDS, "rewards.unjudged=rule",
        f"rewards.judge={{model: {folder}, attempts: 1, reply_tokens: 8}}",
        "rewards.judge.engine={kv_cache_gb: 0.5, threads: 1}", "evaluation.examples=2", *PLAIN,
    )  # fmt: skip
    assert command.ended() == 0, command.output.read_text()
    return run, command.output.read_text()


def test_adapters_dapo_and_a_reference_in_a_whole_run(adapted: tuple[Path, str]) -> None:
    """The engine has the adapters merged in, in every step; so has the policy that is saved."""
    run, _ = adapted
    rl = [line for line in lines(run / "metrics.jsonl") if line["kind"] == "rl"]
    assert len(rl) == 6
    for line in rl:
        assert line["engine_learner_kl"] < 1e-5 and line["kl"] >= 0
        assert line["importance_weight"] == pytest.approx(1, abs=1e-3)
    assert rl[-1]["kl"] > 0 and any(line["grad_norm"] > 0 for line in rl)
    first, last = (
        AutoModelForCausalLM.from_pretrained(run / name).state_dict()
        for name in ("initial_policy", "policy")
    )
    assert first.keys() == last.keys()
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert changed == {name for name in first if name.endswith("_proj.weight")}


def test_a_judge_on_engines_of_the_run(adapted: tuple[Path, str]) -> None:
    """One that never learned to write a verdict: the rule decides, and it is said so."""
    run, printed = adapted
    assert f"rewards.judge.model={run.parent / 'judge'}: gives no verdict:" in printed
    assert (run / "logs" / "judge-0.log").stat().st_size > 0
    told = [
        record["score"]["breakdown"]
        for stage in ("phase1", "phase2")
        for record in lines(run / "rollouts" / f"{stage}-00001.jsonl")
    ]
    unjudged = [each for each in told if "unjudged" in each]
    assert unjudged and all(each["unjudged"] == "rule" for each in unjudged)
    reasons = ("the reply was cut off", "no verdict in the reply")
    assert all(any(why in each["why"] for why in reasons) for each in unjudged)


def test_a_judge_over_http_that_fails_now_and_then(
    experiment: Path, start: Callable[..., Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it gives no verdict on is dropped: not a 0, and nobody learns from it.

    Killed and gone on with, the run asks for nothing twice and books nothing twice.
    """
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    run = experiment.parent / "judged"

    def behave(handler: Handler, body: dict[str, Any], number: int) -> None:
        answer, golds, _ = shown(body)
        if (answer, golds) == ("delo", ["bara"]):
            sends(handler, 500, b"overloaded")
        else:
            says(handler, honest(body))

    with serving() as server:
        server.behave = behave
        killed = start(
            "train", str(experiment), f"run_dir={run}", REWARDS, "rewards.unjudged=drop",
            f"rewards.judge={{model: {MODEL}, url: '{server.url}', attempts: 1}}",
            "evaluation.examples=2", "stages.phase1.steps=1", "stages.phase2.steps=3",
            "checkpoint.every=9", *PLAIN,
        )  # fmt: skip
        killed.wait_for((run / "rollouts" / "phase2-00001.jsonl").exists)
        killed.process.kill()
        assert killed.process.wait() == -signal.SIGKILL
        before = (run / "rollouts" / "phase2-00001.jsonl").read_text()
        resumed = start("resume", str(run))
        assert resumed.ended() == 0, resumed.output.read_text()
        asked = [shown(body)[:2] for body in server.bodies]
    assert "going on from step 1 of phase1" in resumed.output.read_text()
    told = r"responses got no verdict of the judge: (?:control: )?status 500: overloaded"
    assert re.search(told, killed.output.read_text())
    assert (run / "rollouts" / "phase2-00001.jsonl").read_text() == before
    dropped = 0
    rl = [line for line in lines(run / "metrics.jsonl") if line["kind"] == "rl"]
    for line in rl:
        records = lines(run / "rollouts" / f"{line['stage']}-{line['step']:05d}.jsonl")
        judged = [record for record in records if record["score"]["value"] is not None]
        assert line["unjudged_share"] == pytest.approx(1 - len(judged) / 32)
        values = [record["score"]["value"] for record in judged]
        assert line["reward_mean"] == pytest.approx(sum(values) / len(values))
        for record in records:
            told = record["score"]["breakdown"]
            left_out = record not in judged
            assert left_out == ("unjudged" in told) == (record["advantage"] is None)
            # The control of a right "delo" may be the other example's "bara".
            if left_out:
                assert told["extracted"] == "delo" and "status 500" in told["judge_why"]
            elif told.get("extracted") == "delo":
                assert record["answers"] == ["delo"]
        dropped += 32 - len(judged)
    assert dropped > 0
    # What it did give a verdict on, it was asked for once, the run's death or not.
    once = [json.dumps(case) for case in asked if case != ("delo", ["bara"]) and case[0] != "two"]
    assert len(once) == len(set(once)) > 0
    assert (run / "judge.sqlite").is_file()
    # All but the probes were booked; what was under way when the run was killed may be.
    assert abs(len(asked) - 2 - rl[-1]["judge_calls"]) <= 4
    assert rl[-1]["judge_tokens"] > 0


def test_a_judge_that_is_not_there_stops_a_run_before_it_starts(
    experiment: Path, start: Callable[..., Command]
) -> None:
    run = experiment.parent / "unjudged"
    away = "{model: m, url: 'http://127.0.0.1:9/v1', attempts: 1}"
    command = start("train", str(experiment), f"run_dir={run}", REWARDS, f"rewards.judge={away}")
    assert command.ended() == 2
    told = command.output.read_text().strip()
    assert told.startswith("qwenlong: rewards.judge.model=m: gives no verdict: ConnectError")
    assert "\n" not in told and not run.exists()
