"""Colours and type of the report: drawn in the light palette, shown in the reader's own.

In SVG each colour becomes a CSS variable, which the page defines for light and for dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

SEQUENCE = 8
_VIRIDIS = matplotlib.colormaps["viridis"]

# name: (light, dark). Hues after Okabe and Ito, stages along viridis: both colour-blind safe.
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


@contextmanager
def style(salt: str = "qwenlong") -> Iterator[None]:
    """Matplotlib's settings for drawing and saving: a point is a CSS pixel."""
    settings: Any = {
        "figure.dpi": 72,
        "figure.constrained_layout.h_pad": 0.09,
        "font.family": "DejaVu Sans",
        "font.size": 12,
        "axes.titlesize": 12.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 9,
        "axes.edgecolor": light("grid"),
        "axes.labelcolor": light("muted"),
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "grid.color": light("grid"),
        "text.color": light("ink"),
        "xtick.color": light("muted"),
        "ytick.color": light("muted"),
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "lines.solid_capstyle": "round",
        "text.parse_math": False,
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
    }
    with matplotlib.rc_context(settings):
        yield


def svg(figure: Figure, name: str, label: str) -> str:
    """The figure as inline SVG. ``name`` prefixes its ids; ``label`` is read out by screens."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    body = text.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    variables = {day: f"var(--{key})" for key, (day, _) in PALETTE.items()}
    body = re.sub(
        r"#[0-9a-f]{6}\b", lambda match: variables.get(match.group(), match.group()), body
    )
    body = body.replace("'DejaVu Sans'", "var(--font)")
    size = figure.get_size_inches() * 72
    head = f'<svg role="img" aria-label="{escape(label)}" style="max-width:{size[0]:.0f}px"'
    return re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"{head} \1>", body, count=1)
