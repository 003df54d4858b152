"""Tables with computed answers: sum, difference, ratio, argmax and count.

The tables are made up and stand whole among the corpus's documents; others of the same form, with
other places or years, stand there too. Half of the differences are between two tables. The program
that gives the answer is kept as ``metadata["program"]``, a Python expression over the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from qwenlong.data.synthesis.corpus import Corpus
from qwenlong.data.synthesis.filler import Filler, Piece, filler_of, without
from qwenlong.data.synthesis.haystack import surround
from qwenlong.data.synthesis.names import in_language, places
from qwenlong.data.synthesis.table_words import OPERATIONS, PHRASES, Phrases
from qwenlong.data.synthesis.tasks import depths_of, each
from qwenlong.types import CountTokens, Example

SHORT = 4096
"""Tokens below which tables are few and small."""


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
    tables: int = 1


def make(
    corpus: Corpus,
    examples: int,
    tokens: int,
    count: CountTokens,
    seed: int,
    language: str = "en",
    depth: float | None = None,
) -> Iterator[Example]:
    """Yields ``examples`` questions over tables, the operations in turn; see ``needles.make``."""
    phrases = in_language(PHRASES, language)
    filler = filler_of(corpus, count, language)
    for i, identity, rng in each("tables", examples, tokens, seed, filler):
        operation = OPERATIONS[i % len(OPERATIONS)]
        yield _example(identity, operation, phrases, filler, tokens, depth, rng)


def _example(
    identity: str,
    operation: str,
    phrases: Phrases,
    filler: Filler,
    tokens: int,
    depth: float | None,
    rng: Random,
) -> Example:
    tables = _tables(phrases, filler.language, tokens, rng)
    computed = _COMPUTED[operation](tables, phrases, rng)
    style = rng.choice((_markdown, _lines, _csv))
    own = [Piece(table.title, style(table)) for table in tables]
    gold = computed.tables
    depths = depths_of(rng, gold, len(tables) - gold, depth)
    fits = without([table.title for table in tables])
    placed = surround(filler, rng, own, depths, tokens, fits)
    kind = "extractive" if operation == "argmax" else "numeric"
    exact = {} if operation in ("argmax", "ratio") else {"rel_tolerance": 0}
    return Example(
        id=identity,
        source="tables",
        question=computed.question,
        documents=placed.documents,
        answers=(computed.answer,),
        kind=kind,
        reasoning=computed.working,
        gold_documents=tuple(sorted(placed.places[:gold])),
        group=identity,
        metadata={
            "task": operation,
            "language": filler.language,
            "stated": computed.answer,
            "depths": sorted(placed.depths[:gold]),
            "program": computed.program,
            **exact,
        },
    )


def _tables(phrases: Phrases, language: str, tokens: int, rng: Random) -> list[Table]:
    """Tables with the same rows and columns: the first two of one place, the others elsewhere."""
    number = 2 if tokens < SHORT else min(8, 3 + tokens // 16384)
    goods = rng.sample(phrases.goods, rng.randint(4, 6) if tokens < SHORT else rng.randint(6, 14))
    columns = tuple(rng.sample(phrases.columns, 2 if tokens < SHORT else rng.randint(2, 4)))
    subject, corner = rng.choice(phrases.titles), phrases.corner
    where = places(rng, number, language)
    years = rng.sample(range(1700, 1950), 2)
    named = [
        (where[0], years[0]),
        (where[0], years[1]),
        *((place, years[0]) for place in where[1:]),
    ]
    tables = []
    for place, year in named[:number]:
        # All cells differ, so that a largest one is the only one.
        cells = iter(rng.sample(range(12, 990), len(goods) * len(columns)))
        rows = {name: tuple(next(cells) for _ in columns) for name in goods}
        tables.append(Table(subject.format(place=place, year=year), corner, columns, rows))
    return tables


def _sum(tables: list[Table], phrases: Phrases, rng: Random) -> Computed:
    table, column, cells = _column(tables[0], rng)
    numbers = list(cells.values())
    return Computed(
        rng.choice(phrases.asks["sum"]).format(title=table.title, column=column),
        str(sum(numbers)),
        f"sum({numbers})",
        phrases.works["sum"].format(
            title=table.title,
            column=column,
            sum=" + ".join(map(str, numbers)),
            answer=sum(numbers),
        ),
    )


def _difference(tables: list[Table], phrases: Phrases, rng: Random) -> Computed:
    table, column, cells = _column(tables[0], rng)
    if rng.random() < 0.5:
        return _between(tables, column, phrases, rng)
    high, low = _two(cells, rng)
    answer = cells[high] - cells[low]
    said = {"title": table.title, "column": column, "high": high, "low": low}
    return Computed(
        rng.choice(phrases.asks["difference"]).format(**said),
        str(answer),
        f"{cells[high]} - {cells[low]}",
        phrases.works["difference"].format(**said, a=cells[high], b=cells[low], answer=answer),
    )


def _between(tables: list[Table], column: str, phrases: Phrases, rng: Random) -> Computed:
    """The same cell of two tables, the larger less the smaller."""
    at = tables[0].columns.index(column)
    first, second = tables[0].rows, tables[1].rows
    row = rng.choice([name for name in first if first[name][at] != second[name][at]])
    more, less = sorted(tables[:2], key=lambda table: -table.rows[row][at])
    a, b = more.rows[row][at], less.rows[row][at]
    said = {"row": row, "column": column, "more": more.title, "less": less.title}
    return Computed(
        rng.choice(phrases.asks["between"]).format(**said),
        str(a - b),
        f"{a} - {b}",
        phrases.works["between"].format(**said, a=a, b=b, answer=a - b),
        tables=2,
    )


def _ratio(tables: list[Table], phrases: Phrases, rng: Random) -> Computed:
    table, column, cells = _column(tables[0], rng)
    high, low = _two(cells, rng)
    answer = f"{cells[high] / cells[low]:.2f}"
    said = {"title": table.title, "column": column, "high": high, "low": low}
    return Computed(
        rng.choice(phrases.asks["ratio"]).format(**said),
        answer,
        f"round({cells[high]} / {cells[low]}, 2)",
        phrases.works["ratio"].format(**said, a=cells[high], b=cells[low], answer=answer),
    )


def _argmax(tables: list[Table], phrases: Phrases, rng: Random) -> Computed:
    table, column, cells = _column(tables[0], rng)
    answer = max(cells, key=lambda name: cells[name])
    return Computed(
        rng.choice(phrases.asks["argmax"]).format(title=table.title, column=column),
        answer,
        f"max({cells}.items(), key=lambda row: row[1])[0]",
        phrases.works["argmax"].format(
            title=table.title, column=column, most=cells[answer], answer=answer
        ),
    )


def _count(tables: list[Table], phrases: Phrases, rng: Random) -> Computed:
    table, column, cells = _column(tables[0], rng)
    numbers = sorted(cells.values())
    limit = numbers[rng.randrange(len(numbers) - 1)]
    above = [name for name, number in cells.items() if number > limit]
    said = {"title": table.title, "column": column, "limit": limit}
    return Computed(
        rng.choice(phrases.asks["count"]).format(**said),
        str(len(above)),
        f"sum(number > {limit} for number in {list(cells.values())})",
        phrases.works["count"].format(**said, rows=phrases.listed.join(above), answer=len(above)),
    )


_COMPUTED: dict[str, Callable[[list[Table], Phrases, Random], Computed]] = {
    "sum": _sum,
    "difference": _difference,
    "ratio": _ratio,
    "argmax": _argmax,
    "count": _count,
}


def _column(table: Table, rng: Random) -> tuple[Table, str, dict[str, int]]:
    """A column in which no two cells are the same."""
    at = rng.randrange(len(table.columns))
    return table, table.columns[at], {name: row[at] for name, row in table.rows.items()}


def _two(cells: dict[str, int], rng: Random) -> tuple[str, str]:
    """Two rows, that of the larger number first."""
    first, second = rng.sample(list(cells), 2)
    return (first, second) if cells[first] > cells[second] else (second, first)


def _markdown(table: Table) -> str:
    head = [(table.corner, *table.columns), ("---",) * (1 + len(table.columns))]
    rows = [*head, *((name, *map(str, row)) for name, row in table.rows.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _lines(table: Table) -> str:
    """As OTT-QA's tables are written here: ``Header: cell | Header: cell``."""
    heads = (table.corner, *table.columns)
    return "\n".join(
        " | ".join(f"{head}: {cell}" for head, cell in zip(heads, (name, *row), strict=True))
        for name, row in table.rows.items()
    )


def _csv(table: Table) -> str:
    rows = [(name, *map(str, row)) for name, row in table.rows.items()]
    return "\n".join(",".join(row) for row in [(table.corner, *table.columns), *rows])
