"""A small undisturbed run of the real thing, and everything that it writes."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwenlong.learner.distributed.storage import StoredTensors
from tests.command import Command
from tests.small import lines

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
        # Groups that were sampled, and groups that were left over by the step before.
        assert len(records) == 8 * (line["gate_sampled"] + line["gate_carried_in"]) >= 32
        sampled = [r["score"]["value"] for r in records if r["version"] == line["version"] - 1]
        assert sum(sampled) / len(sampled) == pytest.approx(line["reward_mean"])
        left, records = records[32:], records[:32]
        assert all(record["advantage"] is None for record in left)
        # What was left over was sampled by the version before.
        carried = sum(record["version"] == line["version"] - 2 for record in records)
        assert carried == 8 * line["gate_carried_in"]
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
        assert stage["accuracy_by_source"] == {"held_out": stage["accuracy"]}
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


def test_a_run_that_is_finished_is_left_as_it_is(
    whole: tuple[Path, str], start: Callable[..., Command]
) -> None:
    command = start("resume", str(whole[0]))
    assert command.ended() == 0, command.output.read_text()
    printed = command.output.read_text()
    assert printed.startswith("the run is finished") and "starting Ray" not in printed
    assert f"policy  {whole[0] / 'policy'}\n" in printed


def test_a_full_disk_is_one_line(whole: tuple[Path, str], start: Callable[..., Command]) -> None:
    command = start("report", str(whole[0]), "--out", "/dev/full")
    assert command.ended() == 1
    assert command.output.read_text() == ("qwenlong: stopped: No space left on device\n")


def test_only_progress_is_printed_and_chatter_goes_to_files(whole: tuple[Path, str]) -> None:
    run, printed = whole
    assert "phase2" in printed and str(run / "report.html") in printed
    assert not re.search(r"INFO|WARNING|Warning|raylet|vllm\.|\x1b|it/s", printed), printed
    assert {path.name for path in (run / "logs").iterdir()} >= {"learner-0.log", "rollout-0.log"}
    assert (run / "logs" / "rollout-0.log").stat().st_size > 0


@pytest.mark.slow  # trains once more
def test_a_step_made_again_is_the_same(
    whole: tuple[Path, str], start: Callable[..., Command]
) -> None:
    """From the beginning: SFT, a phase, SFT on own rollouts, and the next phase's first step."""
    run = shutil.copytree(whole[0], whole[0].parent / "replayed")
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    files = [path for path in run.rglob("*") if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}
    command = start("replay", str(run), "--stage", "phase2", "--step", "1")
    assert command.ended() == 0, command.output.read_text()
    printed = command.output.read_text()
    assert "samples step 1 of phase2 again from the beginning" in printed
    for stage, step in (("phase1", 1), ("phase1", 2), ("phase1", 3), ("phase2", 1)):
        kept = len(lines(run / "rollouts" / f"{stage}-{step:05d}.jsonl"))
        assert f"step {step} of {stage}: all {kept} rollouts are equal" in printed
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files} == before
