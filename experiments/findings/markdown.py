"""Text and numbers in Markdown. Text may come from a model or a folder's name, so it is escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, stdev

TEXT_SHOWN = 160
"""Longest text that the page shows, in characters; the middle of a longer one is cut out."""
NOTHING = "–"


def plain(text: str) -> str:
    """One line without control characters, which neither SVG nor Markdown can hold."""
    line = " ".join(text.split())
    return "".join("�" if unicodedata.category(each)[0] == "C" else each for each in line)


def code(text: str) -> str:
    """A code span, in which nothing is read as Markdown or HTML."""
    line = plain(text).replace("|", "¦")  # "|" ends a table cell, even inside a code span
    if not line:
        return "*(nothing)*"
    if len(line) > TEXT_SHOWN:
        line = f"{line[: TEXT_SHOWN // 2]} … {line[-TEXT_SHOWN // 2 :]}"
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def number(value: float, spec: str) -> str:
    """``value`` formatted by ``spec``, with a true minus sign and no sign before zero."""
    text = format(value, spec)
    if not re.search("[1-9]", text.partition("e")[0]):
        text = "0" if "e" in text else text.lstrip("+-")
    return f"−{text[1:]}" if text.startswith("-") else text


def mean_and_spread(values: Mapping[int, float]) -> tuple[float, float | None]:
    """The mean over seeds and the sample standard deviation (n − 1), which needs two seeds."""
    found = list(values.values())
    return fmean(found), stdev(found) if len(found) > 1 else None


def averaged(values: Mapping[int, float], spec: str) -> str:
    """``mean ± standard deviation`` of values by seed; with one seed, its value."""
    if not values:
        return NOTHING
    mean, spread = mean_and_spread(values)
    if spread is None:
        return number(mean, spec)
    # Non-breaking spaces keep a cell on one line.
    return f"{number(mean, spec)}\u00a0±\u00a0{number(spread, spec.replace('+', ''))}"


def by_seed(values: Mapping[int, float], spec: str) -> str:
    """The values, ordered by seed."""
    return ", ".join(number(values[seed], spec) for seed in sorted(values)) or NOTHING


def joined(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def seeds(numbers: Collection[int]) -> str:
    """``seed 0``, ``seeds 0, 1 and 2``."""
    return f"{'seed' if len(numbers) == 1 else 'seeds'} {joined([*map(str, sorted(numbers))])}"


def count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
