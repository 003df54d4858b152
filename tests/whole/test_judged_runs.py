"""Whole runs with a judge: on the run's own engines, over HTTP, and unreachable."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from qwenlong.config import TinyConfig
from qwenlong.data.prompts import training_texts
from qwenlong.model.tiny import build_tiny
from qwenlong.types import Example
from tests.command import Command
from tests.judge_server import DEAD_PROXY, MODEL, Handler, honest, says, sends, serving, shown
from tests.small import PLAIN, lines

REWARDS = "rewards.by_source=[{source: '*', combine: judge}]"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def adapted(
    experiment: Path, start: Callable[..., Command], examples: list[Example]
) -> tuple[Path, str]:
    """A run with adapters, DAPO, a reference and a judge on its engines, and what it printed."""
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_judge_over_http_that_fails_now_and_then(
    experiment: Path, start: Callable[..., Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it gives no verdict on is dropped: not a 0, and nobody learns from it.

    Killed and gone on with, the run asks for nothing twice and books nothing twice.
    """
    monkeypatch.setenv("http_proxy", DEAD_PROXY)
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
    assert "continuing from step 1 of phase1" in resumed.output.read_text()
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
