"""Measures over the RL steps of runs. Draw within ``style()``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from qwenlong.report.palette import light
from qwenlong.report.runs import Run

HUES = 6
CURVES = {
    "reward_mean": "Reward, mean of a step",
    "response_tokens_mean": "Response length, tokens",
    "entropy": "Entropy, nats a token",
    "engine_learner_kl": "Engine–learner KL (log scale)",
}


def run_stroke(index: int) -> tuple[str, str]:
    """(colour name, line style) of the index-th run; they repeat after 12."""
    return f"hue-{index % HUES}", "--" if index // HUES % 2 else "-"


def step_chart(runs: Sequence[Run], key: str, width: int = 500) -> Figure | None:
    """A measure over the RL steps of every run; nothing where no step has it."""
    lines = [[_number(step.get(key)) for step in run.rl_steps] for run in runs]
    values = [value for line in lines for value in line if math.isfinite(value)]
    if not values:
        return None
    figure = Figure(figsize=(width / 72, 250 / 72), layout="constrained")
    axes = figure.subplots()
    axes.set_title(CURVES[key], pad=22)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("RL step")
    if key == "engine_learner_kl" and max(values) > 0:
        axes.set_yscale("log", nonpositive="mask")
        powers = [math.log10(value) for value in values if value > 0]
        axes.set_ylim(10 ** math.floor(min(powers)), 10 ** (math.floor(max(powers)) + 1))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
    elif key in ("reward_mean", "engine_learner_kl"):
        axes.set_ylim(-0.02, max(1.02, *values))
    else:
        axes.set_ylim(min(0, *values), max(0, *values) * 1.08 or 1)
    faint = 0.35 if len(runs) == 1 else 0.18
    for index, (run, line) in enumerate(zip(runs, lines, strict=True)):
        name, dashes = run_stroke(index)
        stages = [str(step.get("stage")) for step in run.rl_steps]
        smooth = len(line) >= 24
        x = range(1, len(line) + 1)
        colour = light(name)
        if smooth:
            axes.plot(x, line, color=colour, linewidth=1, alpha=faint)
            axes.plot(x, smoothed(line, stages), color=colour, linewidth=2.2, linestyle=dashes)
        else:
            axes.plot(x, line, color=colour, linewidth=1.6, linestyle=dashes, marker=".")
    if key == "entropy" and len(runs) == 1:
        for at, step in enumerate(runs[0].rl_steps, start=1):
            if step.get("aepo_masking"):
                axes.axvspan(at - 0.5, at + 0.5, color=light("hue-5"), alpha=0.2, linewidth=0)
    mark_stages(axes, [[str(step.get("stage")) for step in run.rl_steps] for run in runs])
    return figure


def mark_stages(axes: Axes, runs: Sequence[Sequence[str]]) -> None:
    """A line where a stage begins; named unless the runs' stages differ."""
    longest = max(len(stages) for stages in runs)
    axes.set_xlim(0.5, longest + 0.5)
    # A run that is not finished has the same stages as far as it goes.
    whole = max(runs, key=len)
    apart = [stages for stages in runs if list(stages) != list(whole[: len(stages)])]
    for stages in [whole, *apart]:
        span = [(name, len(list(members))) for name, members in groupby(stages)]
        begin = 0
        for name, length in span:
            if begin:
                axes.axvline(begin + 0.5, color=light("untrained"), linewidth=1, linestyle=":")
            if not apart and length / longest > 0.011 * len(name):
                axes.text(
                    begin + length / 2 + 0.5,
                    1.02,
                    name,
                    transform=axes.get_xaxis_transform(),
                    ha="center",
                    va="bottom",
                    fontsize=11,
                    color=light("muted"),
                )
            begin += length


def smoothed(line: Sequence[float], stages: Sequence[str]) -> list[float]:
    """The centred mean over an eighth of a stage; never across its bounds."""
    means: list[float] = []
    begin = 0
    for _, members in groupby(stages):
        part = line[begin : begin + len(list(members))]
        half = max(1, len(part) // 16)
        for i in range(len(part)):
            near = [v for v in part[max(0, i - half) : i + half + 1] if math.isfinite(v)]
            means.append(sum(near) / len(near) if near else math.nan)
        begin += len(part)
    return means


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
