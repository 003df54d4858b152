"""A small experiment that uses every part, and a test that two of its runs are the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

EXPERIMENT = """
policy:
  path: tiny
  dtype: float32
  window: 256
  tiny: {layers: 2, hidden: 64, intermediate: 128, heads: 2, kv_heads: 1}
data:
  sft: [{source: jsonl, path: sft.jsonl}]
  train: [{source: jsonl, path: train.jsonl}]
  held_out: [{source: jsonl, path: held_out.jsonl}]
stages:
  sft: {kind: sft, context: 200, batch: 16, epochs: 4, learning_rate: 3e-3, checkpoint_every: 30}
  phase1:
    {kind: rl, context: 200, response: 32, steps: 3, batch: 32, mini_batch: 16, group: 8,
     learning_rate: 1e-3, refill: 2, sampler: {balance: [length], rest_solved: 1}}
  polish: {kind: sft, context: 480, yarn_factor: 2, own_rollouts: 2, batch: 4, epochs: 1}
  phase2: {kind: rl, context: 480, yarn_factor: 2, sampler: {replay: 0.25}}
rollout: {temperature: 1.0, top_p: 0.95, threads: 1}
learner: {importance_cap: 2, entropy_high: 0.2, entropy_low: 0.1, threads: 1}
evaluation: {examples: 8}
checkpoint: {every: 2}
"""

PLAIN = ("stages.polish=null", "stages.phase1.refill=0", "stages.phase2.sampler={replay: 0.0}")
"""Overrides that leave out the experiment's curriculum."""


def write_experiment(folder: Path) -> Path:
    """Writes an experiment and its data.

    The right answer is one of two names at random, so rewards vary within a group.
    """
    rng = Random(0)
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("ara", "elo", "imu", "ono", "uri")]
    for name, examples, longest in (("sft", 400, 120), ("train", 80, 400), ("held_out", 40, 400)):
        lines = [
            {
                "id": f"{name}-{i}",
                "question": "Who is it?",
                "context": " ".join(rng.choices(words, k=rng.randint(20, longest))),
                "answer": rng.choice(["bara", "delo"]),
                "reasoning": "It is written.",
            }
            for i in range(examples)
        ]
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in lines))
    path = folder / "small.yaml"
    path.write_text(EXPERIMENT)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().rstrip("\n").split("\n")]


def assert_same(run: Path, undisturbed: Path) -> None:
    """Compares two runs bit for bit, except for times and memory."""

    def lasting(line: dict[str, Any]) -> dict[str, Any]:
        timing = re.compile(r"seconds|_per_s$|peak_memory")
        return {key: value for key, value in line.items() if not timing.search(key)}

    ours, theirs = (list(map(lasting, lines(r / "metrics.jsonl"))) for r in (run, undisturbed))
    assert ours == theirs
    for kind in ("rollouts", "draws"):
        names = [sorted(path.name for path in (r / kind).iterdir()) for r in (run, undisturbed)]
        assert names[0] == names[1]
        for name in names[0]:
            text, expected = ((r / kind / name).read_text() for r in (run, undisturbed))
            assert text == expected, name
    accuracies = [
        [
            (stage["name"], stage["accuracy"])
            for stage in json.loads((r / "summary.json").read_text())["stages"]
        ]
        for r in (run, undisturbed)
    ]
    assert accuracies[0] == accuracies[1]
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (run / "policy" / file).read_bytes() == (undisturbed / "policy" / file).read_bytes()
