"""The charts of ``docs/findings.md``, in the style of the report's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.findings.arms import Arm, Outcome, finished
from experiments.findings.markdown import plain
from qwenlong.report.drawing import (
    HUES,
    context_axis,
    light,
    log_axis,
    new_figure,
    share_axis,
    shortened,
)
from qwenlong.report.step_charts import smoothed

COLUMNS = 4
_WIDTH, _PANEL, _ROW = 1000, 214, 40
"""Pixels: the page, the height of a panel, the height of a row."""
_TITLE = 26
"""Characters of an arm's name that fit above its panel."""

Points = list[tuple[float, float]]
Curve = Callable[[Outcome], Points]


def accuracy_over_tokens(arms: Sequence[Arm], context: int | None) -> Figure | None:
    """Accuracy at ``context`` after each stage, over the tokens generated in RL until then."""

    def curve(outcome: Outcome) -> Points:
        points = [(tokens, accuracy.get(context or 0)) for tokens, accuracy in outcome.track]
        return [(tokens, cell.value) for tokens, cell in points if cell]

    figure = _panels(arms, curve, "tokens generated in RL", f"accuracy at {context or 0:,}", "o")
    for axes in figure.axes if figure else ():
        share_axis(axes)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    return figure


def accuracy_by_context(arms: Sequence[Arm], _: int | None) -> Figure | None:
    """Accuracy at the end of finished runs, over context."""
    arms = [finished(arm) for arm in arms]

    def curve(outcome: Outcome) -> Points:
        return [(context, outcome.end[context].value) for context in sorted(outcome.end)]

    figure = _panels(arms, curve, "context, tokens", "accuracy at the end", "o")
    contexts = {context for arm in arms for each in arm.outcomes for context in each.end}
    shown: list[int] = []
    for context in sorted(contexts, reverse=True):
        if not shown or shown[-1] / context > 1.6:  # closer labels would overlap
            shown.append(context)
    for axes in figure.axes if figure else ():
        share_axis(axes)
        context_axis(axes, shown)
    return figure


def over_steps(arms: Sequence[Arm], key: str, label: str) -> Figure | None:
    """A metric over RL steps, smoothed within each phase; on a log axis if its range is wide."""

    def curve(outcome: Outcome) -> Points:
        line = smoothed(outcome.run.metric(key), outcome.run.rl_stages)
        points = enumerate(line, start=1)
        return [(x, y) for x, y in points if math.isfinite(y)]

    figure = _panels(arms, curve, "RL step", label, "")
    values = [y for arm in arms for each in arm.outcomes for _, y in curve(each) if y > 0]
    log = bool(values) and max(values) / min(values) > 30
    for axes in figure.axes if figure else ():
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if log:
            log_axis(axes, "g")
        else:
            axes.set_ylim(bottom=0)
    return figure


def _panels(arms: Sequence[Arm], curve: Curve, x: str, y: str, marker: str) -> Figure | None:
    """A panel for each arm: a thin line for each seed, a thick one for the mean of finished runs.

    The mean of the baseline, the first arm, is grey in every other panel.
    """
    lines = [[points for each in arm.outcomes if (points := curve(each))] for arm in arms]
    # An unfinished run would bend the mean where it stops.
    means = [
        _mean([curve(each) for each in finished(arm).outcomes or arm.outcomes]) for arm in arms
    ]
    if not any(lines):
        return None
    columns = min(COLUMNS, len(arms))
    rows = math.ceil(len(arms) / columns)
    size = (_WIDTH, _PANEL * rows + 24)
    figure, grid = new_figure(*size, rows, columns, wspace=0.05, sharex=True, sharey=True)
    for index, (axes, arm) in enumerate(zip(grid, arms, strict=False)):
        axes.set_title(shortened(plain(arm.name), _TITLE))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if index:
            _mean_line(axes, means[0], "untrained", marker)
        name = f"hue-{index % HUES}"
        for points in lines[index]:
            axes.plot(*zip(*points, strict=True), color=light(name), linewidth=1, alpha=0.4)
        _mean_line(axes, means[index], name, marker)
        if not lines[index]:
            middle: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
            axes.text(0.5, 0.5, "nothing yet", color=light("muted"), **middle)
        if index % columns == 0:
            axes.set_ylabel(y)
        if index + columns >= len(arms):
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)
    for axes in grid[len(arms) :]:
        figure.delaxes(axes)
    return figure


def _mean(lines: Sequence[Points]) -> Points:
    """The k-th point is the mean of the k-th points of all lines that have one."""
    along = [[point for point in of if point] for of in zip_longest(*lines)]
    return [(fmean(x for x, _ in of), fmean(y for _, y in of)) for of in along]


def _mean_line(axes: Axes, points: Points, name: str, marker: str) -> None:
    if not points:
        return
    grey = name == "untrained"
    axes.plot(
        *zip(*points, strict=True),
        color=light(name),
        linewidth=1.8 if grey else 2.4,
        linestyle="--" if grey else "-",
        marker=marker,
        markersize=4 if grey else 6,
        markeredgecolor=light("paper"),
        clip_on=not marker,
    )


def reward_and_accuracy(arms: Sequence[Arm], _: int | None) -> Figure | None:
    """Training reward and strict accuracy of finished runs: a row for each arm, a line a seed."""
    pairs = [
        [
            (each.measures["reward"], each.measures["strict"])
            for each in arm.outcomes
            if not each.waiting and "gap" in each.measures
        ]
        for arm in arms
    ]
    if not any(pairs):
        return None
    figure, [axes] = new_figure(_WIDTH, _ROW * len(arms) + 96)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x")
    for row, of_arm in enumerate(pairs):
        for k, (reward, strict) in enumerate(of_arm):
            height = row + (k - (len(of_arm) - 1) / 2) * 0.6 / max(len(of_arm), 3)
            colour = light("hue-1" if reward > strict else "hue-0")
            axes.plot([strict, reward], [height, height], color=colour, linewidth=2, alpha=0.55)
            axes.plot(strict, height, "o", color=light("ink"), markersize=7)
            axes.plot(reward, height, "D", color=colour, markersize=6)
    axes.set_yticks(range(len(arms)), [shortened(plain(arm.name), _TITLE) for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.tick_params(axis="y", labelcolor=light("ink"))
    axes.set_xlabel("share")
    kinds = (
        ("o", "ink", "strict accuracy"),
        ("D", "hue-0", "training reward, not above it"),
        ("D", "hue-1", "training reward, above it"),
    )
    handles = [
        Line2D([], [], marker=marker, color=light(colour), linestyle="", label=label)
        for marker, colour, label in kinds
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _short(number: float) -> str:
    for unit, letter in ((1e6, "M"), (1e3, "K")):
        if number >= unit:
            return f"{number / unit:.3g}{letter}"
    return f"{number:g}"


CHARTS: dict[str, Callable[[Sequence[Arm], int | None], Figure | None]] = {
    "accuracy-tokens": accuracy_over_tokens,
    "accuracy-context": accuracy_by_context,
    "reward": reward_and_accuracy,
    "entropy": lambda arms, _: over_steps(arms, "entropy", "nats a token"),
    "gradient-norm": lambda arms, _: over_steps(arms, "grad_norm", "norm"),
}
"""Charts by their name in the page. Each gets the arms and the longest context, in tokens."""
