"""Accuracy by context and time by part. Draw and save each within ``style()``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from qwenlong.report.palette import SEQUENCE, light, style
from qwenlong.report.runs import Run, Stage, contexts_of, read_runs
from qwenlong.types import InputError

PARTS = {
    "rollout": "hue-0",
    "score": "hue-5",
    "learn": "hue-1",
    "load": "hue-2",
    "checkpoint": "hue-3",
    "evaluate": "hue-4",
    "other": "untrained",
}


def accuracy_chart(runs: Sequence[Run], colours: Mapping[str, str], width: int = 1000) -> Figure:
    """Accuracy over context length, a line a stage, a panel a run. ``width`` in pixels."""
    columns = min(len(runs), 3)
    rows = math.ceil(len(runs) / columns)
    figure = Figure(figsize=(width / 72, rows * 390 / 72), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, run in zip(grid, runs, strict=False):
        _accuracy_panel(axes, run.stages, colours)
        if len(runs) > 1:
            axes.set_title(run.name)
    for axes in grid[len(runs) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel("accuracy, held-out questions")
    return figure


def stage_colours(runs: Sequence[Run]) -> dict[str, str]:
    """Colour names by stage: the same stage has the same in every run, finished or not."""
    kinds = {stage.name: stage.kind for run in runs for stage in run.stages}
    planned = [name for run in runs for name in run.planned]
    trained = [name for name in dict.fromkeys([*planned, *kinds]) if kinds.get(name) != "untrained"]
    last = max(len(trained) - 1, 1)
    along = {name: f"stage-{round(i / last * (SEQUENCE - 1))}" for i, name in enumerate(trained)}
    return dict.fromkeys(kinds, "untrained") | along


def _accuracy_panel(axes: Axes, stages: Sequence[Stage], colours: Mapping[str, str]) -> None:
    contexts = contexts_of(stages)
    axes.set_xscale("log", base=2)
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xticks(contexts, [f"{context:,}" for context in contexts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("context, tokens")
    ends: list[tuple[float, Stage, str]] = []
    evaluated = [stage for stage in stages if stage.accuracy]
    for stage in evaluated:
        colour = colours[stage.name]
        at = sorted(stage.accuracy)
        values = [stage.accuracy[context].value for context in at]
        last = stage is evaluated[-1]
        if last:
            bounds = [stage.accuracy[context].interval for context in at]
            lows, highs = zip(*bounds, strict=True)
            axes.fill_between(at, lows, highs, color=light(colour), alpha=0.13, linewidth=0)
        axes.plot(
            at,
            values,
            color=light(colour),
            linewidth=3.2 if last else 2,
            linestyle="--" if stage.kind == "untrained" else "-",
            marker="o",
            markersize=8 if last else 6,
            markeredgecolor=light("paper"),
            markeredgewidth=1.2,
            clip_on=False,
        )
        ends.append((values[-1], stage, colour))
    _label_ends(axes, contexts[-1], ends)


def _label_ends(axes: Axes, x: float, ends: Sequence[tuple[float, Stage, str]]) -> None:
    """Names the lines at their right end, pushed apart where they would overlap."""
    gap = 0.064
    heights = spaced([value for value, _, _ in ends], gap, 1.0)
    for height, (value, stage, colour) in zip(heights, ends, strict=True):
        last = stage is ends[-1][1]
        axes.annotate(
            f"{stage.name}  {value:.2f}",
            (x, height),
            xytext=(14, 0),
            textcoords="offset points",
            va="center",
            color=light("muted" if stage.kind == "untrained" else colour),
            fontweight="bold" if last else "normal",
            annotation_clip=False,
        )


def spaced(values: Sequence[float], gap: float, top: float) -> list[float]:
    """The values moved as little as keeps them ``gap`` apart and none above ``top``."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed = list(values)
    for before, i in pairwise(order):
        placed[i] = max(placed[i], placed[before] + gap)
    ceiling = top
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def time_parts(run: Run) -> dict[str, dict[str, float]]:
    """Seconds by part, by stage; ``other`` is what a stage took beyond its timed parts."""
    kinds = {stage.name: stage.kind for stage in run.stages}
    parts: dict[str, dict[str, float]] = {name: dict.fromkeys(PARTS, 0.0) for name in kinds}
    for step in run.steps:
        name = str(step.get("stage"))
        timed = parts.setdefault(name, dict.fromkeys(PARTS, 0.0))
        seconds = {part: step.get(f"seconds_{part}") or 0.0 for part in PARTS}
        if kinds.get(name, step.get("kind")) == "sft" and not seconds["learn"]:
            seconds["learn"] = step.get("seconds_step") or 0.0
        seconds["other"] = max(0.0, (step.get("seconds_step") or 0.0) - sum(seconds.values()))
        for part, value in seconds.items():
            timed[part] += value
    for stage in run.stages:
        timed = parts[stage.name]
        timed["other"] += max(0.0, (stage.seconds or 0.0) - sum(timed.values()))
        timed["evaluate"] = stage.evaluation_seconds or 0.0
    return {name: of for name, of in parts.items() if sum(of.values()) > 0}


def time_chart(
    parts: Mapping[str, Mapping[str, float]], longest: float, width: int = 1000
) -> Figure:
    """A bar a stage, as long as the stage took, divided by what it was spent on.

    ``longest`` stage in seconds, of all runs that are compared.
    """
    names = list(parts)
    figure = Figure(figsize=(width / 72, (62 + 34 * len(names)) / 72), layout="constrained")
    axes = figure.subplots()
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x")
    begin = [0.0] * len(names)
    for part, colour in PARTS.items():
        lengths = [parts[name][part] for name in names]
        axes.barh(
            names,
            lengths,
            left=begin,
            height=0.68,
            color=light(colour),
            edgecolor=light("paper"),
            linewidth=1,
        )
        for row, length in enumerate(lengths):
            if length / longest > 0.05:
                share = length / sum(parts[names[row]].values())
                axes.text(
                    begin[row] + length / 2,
                    row,
                    f"{share:.0%}",
                    ha="center",
                    va="center",
                    color=light("paper"),
                )
        begin = [at + length for at, length in zip(begin, lengths, strict=True)]
    for row, total in enumerate(begin):
        axes.text(total + longest * 0.008, row, f"{total:,.0f} s", va="center")
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.08)
    axes.set_xlabel("seconds")
    axes.tick_params(axis="y", labelcolor=light("ink"))
    return figure


def save_accuracy_png(run_dirs: Sequence[Path], out: Path) -> Path:
    """Writes the accuracy chart of the runs as a PNG.

    Raises:
        InputError: a folder that is no run, or one without an evaluated stage.
    """
    runs = read_runs(run_dirs, with_rollouts=False)
    for run in runs:
        if not contexts_of(run.stages):
            raise InputError(f"{run.name}: summary.json has no evaluated stage to draw")
    with style():
        figure = accuracy_chart(runs, stage_colours(runs))
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=144, facecolor=light("paper"))
    return out
