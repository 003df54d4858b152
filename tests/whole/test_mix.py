"""experiments/mix_tiny.yaml, smaller: a policy trained on real and synthetic sources together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import ROOT, Command

SOURCES = ("tatqa", "hotpotqa", "xquad", "needles", "ordering")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (ROOT.parent / "shared" / "data").is_dir(), reason="needs ../shared/data"
    ),
]


def test_three_real_and_two_synthetic_sources(
    tmp_path: Path, start: Callable[..., Command]
) -> None:
    run = tmp_path / "mix"
    command = start(
        "train", str(ROOT / "experiments" / "mix_tiny.yaml"), f"run_dir={run}",
        "policy.tiny={layers: 1, hidden: 64, intermediate: 128, heads: 2, kv_heads: 1}",
        "data.sft.0.examples=32", "data.sft.1.examples=32",
        *(f"data.train.{i}.examples=10" for i in range(5)),
        "stages.phase1.steps=2", "stages.phase1.batch=20", "stages.phase1.group=4",
        "stages.phase1.sampler={balance: [source]}", "stages.phase1.response=24",
        "evaluation.examples=4", "rollout.kv_cache_gb=0.5", "rollout.threads=1",
        "learner.threads=1",
    )  # fmt: skip
    assert command.ended() == 0, command.output.read_text()
    *_, last = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert {name: last[f"draws_source/{name}"] for name in SOURCES} == dict.fromkeys(SOURCES, 2)
    assert last["engine_learner_kl"] < 1e-5
    records = (run / "rollouts" / "phase1-00002.jsonl").read_text().splitlines()
    rollouts = [json.loads(record) for record in records]
    assert {rollout["source"] for rollout in rollouts} == set(SOURCES)
    lengths = {r["prompt_tokens"] for r in rollouts if r["source"] == "hotpotqa"}
    assert all(0.98 * 1400 <= length <= 1400 for length in lengths)
    assert (run / "policy" / "model.safetensors").is_file()
