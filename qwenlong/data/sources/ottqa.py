"""OTT-QA (Chen et al., arXiv 2010.10439): questions over a Wikipedia table and its links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from qwenlong.data.rows import (
    Rejected,
    Row,
    RowError,
    Rows,
    Source,
    convert,
    json_file,
    json_list,
    named,
)
from qwenlong.data.sources import tables
from qwenlong.data.sources.fields import filled_list, fingerprint, joined_groups, text
from qwenlong.types import Example, InputError

_TABLE_KEYS = ("title", "section_title", "section_text", "intro", "header", "data", "url")

Table = Mapping[str, Any]
Passages = Mapping[str, str]


def ottqa_rows(source: Source, path: Path, subset: str) -> Rows:
    """Each question with its ``table``, its ``passages``, and a ``group``.

    Tables of the same page, tables that link to the same page, and tables with a passage of the
    same words form a group, directly or through others: questions of two groups share no document,
    and no page under another name. The texts are tokenised ("Roanoke , Virginia").
    """
    questions, folder, kind = _layout(source, path, subset)
    groups = joined_groups(dict(_shared(questions, folder, kind)))

    def joined(where: str, row: Row) -> Iterator[tuple[str, Row]]:
        name = text(row, "table_id")
        table, passages = _load(folder, kind, name)
        yield where, {**row, "table": table, "passages": passages, "group": groups[name]}

    yield from convert(json_list(questions), joined, source.name)


def _layout(source: Source, path: Path, subset: str) -> tuple[Path, Path, str]:
    """The file of questions, the folder of tables and passages, and how the latter are named."""
    if (path / "questions.json").is_file():
        return path / "questions.json", path, "{}_tok"
    questions = path / "released_data" / f"{subset or 'dev'}.traced.json"
    if not questions.is_file():
        raise InputError(f"{path}: must be {source.layout}")
    return questions, path / "data", "traindev_{}_tok"


def _shared(questions: Path, folder: Path, kind: str) -> Iterator[tuple[str, list[str]]]:
    """Pages and passages of every table that can be read."""
    seen = set()
    for item in json_list(questions):
        name = "" if isinstance(item, Rejected) else item[1].get("table_id")
        if not isinstance(name, str) or not name or name in seen:
            continue
        seen.add(name)
        try:
            table, passages = _load(folder, kind, name)
        except (InputError, RowError):
            continue
        page = "/wiki/" + unquote(str(table["url"]).rpartition("/wiki/")[2])
        # Redirects give one passage under several links.
        yield name, [page, *map(unquote, passages), *map(fingerprint, passages.values())]


def _load(folder: Path, kind: str, name: str) -> tuple[Table, Passages]:
    file = folder / kind.format("tables") / f"{name}.json"
    table = _object(file)
    missing = [key for key in _TABLE_KEYS if key not in table]
    if missing:
        raise RowError(f"{file}: {', '.join(missing)} is missing, which ottqa has")
    file = folder / kind.format("request") / f"{name}.json"
    passages = _object(file)
    for link, passage in passages.items():
        if not isinstance(passage, str):
            raise RowError(f"{file}: {link}={passage!r}: a passage must be a text")
    return table, passages


def _object(file: Path) -> dict[str, Any]:
    whole = json_file(file)
    if not isinstance(whole, dict):
        raise InputError(f"{file}: must be a JSON object, is {named(whole)}")
    return whole


def ottqa(row: Row) -> Iterator[Example]:
    """The documents are the table as text, then every passage that it links to."""
    table, passages = row["table"], row["passages"]
    nodes = filled_list(row, "answer-node")
    linked = [link for _, _, link, where in nodes if where == "passage"]
    order = list(passages)
    yield Example(
        id=text(row, "question_id"),
        source="ottqa",
        question=text(row, "question"),
        documents=(table_text(table), *(f"{_title(k)}\n{v}" for k, v in passages.items())),
        answers=(text(row, "answer-text"),),
        reasoning=_reasoning(row, table, passages),
        # The table, because it leads to the passages, and every passage with the answer's words.
        gold_documents=(0, *sorted({1 + order.index(link) for link in linked})),
        group=f"ottqa:{row['group']}",
        metadata={"question_id": row["question_id"], "table_id": row["table_id"], "language": "en"},
    )


def table_text(table: Table) -> str:
    """Title, section and introduction, then a line a row."""
    lines = [_row_text(table, row) for row in range(len(table["data"]))]
    head = [f"{table['title']} ({table['section_title']})", table["intro"], table["section_text"]]
    return "\n".join(each for each in [*head, *lines] if each.strip())


def _row_text(table: Table, row: int) -> str:
    return tables.line(
        [name for name, _ in table["header"]], [content for content, _ in table["data"][row]]
    )


def _cell_text(table: Table, row: int, column: int) -> str:
    return tables.cell(table["header"][column][0], table["data"][row][column][0])


def _title(link: str) -> str:
    return unquote(link.removeprefix("/wiki/")).replace("_", " ")


def _reasoning(question: Row, table: Table, passages: Passages) -> str:
    """Where the answer stands, in one or two sentences.

    OTT-QA's nodes are all places that have the answer's words, not the one that an annotator used;
    of several, the one that shares most words with the question is given.
    """
    answer = question["answer-text"]
    asked = _words(question["question"])
    told = []
    for _, (row, column), link, where in question["answer-node"]:
        cell = _cell_text(table, row, column)
        if where == "table":
            told.append(f"A row of the table says: {_row_text(table, row)}. There, {cell}.")
        else:
            says = _sentence(passages[link], answer)
            told.append(f'The table has {cell}. The passage "{_title(link)}" says: {says}')
    return max(told, key=lambda text: len(asked & _words(text)))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _sentence(passage: str, answer: str) -> str:
    """The sentence of a tokenised passage (they end in `` . ``) in which the answer stands."""
    whole = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", passage, re.IGNORECASE)
    if whole is None:
        return passage
    start = passage.rfind(" . ", 0, whole.start() + 1)
    end = passage.find(" . ", whole.end())
    return passage[start + 3 if start >= 0 else 0 : end + 2 if end >= 0 else None]
