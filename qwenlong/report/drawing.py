"""What every chart shares: colours, type, figures and axes.

A chart is a function that returns a matplotlib figure, or None if there is nothing to draw. It
draws in the light palette; ``svg`` turns each colour into a CSS variable, which the page defines
for light and for dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

SEQUENCE = 8
"""Colours ``stage-0`` to ``stage-7``."""
HUES = 6
"""Colours ``hue-0`` to ``hue-5``."""
_VIRIDIS = matplotlib.colormaps["viridis"]

# name: (light, dark). Hues follow Okabe and Ito, stages follow viridis: colour-blind readers can
# tell both apart.
PALETTE: dict[str, tuple[str, str]] = {
    "ink": ("#1d2430", "#e7eaf0"),
    "muted": ("#5f6b7c", "#9aa6b6"),
    "grid": ("#e4e7ec", "#2d3541"),
    "paper": ("#ffffff", "#1a1f27"),
    "untrained": ("#98a1af", "#6f7a8a"),
    "hue-0": ("#0b66a8", "#5db3f0"),
    "hue-1": ("#c85200", "#ff9d4d"),
    "hue-2": ("#00805e", "#3ccf9f"),
    "hue-3": ("#a8467f", "#e891c3"),
    "hue-4": ("#7a5cc4", "#b9a3f5"),
    "hue-5": ("#8a7300", "#e3c94a"),
} | {
    f"stage-{i}": (
        to_hex(_VIRIDIS(0.66 - 0.60 * i / (SEQUENCE - 1))),
        to_hex(_VIRIDIS(0.47 + 0.49 * i / (SEQUENCE - 1))),
    )
    for i in range(SEQUENCE)
}


def light(name: str) -> str:
    return PALETTE[name][0]


def palette_css() -> str:
    """The palette as custom properties, for both colour schemes."""
    day, night = (
        "".join(f"--{name}:{colours[i]};" for name, colours in PALETTE.items()) for i in (0, 1)
    )
    return f":root{{{day}}}@media (prefers-color-scheme:dark){{:root{{{night}}}}}"


def style() -> AbstractContextManager[None]:
    """The settings for drawing and saving: a point is a CSS pixel, ids in SVG do not change."""
    return matplotlib.rc_context(fname=Path(__file__).with_name("charts.mplstyle"))


def new_figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    wspace: float | None = None,
    **options: Any,
) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes, row by row.

    Args:
        width, height: in CSS pixels.
        wspace: space between columns, as a share of a column's width.
        options: for ``Figure.subplots``.
    """
    layout = ConstrainedLayoutEngine(wspace=wspace)
    figure = Figure(figsize=(width / 72, height / 72), layout=layout)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).ravel())


def share_axis(axes: Axes) -> None:
    """The y axis of a share in [0, 1], with room for markers at both ends."""
    axes.set_ylim(-0.02, 1.02)


def context_axis(axes: Axes, contexts: Sequence[int]) -> None:
    """A log x axis with a tick at each context length, in tokens."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(contexts, [f"{context:,}" for context in contexts])
    axes.xaxis.set_minor_locator(NullLocator())


def log_axis(axes: Axes, spec: str) -> None:
    """A log y axis that leaves out what is not positive; labels are formatted by ``spec``."""
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format(value, spec)))


def step_figure(title: str) -> tuple[Figure, Axes]:
    """A small figure over RL steps. Call ``mark_stages`` after drawing."""
    figure, [axes] = new_figure(500, 250)
    axes.set_title(title, pad=22)  # leaves room for the stages' names
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("RL step")
    return figure, axes


def mark_stages(axes: Axes, runs: Sequence[Sequence[str]]) -> None:
    """Draws a line where a stage begins, and the stages' names if all runs have the same ones.

    Args:
        runs: for each run, the stage of each RL step.
    """
    longest = max(runs, key=len)
    axes.set_xlim(0.5, len(longest) + 0.5)
    # An unfinished run has the same stages, as far as it goes.
    different = [stages for stages in runs if list(stages) != list(longest[: len(stages)])]
    for stages in [longest, *different]:
        start = 0
        for name, members in groupby(stages):
            length = len(list(members))
            if start:
                axes.axvline(start + 0.5, color=light("untrained"), linewidth=1, linestyle=":")
            if not different and length / len(longest) > 0.011 * len(name):
                axes.text(
                    start + length / 2 + 0.5,
                    1.02,
                    name,
                    transform=axes.get_xaxis_transform(),
                    ha="center",
                    va="bottom",
                    fontsize=11,
                    color=light("muted"),
                )
            start += length


def shortened(name: str, most: int) -> str:
    """``name`` on one line of at most ``most`` characters."""
    name = " ".join(name.split())
    return name if len(name) <= most else f"{name[: most - 1]}…"


def svg(draw: Callable[..., Figure | None], *args: Any, name: str, label: str) -> Markup | None:
    """The figure that ``draw`` returns, as inline SVG; None if there is nothing to draw.

    Args:
        name: prefix of its ids, because charts of one page must not share ids.
        label: what a screen reader reads.
    """
    text = io.StringIO()
    with style(), catch_warnings():
        # Matplotlib's own font lacks some scripts; the reader's browser has them.
        filterwarnings("ignore", message="Glyph")
        figure = draw(*args)
        if figure is None:
            return None
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    body = text.getvalue()
    body = body[body.index("<svg") :]  # without the XML declaration, which HTML does not know
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    variables = {day: f"var(--{key})" for key, (day, _) in PALETTE.items()}
    body = re.sub(
        r"#[0-9a-f]{6}\b", lambda match: variables.get(match.group(), match.group()), body
    )
    body = body.replace("'DejaVu Sans'", "var(--font)")
    size = figure.get_size_inches() * 72
    head = f'<svg role="img" aria-label="{escape(label)}" style="max-width:{size[0]:.0f}px"'
    return Markup(re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"{head} \1>", body, count=1))
