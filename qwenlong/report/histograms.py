"""Histograms of a built set: a row for each source, a column for each split."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from qwenlong.report.drawing import light, new_figure, shortened

DEPTHS = 20
"""Parts of equal length into which a text is divided."""
ALL = "all sources"
_HUES = ("hue-0", "hue-1", "hue-2", "hue-3")
_WIDTH = 1000
_ROW = 62
_NAME = 22
"""Characters of a source's name that fit to the left of its row."""

Values = Mapping[tuple[str, str], Counter[int]]
"""Counts by split and source."""
Bars = Callable[[Counter[int]], tuple[list[int], str]]
"""Gives the heights of a row's bars, and its counts in words."""
Scale = Callable[[Axes], object]
"""Sets up the x axis, which all rows share."""


def length_chart(splits: Sequence[str], sources: Sequence[str], values: Values) -> Figure:
    """Examples by tokens, on a log scale if the longest has over 4 times the shortest's tokens."""
    tokens = sorted({length for counts in values.values() for length in counts})
    edges, log = length_edges(tokens[0], tokens[-1]) if tokens else ([0.0, 1.0], False)

    def bars(counts: Counter[int]) -> tuple[list[int], str]:
        heights = [0] * (len(edges) - 1)
        for length, n in counts.items():
            heights[bisect_left(edges, length) - 1] += n
        if not counts:
            return heights, "none"
        low, high = min(counts), max(counts)
        span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        return heights, f"{counts.total():,} of {span} tokens"

    def scale(axes: Axes) -> None:
        axes.set_xlim(edges[0], edges[-1])
        if log:
            axes.set_xscale("log", base=2)
            powers = range(math.ceil(math.log2(edges[0])), math.floor(math.log2(edges[-1])) + 1)
            # Counted from the top, so that the longest lengths always have a label.
            every = math.ceil(len(powers) * len(splits) / 12)
            axes.xaxis.set_major_locator(FixedLocator([2**k for k in powers[::-1][::every]]))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(10 // len(splits), integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))

    return _grid(splits, sources, values, edges, bars, scale, "prompt, tokens")


def length_edges(least: int, most: int) -> tuple[list[float], bool]:
    """Edges of the bins, and whether they are log. A bin includes its upper edge.

    Log bins are quarters of an octave; otherwise there are at most 40 bins of a round width.
    """
    if most > 4 * least:
        first, last = math.ceil(4 * math.log2(least)) - 1, math.ceil(4 * math.log2(most))
        return [2 ** (k / 4) for k in range(first, last + 1)], True
    widths = (figure * 10**power for power in range(12) for figure in (1, 2, 5))
    width = next(each for each in widths if (most - least) / each <= 40)
    first, last = math.ceil(least / width) - 1, math.ceil(most / width)
    return [float(width * k) for k in range(first, last + 1)], False


def depth_chart(splits: Sequence[str], sources: Sequence[str], values: Values) -> Figure:
    """Gold documents by the share of the other documents' text before them."""
    edges = [part / DEPTHS for part in range(DEPTHS + 1)]

    def bars(counts: Counter[int]) -> tuple[list[int], str]:
        n = counts.total()
        words = f"{n:,} gold document{'' if n == 1 else 's'}" if n else "none known among others"
        return [counts[part] for part in range(DEPTHS)], words

    def scale(axes: Axes) -> None:
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0, first", "0.25", "0.5", "0.75", "1, last"])

    return _grid(splits, sources, values, edges, bars, scale, "depth")


def _grid(
    splits: Sequence[str],
    sources: Sequence[str],
    values: Values,
    edges: Sequence[float],
    bars: Bars,
    scale: Scale,
    label: str,
) -> Figure:
    """A row for each source, after one for all of them together if there are several."""
    rows = [ALL, *sources] if len(sources) > 1 else list(sources)
    size = (_WIDTH, 56 + _ROW * len(rows))
    figure, panels = new_figure(*size, len(rows), len(splits), wspace=0.06, sharex=True)
    for column, split in enumerate(splits):
        whole = sum((of for (own, _), of in values.items() if own == split), Counter[int]())
        for row, source in enumerate(rows):
            together = len(rows) > 1 and row == 0
            counts = whole if together else values.get((split, source), Counter())
            heights, words = bars(counts)
            axes = panels[row * len(splits) + column]
            _panel(axes, edges, heights, _HUES[column % len(_HUES)], together)
            small: dict[str, Any] = {
                "fontsize": 11,
                "fontweight": "normal",
                "color": light("muted"),
            }
            axes.set_title(words, loc="right", pad=3, **small)
            if row == 0:
                axes.set_title(split.replace("_", " "), loc="left", fontsize=12.5, pad=3)
            if column == 0:
                axes.set_ylabel(shortened(source, _NAME), rotation=0, ha="right", va="center")
                axes.yaxis.label.set_color(light("ink"))
        scale(axes)  # the last row's
        axes.set_xlabel(label)
    return figure


def _panel(
    axes: Axes, edges: Sequence[float], heights: Sequence[int], hue: str, strong: bool
) -> None:
    axes.bar(
        edges[:-1],
        heights,
        width=[high - low for low, high in pairwise(edges)],
        align="edge",
        color=light(hue),
        alpha=1 if strong else 0.72,
        edgecolor=light("paper"),
        linewidth=0.8,
    )
    axes.set_ylim(0, max(heights, default=0) * 1.05 or 1)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.tick_params(axis="x", labelsize=11)
