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

from qwenlong.data.synthesis.haystack import Piece, surround, without
from qwenlong.data.synthesis.lexicon import Words, places
from qwenlong.data.synthesis.tasks import Draw, Question

Cells = dict[str, int]
"""A column of a table, by the names of its rows."""


@dataclass(frozen=True)
class Table:
    title: str
    corner: str
    """The heading of the column of row names."""
    columns: tuple[str, ...]
    rows: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Computed:
    """An answer, how it comes about, and what fills the blanks of the question's sentences."""

    answer: Any
    program: str
    blanks: dict[str, Any]


def tables(draw: Draw) -> Question:
    """Asks for something computed from a table, the operations in turn."""
    rng = draw.rng
    operation = list(OPERATIONS)[draw.number % len(OPERATIONS)]
    made = _tables(draw)
    at = rng.randrange(len(made[0].columns))
    cells = {name: row[at] for name, row in made[0].rows.items()}
    between = operation == "difference" and rng.random() < 0.5
    computed = _between(made, at, rng) if between else OPERATIONS[operation](cells, draw.words, rng)
    blanks = {"title": made[0].title, "column": made[0].columns[at], **computed.blanks}
    said = draw.words.part("between" if between else operation)
    question = said.draw(rng, "asks", **blanks)
    style = rng.choice((_markdown, _lines, _csv))
    own = [Piece(table.title, style(table)) for table in made]
    gold = 2 if between else 1
    depths = draw.depths(gold, len(made) - gold)
    fits = without([table.title for table in made])
    # A ratio is rounded; sums, differences and counts of whole numbers must be exact.
    exact = {} if operation in ("argmax", "ratio") else {"rel_tolerance": 0}
    return Question(
        task=operation,
        text=question,
        haystack=surround(draw.filler, rng, own, depths, draw.tokens, fits),
        gold=gold,
        answers=(str(computed.answer),),
        reasoning=said.say("working", answer=computed.answer, **blanks),
        kind="extractive" if operation == "argmax" else "numeric",
        metadata={"program": computed.program, **exact},
    )


def _tables(draw: Draw) -> list[Table]:
    """Tables with the same rows and columns: the first two of one place, the others elsewhere."""
    rng, words, short = draw.rng, draw.words, draw.short
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


def _between(tables: list[Table], at: int, rng: Random) -> Computed:
    """The same cell of two tables, the larger less the smaller."""
    first, second = tables[0].rows, tables[1].rows
    row = rng.choice([name for name in first if first[name][at] != second[name][at]])
    more, less = sorted(tables[:2], key=lambda table: -table.rows[row][at])
    a, b = more.rows[row][at], less.rows[row][at]
    blanks = {"row": row, "more": more.title, "less": less.title, "a": a, "b": b}
    return Computed(a - b, f"{a} - {b}", blanks)


def _sum(cells: Cells, words: Words, rng: Random) -> Computed:
    numbers = list(cells.values())
    return Computed(sum(numbers), f"sum({numbers})", {"sum": " + ".join(map(str, numbers))})


def _difference(cells: Cells, words: Words, rng: Random) -> Computed:
    (high, a), (low, b) = _two(cells, rng)
    return Computed(a - b, f"{a} - {b}", {"high": high, "low": low, "a": a, "b": b})


def _ratio(cells: Cells, words: Words, rng: Random) -> Computed:
    (high, a), (low, b) = _two(cells, rng)
    blanks = {"high": high, "low": low, "a": a, "b": b}
    return Computed(f"{a / b:.2f}", f"round({a} / {b}, 2)", blanks)


def _argmax(cells: Cells, words: Words, rng: Random) -> Computed:
    best = max(cells, key=lambda name: cells[name])
    return Computed(best, f"max({cells}.items(), key=lambda row: row[1])[0]", {"most": cells[best]})


def _count(cells: Cells, words: Words, rng: Random) -> Computed:
    numbers = sorted(cells.values())
    # Never the largest number: at least one row is above the limit.
    limit = numbers[rng.randrange(len(numbers) - 1)]
    above = [name for name, number in cells.items() if number > limit]
    program = f"sum(number > {limit} for number in {[*cells.values()]})"
    return Computed(len(above), program, {"limit": limit, "rows": words.say("joint").join(above)})


OPERATIONS: dict[str, Callable[[Cells, Words, Random], Computed]] = {
    "sum": _sum,
    "difference": _difference,
    "ratio": _ratio,
    "argmax": _argmax,
    "count": _count,
}


def _two(cells: Cells, rng: Random) -> list[tuple[str, int]]:
    """Two rows with their numbers, that of the larger number first."""
    return sorted(((row, cells[row]) for row in rng.sample(list(cells), 2)), key=lambda c: -c[1])


def _rows(table: Table) -> list[tuple[str, ...]]:
    head = (table.corner, *table.columns)
    return [head, *((name, *map(str, row)) for name, row in table.rows.items())]


def _markdown(table: Table) -> str:
    head, *rows = _rows(table)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def _lines(table: Table) -> str:
    """The text of a table, written as OTT-QA's are: ``Header: cell | Header: cell``."""
    head, *rows = _rows(table)
    return "\n".join(" | ".join(map(": ".join, zip(head, row, strict=True))) for row in rows)


def _csv(table: Table) -> str:
    return "\n".join(map(",".join, _rows(table)))
