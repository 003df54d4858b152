"""Accuracy by context, and time by part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from qwenlong.report.accuracy import Stage, contexts_of, split_by_source
from qwenlong.report.drawing import (
    SEQUENCE,
    context_axis,
    light,
    new_figure,
    share_axis,
    shortened,
    style,
)
from qwenlong.report.runs import LoggedRun, read_runs
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
"""Colours of the parts of a stage's time."""
_WIDE, _NARROW = 1000, 490
"""Pixels of a chart that has the page's width, and of one of two side by side."""


def accuracy_chart(run: LoggedRun, runs: Sequence[LoggedRun]) -> Figure | None:
    """The mean accuracy over sources by context, a line for each stage; None before evaluation."""
    if not contexts_of(run.stages):
        return None
    figure, [axes] = new_figure(_width(runs), 390)
    axes.set_ylabel("accuracy, held-out questions")
    ends = _accuracy_panel(axes, run.stages, stage_colours(runs))
    _label_ends(axes, contexts_of(run.stages)[-1], ends)
    return figure


def source_chart(run: LoggedRun, runs: Sequence[LoggedRun]) -> Figure | None:
    """A panel like ``accuracy_chart`` for each held-out source; None unless there are several."""
    sources = split_by_source(run.stages)
    if not sources:
        return None
    columns = min(len(sources), 4 if len(runs) == 1 else 2)
    rows = math.ceil(len(sources) / columns)
    figure, panels = new_figure(_width(runs), 210 * rows, rows, columns, 0.06, sharey=True)
    for axes, (source, stages) in zip(panels, sources.items(), strict=False):
        axes.set_title(shortened(source, 26))
        _accuracy_panel(axes, stages, stage_colours(runs))
    for axes in panels[len(sources) :]:
        axes.set_visible(False)
    return figure


def _width(runs: Sequence[LoggedRun]) -> int:
    return _WIDE if len(runs) == 1 else _NARROW


def stage_colours(runs: Sequence[LoggedRun]) -> dict[str, str]:
    """Colour names by stage. A stage has the same colour in every run, finished or not."""
    kinds = {stage.name: stage.kind for run in runs for stage in run.stages}
    planned = [name for run in runs for name in run.planned]
    trained = [name for name in dict.fromkeys([*planned, *kinds]) if kinds.get(name) != "untrained"]
    last = max(len(trained) - 1, 1)
    along = {name: f"stage-{round(i / last * (SEQUENCE - 1))}" for i, name in enumerate(trained)}
    return dict.fromkeys(kinds, "untrained") | along


def _accuracy_panel(
    axes: Axes, stages: Sequence[Stage], colours: Mapping[str, str]
) -> list[tuple[float, Stage, str]]:
    """Draws a line for each evaluated stage; returns (last value, stage, colour) of each."""
    share_axis(axes)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    context_axis(axes, contexts_of(stages))
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
    return ends


def _label_ends(axes: Axes, x: float, ends: Sequence[tuple[float, Stage, str]]) -> None:
    """Names the lines at their right end. Labels that would overlap are moved apart."""
    heights = spaced([value for value, _, _ in ends], gap=0.064, top=1.0)
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
    """The values, moved until neighbours are ``gap`` apart and none is above ``top``."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed = list(values)
    for before, i in pairwise(order):
        placed[i] = max(placed[i], placed[before] + gap)
    ceiling = top
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def time_parts(run: LoggedRun) -> dict[str, dict[str, float]]:
    """Seconds by stage and part; ``other`` is a stage's time outside its timed parts."""
    kinds = {stage.name: stage.kind for stage in run.stages}
    parts: dict[str, dict[str, float]] = {name: dict.fromkeys(PARTS, 0.0) for name in kinds}
    for step in run.steps:
        name = str(step.get("stage"))
        timed = parts.setdefault(name, dict.fromkeys(PARTS, 0.0))
        seconds = {part: step.get(f"seconds_{part}") or 0.0 for part in PARTS}
        # Old runs timed a step of SFT as a whole.
        if kinds.get(name, step.get("kind")) == "sft" and not seconds["learn"]:
            seconds["learn"] = step.get("seconds_step") or 0.0
        seconds["other"] = max(0.0, (step.get("seconds_step") or 0.0) - sum(seconds.values()))
        for part, value in seconds.items():
            timed[part] += value
    for stage in run.stages:
        # A finished stage knows its whole time; steps may be missing.
        timed = parts[stage.name]
        timed["other"] += max(0.0, (stage.seconds or 0.0) - sum(timed.values()))
        timed["evaluate"] = stage.evaluation_seconds or 0.0
    return {name: of for name, of in parts.items() if sum(of.values()) > 0}


def time_chart(run: LoggedRun, runs: Sequence[LoggedRun]) -> Figure | None:
    """A bar for each stage, as long as the stage took, divided by part; None without any times.

    All runs of a page have the same scale.
    """
    parts = time_parts(run)
    if not parts:
        return None
    longest = max(sum(of.values()) for each in runs for of in time_parts(each).values())
    names = list(parts)
    figure, [axes] = new_figure(_WIDE, 62 + 34 * len(names))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x")
    totals = [sum(parts[name].values()) for name in names]
    ends = [0.0] * len(names)
    for part, colour in PARTS.items():
        lengths = [parts[name][part] for name in names]
        bars = axes.barh(
            names,
            lengths,
            left=ends,
            height=0.68,
            color=light(colour),
            edgecolor=light("paper"),
            linewidth=1,
        )
        # A shorter bar has no room for its share.
        shares = [
            f"{length / total:.0%}" if length / longest > 0.05 else ""
            for length, total in zip(lengths, totals, strict=True)
        ]
        axes.bar_label(bars, shares, label_type="center", color=light("paper"))
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    axes.bar_label(bars, [f"{total:,.0f} s" for total in totals], padding=4)
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.08)
    axes.set_xlabel("seconds")
    axes.tick_params(axis="y", labelcolor=light("ink"))
    return figure


def save_accuracy_png(run_dir: Path, out: Path) -> Path:
    """Writes the accuracy chart of a run as a PNG, such as the picture of the README.

    Raises:
        InputError: the folder is not a run, or no stage of it was evaluated.
    """
    [run] = read_runs([run_dir], with_rollouts=False)
    with style():
        figure = accuracy_chart(run, [run])
        if figure is None:
            raise InputError(f"{run.name}: summary.json has no evaluated stage to draw")
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=144, facecolor=light("paper"))
    return out
