"""The curriculum's part of the report, from the metrics of a real sampler and gate."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from qwenlong.config import LearnerConfig, RlStage, SamplerConfig
from qwenlong.curricula.curriculum import Curriculum
from qwenlong.report.curriculum_charts import (
    GATE,
    PASS_RATES,
    draws_by_phase,
    gate_chart,
    pool_chart,
)
from qwenlong.report.drawing import style
from qwenlong.report.report import write_report
from qwenlong.report.runs import read_runs
from qwenlong.types import Example, Group, Prompt, Score
from tests.arrays import rollout
from tests.report.test_report import lines, metrics, write_run

STAGE = RlStage(
    context=64, response=8, steps=4, batch=16, group=4, refill=1, sampler=SamplerConfig(replay=0.25)
)


def prompt(number: int, source: str, length: int) -> Prompt:
    example = Example(f"{source}-{number}", source, "Who?", ("Long.",), ("Ann",))
    return Prompt(example, tuple(range(length)))


def answered(prompt: Prompt, rewards: tuple[float, ...]) -> Group:
    rollouts = tuple(rollout([1], [-1.0]) for _ in rewards)
    return Group(prompt, rollouts, tuple(Score(reward, "extractive") for reward in rewards))


def played(phase: str, own: list[Prompt], earlier: list[Prompt], state: Any) -> Any:
    """The metrics of four steps, in which every second prompt has no variance; the last state."""
    learner = LearnerConfig(importance_cap=2, entropy_high=0.5, entropy_low=0.1)
    curriculum = Curriculum(STAGE, learner, own, earlier, phase)
    if state:
        curriculum.continue_from(state)
    logged = []
    for step in range(1, 5):
        curriculum.start_step(step - 1)
        while prompts := curriculum.draw():
            odd = [int(prompt.example.id.split("-")[1]) % 2 for prompt in prompts]
            rewards = [(0.0, 1.0, 1.0, 1.0) if each else (0.0,) * 4 for each in odd]
            curriculum.observe([answered(*each) for each in zip(prompts, rewards, strict=True)])
        curriculum.finish_step()
        logged.append(metrics(phase, "rl", step) | curriculum.metrics())
    return logged, curriculum.state()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "run")
    short = [prompt(i, "<i>a", 20 + i) for i in range(12)]
    long = [prompt(i, "b", 40 + i) for i in range(12)]
    first, state = played("phase1", short, [], None)
    second, _ = played("phase2", long, short, state)
    lines(folder / "metrics.jsonl", [metrics("sft", "sft", 1), *first, *second])
    return folder


def test_bars_are_as_high_as_the_metrics_say(run: Path) -> None:
    [read] = read_runs([run])
    with style():
        pool, gate = pool_chart(read), gate_chart(read)
    assert pool and gate
    rates, groups = pool.axes[0].containers, gate.axes[0].containers
    assert (len(rates), len(groups)) == (len(PASS_RATES), len(GATE))
    for at, step in enumerate(read.rl_steps):
        heights = [bars[at].get_height() for bars in rates]
        assert heights == [step.get(f"pool_pass_rate/{name}", 0) for name in PASS_RATES]
        assert sum(heights) == 12
        varied, waited, flat = (bars[at].get_height() for bars in groups)
        assert varied + flat == step["gate_sampled"]
        assert (waited, flat) == (step["gate_carried_in"], step["gate_flat"])


def test_draws_are_counted_by_phase(run: Path) -> None:
    [read] = read_runs([run])
    first, second = draws_by_phase(read)
    assert (first.phase, first.pool, first.replayed) == ("phase1", 12, 0)
    assert first.own == sum(first.sources.values()) == first.sources["<i>a"]
    assert second.replayed == second.sources["<i>a"] > 0
    assert second.own == second.sources["b"] == sum(second.lengths.values())
    assert max(second.lengths) == 51


def test_the_page_shows_it(run: Path, tmp_path: Path) -> None:
    html = write_report([run], tmp_path / "report.html").read_text()
    assert "What the curriculum drew" in html and "&lt;i&gt;a: " in html and "<i>a" not in html
    assert len(re.findall(r"<svg", html)) == 6 + 2
    assert "AEPO masked" in html


def test_old_runs_have_no_such_part(tmp_path: Path) -> None:
    html = write_report([write_run(tmp_path / "old")], tmp_path / "report.html").read_text()
    assert "What the curriculum drew" not in html
