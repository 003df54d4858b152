"""The plan's memory is compared with what the real learner holds, part by part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qwenlong.config import LearnerConfig
from qwenlong.plan.memory import MicroBatch, Setup, largest_micro_batch, learner_peak, moments
from qwenlong.plan.shape import Shape

ROOT = Path(__file__).parents[2]
QUICKSTART = {"layers": 4, "hidden": 128, "intermediate": 384, "heads": 4, "kv_heads": 2}
WIDER = {"layers": 3, "hidden": 192, "intermediate": 448, "heads": 6, "kv_heads": 2}
GRPO: dict[str, Any] = {"kind": "grpo", "checkpointing": False, "top_p": 1.0}
SFT: dict[str, Any] = {"kind": "sft", "checkpointing": False}
POINTS: list[dict[str, Any]] = [
    QUICKSTART | GRPO | {"prompt": 2048, "response": 48, "group": 16},
    WIDER | GRPO | {"prompt": 900, "response": 64, "group": 6, "checkpointing": True, "top_p": 0.9},
    QUICKSTART | SFT | {"rows": 4, "context": 384},
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured() -> list[dict[str, float]]:
    """Bytes by part of each point, in a fresh process.

    glibc is set to return freed blocks of 64 KiB and more at once: what it would keep for later is
    not held by the learner.
    """
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "2",
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    script = Path(__file__).with_name("measuring.py")
    command = [sys.executable, str(script), json.dumps(POINTS)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def planned(point: dict[str, Any]) -> tuple[Setup, MicroBatch]:
    shape = Shape(
        point["layers"], point["hidden"], point["intermediate"], point["heads"],
        point["kv_heads"], point["hidden"] // point["heads"], 2048, tied=True, window=8192,
    )  # fmt: skip
    config = LearnerConfig(activation_checkpointing=point["checkpointing"])
    setup = Setup(shape, config, bf16=False, on_cpu=True)
    if point["kind"] == "sft":
        half = point["context"] // 2  # measuring.py's rows are half prompt and half answer
        return setup, MicroBatch(half, half, 1, point["rows"], sft=True)
    lengths = (point["prompt"], point["response"], point["group"])
    return setup, largest_micro_batch(*lengths, max_tokens=None, top_p=point["top_p"])


@pytest.mark.parametrize("at", range(len(POINTS)))
def test_what_a_step_adds_is_within_15_percent(at: int, measured: list[dict[str, float]]) -> None:
    _, parts = learner_peak(*planned(POINTS[at]))
    # A trainer makes a new AdamW state; the learner's is there before its second step.
    there = ["weights"] if POINTS[at]["kind"] == "sft" else ["weights", "optimizer"]
    added = sum(value for name, value in parts.items() if name not in there)
    assert added == pytest.approx(measured[at]["added"], rel=0.15)


@pytest.mark.parametrize("at", [i for i, p in enumerate(POINTS) if p["kind"] == "grpo"])
def test_each_part_is_as_counted(at: int, measured: list[dict[str, float]]) -> None:
    setup, batch = planned(POINTS[at])
    between = setup.between_steps()
    assert between["weights"] == measured[at]["weights"]
    assert between["optimizer"] == measured[at]["optimizer"]
    when = dict(moments(setup, batch))
    assert when["update"]["gradients"] == measured[at]["gradients"]
    assert when["loss"]["activations"] == pytest.approx(measured[at]["activations"], rel=0.08)
