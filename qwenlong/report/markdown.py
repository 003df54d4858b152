"""Text and figures in Markdown, whatever a model or a directory's name holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence

from qwenlong.report.arms import mean_and_spread

TEXT_SHOWN = 160
"""Characters of a text that a page shows, at most."""
NOTHING = "–"


def plain(text: str) -> str:
    """One line without control characters, which neither SVG nor Markdown can hold."""
    line = " ".join(text.split())
    return "".join("�" if unicodedata.category(each)[0] == "C" else each for each in line)


def code(text: str) -> str:
    """A code span, in which nothing is Markdown or HTML; ``|``, which ends a cell, is ``¦``."""
    line = plain(text).replace("|", "¦")
    if not line:
        return "*(nothing)*"
    if len(line) > TEXT_SHOWN:
        line = f"{line[: TEXT_SHOWN // 2]} … {line[-TEXT_SHOWN // 2 :]}"
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], ruler: str = "---:") -> str:
    """The first column to the left, the others as ``ruler`` says: to the right."""
    rulers = ["---", *[ruler] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rulers, *rows))


def number(value: float, form: str) -> str:
    """With a minus sign where a hyphen would stand; no sign before a zero."""
    text = format(value, form)
    if not re.search("[1-9]", text.partition("e")[0]):
        text = "0" if "e" in text else text.lstrip("+-")
    return f"−{text[1:]}" if text.startswith("-") else text


def told(values: Mapping[int, float], form: str) -> str:
    """``mean ± spread`` of values by seed; the value alone where there is one seed."""
    if not values:
        return NOTHING
    mean, spread = mean_and_spread(list(values.values()))
    text = number(mean, form)
    if spread is None:
        return text
    # Spaces at which a cell is not broken.
    return f"{text}\u00a0±\u00a0{number(spread, form.replace('+', ''))}"


def each(values: Mapping[int, float], form: str) -> str:
    """Values in the order of their seeds."""
    return ", ".join(number(values[seed], form) for seed in sorted(values)) or NOTHING


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def seeds(numbers: Collection[int]) -> str:
    """``seed 0``, ``seeds 0, 1 and 2``."""
    return f"{'seed' if len(numbers) == 1 else 'seeds'} {listed([*map(str, sorted(numbers))])}"


def count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
