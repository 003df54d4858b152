"""Tables with computed answers: sum, difference, ratio, argmax and count.

The tables are made up and stand whole among the corpus's documents; others of the same form, with
other places or years, stand there too. Half of the differences are between two tables. The program
that gives the answer is kept as ``metadata["program"]``, a Python expression over the cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from qwenlong.data.synthesis.filler import Piece, without
from qwenlong.data.synthesis.haystack import surround
from qwenlong.data.synthesis.names import places
from qwenlong.data.synthesis.tasks import SHORT, Draw, Question, Words


@dataclass(frozen=True)
class Table:
    title: str
    corner: str
    """The heading of the column of row names."""
    columns: tuple[str, ...]
    rows: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Computed:
    """A question over tables, its answer, and how it comes about."""

    question: str
    answer: str
    program: str
    working: str
    tables: int
    """How many tables it takes."""


def tables(draw: Draw) -> Question:
    """Asks for something computed from a table, the operations in turn."""
    rng = draw.rng
    operation = list(OPERATIONS)[draw.number % len(OPERATIONS)]
    made = _tables(draw)
    computed = OPERATIONS[operation](made, draw.words, rng)
    style = rng.choice((_markdown, _lines, _csv))
    own = [Piece(table.title, style(table)) for table in made]
    depths = draw.depths(computed.tables, len(made) - computed.tables)
    fits = without([table.title for table in made])
    # A ratio is rounded; sums, differences and counts of whole numbers must be exact.
    exact = {} if operation in ("argmax", "ratio") else {"rel_tolerance": 0}
    return Question(
        task=operation,
        text=computed.question,
        haystack=surround(draw.filler, rng, own, depths, draw.tokens, fits),
        gold=computed.tables,
        answers=(computed.answer,),
        reasoning=computed.working,
        kind="extractive" if operation == "argmax" else "numeric",
        metadata={"program": computed.program, **exact},
    )


def _tables(draw: Draw) -> list[Table]:
    """Tables with the same rows and columns: the first two of one place, the others elsewhere."""
    rng, words, short = draw.rng, draw.words, draw.tokens < SHORT
    number = 2 if short else min(8, 3 + draw.tokens // 16384)
    goods = rng.sample(words.all("goods"), rng.randint(4, 6) if short else rng.randint(6, 14))
    columns = tuple(rng.sample(words.all("columns"), 2 if short else rng.randint(2, 4)))
    subject = rng.choice(words.all("titles"))
    where = places(rng, number, words.language)
    years = rng.sample(range(1700, 1950), 2)
    named = [(where[0], years[0]), (where[0], years[1]), *((each, years[0]) for each in where[1:])]
    made = []
    for place, year in named[:number]:
        # All cells differ, so that a largest one is the only one.
        cells = iter(rng.sample(range(12, 990), len(goods) * len(columns)))
        rows = {name: tuple(next(cells) for _ in columns) for name in goods}
        title = subject.format(place=place, year=year)
        made.append(Table(title, words.say("corner"), columns, rows))
    return made


def _computed(
    words: Words, operation: str, rng: Random, answer: Any, program: str, **blanks: Any
) -> Computed:
    said = words.part(operation)
    return Computed(
        question=said.draw(rng, "asks", **blanks),
        answer=str(answer),
        program=program,
        working=said.say("working", answer=answer, **blanks),
        tables=2 if operation == "between" else 1,
    )


def _sum(tables: list[Table], words: Words, rng: Random) -> Computed:
    title, column, cells = _column(tables[0], rng)
    numbers = list(cells.values())
    return _computed(
        words, "sum", rng, sum(numbers), f"sum({numbers})",
        title=title, column=column, sum=" + ".join(map(str, numbers)),
    )  # fmt: skip


def _difference(tables: list[Table], words: Words, rng: Random) -> Computed:
    title, column, cells = _column(tables[0], rng)
    if rng.random() < 0.5:
        return _between(tables, column, words, rng)
    high, low = _two(cells, rng)
    a, b = cells[high], cells[low]
    return _computed(
        words, "difference", rng, a - b, f"{a} - {b}",
        title=title, column=column, high=high, low=low, a=a, b=b,
    )  # fmt: skip


def _between(tables: list[Table], column: str, words: Words, rng: Random) -> Computed:
    """The same cell of two tables, the larger less the smaller."""
    at = tables[0].columns.index(column)
    first, second = tables[0].rows, tables[1].rows
    row = rng.choice([name for name in first if first[name][at] != second[name][at]])
    more, less = sorted(tables[:2], key=lambda table: -table.rows[row][at])
    a, b = more.rows[row][at], less.rows[row][at]
    return _computed(
        words, "between", rng, a - b, f"{a} - {b}",
        row=row, column=column, more=more.title, less=less.title, a=a, b=b,
    )  # fmt: skip


def _ratio(tables: list[Table], words: Words, rng: Random) -> Computed:
    title, column, cells = _column(tables[0], rng)
    high, low = _two(cells, rng)
    a, b = cells[high], cells[low]
    return _computed(
        words, "ratio", rng, f"{a / b:.2f}", f"round({a} / {b}, 2)",
        title=title, column=column, high=high, low=low, a=a, b=b,
    )  # fmt: skip


def _argmax(tables: list[Table], words: Words, rng: Random) -> Computed:
    title, column, cells = _column(tables[0], rng)
    best = max(cells, key=lambda name: cells[name])
    program = f"max({cells}.items(), key=lambda row: row[1])[0]"
    return _computed(
        words, "argmax", rng, best, program, title=title, column=column, most=cells[best]
    )


def _count(tables: list[Table], words: Words, rng: Random) -> Computed:
    title, column, cells = _column(tables[0], rng)
    numbers = sorted(cells.values())
    # Never the largest number: at least one row is above the limit.
    limit = numbers[rng.randrange(len(numbers) - 1)]
    above = [name for name, number in cells.items() if number > limit]
    return _computed(
        words, "count", rng, len(above), f"sum(number > {limit} for number in {[*cells.values()]})",
        title=title, column=column, limit=limit, rows=words.say("joint").join(above),
    )  # fmt: skip


OPERATIONS: dict[str, Callable[[list[Table], Words, Random], Computed]] = {
    "sum": _sum,
    "difference": _difference,
    "ratio": _ratio,
    "argmax": _argmax,
    "count": _count,
}


def _column(table: Table, rng: Random) -> tuple[str, str, dict[str, int]]:
    """The table's title, the heading of one of its columns, and that column by row."""
    at = rng.randrange(len(table.columns))
    return table.title, table.columns[at], {name: row[at] for name, row in table.rows.items()}


def _two(cells: dict[str, int], rng: Random) -> tuple[str, str]:
    """Two rows, that of the larger number first."""
    first, second = rng.sample(list(cells), 2)
    return (first, second) if cells[first] > cells[second] else (second, first)


def _rows(table: Table) -> list[tuple[str, ...]]:
    head = (table.corner, *table.columns)
    return [head, *((name, *map(str, row)) for name, row in table.rows.items())]


def _markdown(table: Table) -> str:
    head, *rows = _rows(table)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def _lines(table: Table) -> str:
    """As tables of OTT-QA are written in prompts: ``Header: cell | Header: cell``."""
    head, *rows = _rows(table)
    return "\n".join(" | ".join(map(": ".join, zip(head, row, strict=True))) for row in rows)


def _csv(table: Table) -> str:
    return "\n".join(map(",".join, _rows(table)))
