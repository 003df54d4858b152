"""Tables as text: a line ``Header: cell | Header: cell`` a row."""

from __future__ import annotations

import re
from collections.abc import Sequence

Cells = Sequence[str]
_MOST = 4
"""A table's head is looked for in no more rows."""
_FIGURE = re.compile(r"\W*\d[\d,.]*\W*")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")


def cell(header: str, content: str) -> str:
    header, content = header.strip(), content.strip() or "-"
    return f"{header}: {content}" if header else content


def line(header: Cells, cells: Cells) -> str:
    """One row; cells without a header stand alone, and an empty cell is ``-``."""
    return " | ".join(cell(*pair) for pair in zip(header, cells, strict=True))


def text(rows: Sequence[Cells], head: int = 0) -> str:
    """A table whose first ``head`` rows name the columns; with 0, they are found.

    Then they are the rows at the top without a label and without figures, and the next one where
    they do not yet name every column. A row of one cell among them, such as "Years ended
    31 December", is a line of its own, and so is a row below that has only a label.

    Raises:
        ValueError: the rows differ in length, or there is none.
    """
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError(f"a table must have rows of one length, not {[len(row) for row in rows]}")
    rows = [["" if each.strip() == "-" else each.strip() for each in row] for row in rows]
    head = min(head or _head(rows), len(rows) - 1)
    above, below = rows[:head], rows[head:]
    spanning = [row for row in above if sum(map(bool, row)) == 1 < len(row)]
    named = [row for row in above if row not in spanning]
    names = [" ".join(filter(None, column)) for column in zip(*named, strict=True)]
    lines = ["".join(row) for row in spanning]
    if not any(map(_is_row, below)):
        lines += [line([""] * len(row), row) for row in named]
    for row in below:
        lines.append(line(names or [""] * len(row), row) if _is_row(row) else row[0])
    return "\n".join(lines)


def _is_row(row: Cells) -> bool:
    """More than a label."""
    return not row[0] or any(row[1:])


def _head(rows: Sequence[Cells]) -> int:
    """How many rows at the top name the columns."""
    most = min(_MOST, len(rows) - 1)
    unlabelled = 0
    while unlabelled < most and not rows[unlabelled][0] and not _has_figures(rows[unlabelled]):
        unlabelled += 1
    size = unlabelled
    while size < most and not _names_all(rows[:size]) and not _has_figures(rows[size]):
        size += 1
    return size if _names_all(rows[:size]) else max(1, unlabelled)


def _names_all(head: Sequence[Cells]) -> bool:
    return bool(head) and all(any(column) for column in list(zip(*head, strict=True))[1:])


def _has_figures(row: Cells) -> bool:
    return any(_FIGURE.fullmatch(each) and not _YEAR.search(each) for each in row[1:])
