"""Charts of a metric over the RL steps of one or several runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from matplotlib.figure import Figure

from qwenlong.report.drawing import HUES, light, log_axis, mark_stages, step_figure
from qwenlong.report.runs import LoggedRun

CURVES = {
    "reward_mean": "Reward, mean of a step",
    "response_tokens_mean": "Response length, tokens",
    "entropy": "Entropy, nats a token",
    "engine_learner_kl": "Engine–learner KL (log scale)",
}
"""Titles by metric. A metric that is added here is drawn by ``step_chart``."""
SMOOTHED_FROM = 24
"""Steps from which on a line is smoothed."""


def line_of_run(index: int) -> tuple[str, str]:
    """(colour name, line style) of the index-th run; they repeat after 12 runs."""
    return f"hue-{index % HUES}", "--" if index // HUES % 2 else "-"


def step_chart(runs: Sequence[LoggedRun], key: str) -> Figure | None:
    """A metric over the RL steps of every run; None if no step has it."""
    lines = [run.metric(key) for run in runs]
    values = [value for line in lines for value in line if math.isfinite(value)]
    if not values:
        return None
    figure, axes = step_figure(CURVES[key])
    if key == "engine_learner_kl" and max(values) > 0:
        log_axis(axes, ".0e")
        powers = [math.log10(value) for value in values if value > 0]
        axes.set_ylim(10 ** math.floor(min(powers)), 10 ** (math.floor(max(powers)) + 1))
    elif key in ("reward_mean", "engine_learner_kl"):  # a KL of 0 has no log axis
        axes.set_ylim(-0.02, max(1.02, *values))
    else:
        axes.set_ylim(min(0, *values), max(0, *values) * 1.08 or 1)
    stages = [run.rl_stages for run in runs]
    for index, line in enumerate(lines):
        name, dashes = line_of_run(index)
        x, colour = range(1, len(line) + 1), light(name)
        if len(line) >= SMOOTHED_FROM:
            axes.plot(x, line, color=colour, linewidth=1, alpha=0.35 if len(runs) == 1 else 0.18)
            means = smoothed(line, stages[index])
            axes.plot(x, means, color=colour, linewidth=2.2, linestyle=dashes)
        else:
            axes.plot(x, line, color=colour, linewidth=1.6, linestyle=dashes, marker=".")
    if key == "entropy" and len(runs) == 1:
        for at, step in enumerate(runs[0].rl_steps, start=1):
            if step.get("aepo_masking"):
                axes.axvspan(at - 0.5, at + 0.5, color=light("hue-5"), alpha=0.2, linewidth=0)
    mark_stages(axes, stages)
    return figure


def smoothed(line: Sequence[float], stages: Sequence[str]) -> list[float]:
    """The centred mean over an eighth of a stage; it never crosses a stage's bounds."""
    means: list[float] = []
    start = 0
    for _, members in groupby(stages):
        part = line[start : start + len(list(members))]
        half = max(1, len(part) // 16)
        for i in range(len(part)):
            near = [v for v in part[max(0, i - half) : i + half + 1] if math.isfinite(v)]
            means.append(sum(near) / len(near) if near else math.nan)
        start += len(part)
    return means
