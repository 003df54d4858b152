"""OTT-QA (Chen et al., arXiv 2010.10439): questions over a Wikipedia table and its links."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from qwenlong.config import SourceConfig
from qwenlong.types import CountTokens, Example, InputError, Split

_LAYOUT = (
    "a folder with questions.json (released_data/dev.traced.json), tables_tok/ and request_tok/"
    " (data/traindev_*_tok/) of github.com/wenhuchen/OTT-QA"
)
_QUESTION_KEYS = ("question_id", "question", "table_id", "answer-text", "answer-node")
_TABLE_KEYS = ("title", "section_title", "section_text", "intro", "header", "data", "url")
_HELD_OUT = 5
"""One table in this many is held out."""

Table = Mapping[str, Any]
Passages = Mapping[str, str]


def read(
    spec: SourceConfig, split: Split, count_tokens: CountTokens, seed: int
) -> Iterator[Example]:
    """Yields the split's questions in file order, at most ``spec.examples``.

    The documents of a question are its table as text, then every passage that the table links
    to. The splits share no table, no passage and no Wikipedia page (``held_out_tables``), and
    are the same for every seed; ``count_tokens`` and ``seed`` belong to the signature that all
    readers share. The texts are tokenised ("Roanoke , Virginia") as OTT-QA has them.

    Raises:
        InputError: a file is missing or is not of OTT-QA's form.
    """
    folder = Path(spec.path or "")
    if spec.path is None or not folder.is_dir():
        raise InputError(f"path={spec.path}: source ottqa needs {_LAYOUT}")
    questions = _questions(folder / "questions.json")
    tables = dict.fromkeys(question["table_id"] for question in questions)
    held_out = held_out_tables({table_id: _shared(folder, table_id) for table_id in tables})
    wanted = held_out if split == "held_out" else tables.keys() - held_out
    if not wanted:
        raise InputError(
            f"path={spec.path}: no table is left for {split}: all {len(tables)} share passages"
        )
    chosen = (question for question in questions if question["table_id"] in wanted)
    for question in islice(chosen, spec.examples):
        table, passages = _load(folder, question["table_id"])
        try:
            example = _example(question, table, passages)
        except (LookupError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder}: question {question['question_id']} does not fit table"
                f" {question['table_id']}: {error!r}"
            ) from error
        yield example


def held_out_tables(shared: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The tables of the held-out split: one in five, closed under what tables share.

    ``shared`` maps a table to all that it must not have in common with the other split. Tables
    that share something, directly or through others, stay together; such components are held
    out in the order of a hash while they fit. The largest never fits, so held-out tables link
    to rarer pages than training tables do.
    """
    room = len(shared) // _HELD_OUT
    held_out: set[str] = set()
    for component in sorted(_components(shared), key=lambda tables: _digest(min(tables))):
        if len(held_out) + len(component) <= room:
            held_out |= component
    return frozenset(held_out)


def _components(shared: Mapping[str, frozenset[str]]) -> list[set[str]]:
    component: dict[str, set[str]] = {}
    owner: dict[str, str] = {}
    for table_id, things in shared.items():
        component[table_id] = {table_id}
        for thing in things:
            other = component[owner.setdefault(thing, table_id)]
            own = component[table_id]
            if other is not own:
                small, large = sorted((own, other), key=len)
                large |= small
                component.update(dict.fromkeys(small, large))
    return list({id(tables): tables for tables in component.values()}.values())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _shared(folder: Path, table_id: str) -> frozenset[str]:
    """The pages that a table stands on or links to, and the passages' texts (redirects differ)."""
    table, passages = _load(folder, table_id)
    page = "/wiki/" + unquote(str(table["url"]).rpartition("/wiki/")[2])
    links = {unquote(link) for link in passages}
    return frozenset({page, *links, *(_digest(text) for text in passages.values())})


def _questions(path: Path) -> list[dict[str, Any]]:
    questions = _json(path)
    if not isinstance(questions, list) or not questions:
        raise InputError(f"{path}: must be a list of questions, as in {_LAYOUT}")
    for index, question in enumerate(questions):
        _require(question, _QUESTION_KEYS, f"{path}: question {index}")
        if not str(question["answer-text"]).strip() or not question["answer-node"]:
            raise InputError(f"{path}: question {index} ({question['question_id']}) has no answer")
    return questions


def _load(folder: Path, table_id: str) -> tuple[Table, Passages]:
    path = folder / "tables_tok" / f"{table_id}.json"
    table = _json(path)
    _require(table, _TABLE_KEYS, str(path))
    path = folder / "request_tok" / f"{table_id}.json"
    passages = _json(path)
    _require(passages, (), str(path))
    for link, text in passages.items():
        if not isinstance(text, str):
            raise InputError(f"{path}: {link}={text!r}: a passage must be a text")
    return table, passages


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; source ottqa needs {_LAYOUT}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start + 1})") from None


def _require(record: Any, keys: tuple[str, ...], where: str) -> None:
    if not isinstance(record, dict):
        raise InputError(f"{where}: must be a JSON object, as in {_LAYOUT}")
    missing = [key for key in keys if key not in record]
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} is missing, which OTT-QA has")


def _example(question: Mapping[str, Any], table: Table, passages: Passages) -> Example:
    return Example(
        id=question["question_id"],
        source="ottqa",
        question=question["question"],
        documents=(table_text(table), *(f"{_title(k)}\n{v}" for k, v in passages.items())),
        answers=(question["answer-text"],),
        reasoning=_reasoning(question, table, passages),
        metadata={"question_id": question["question_id"], "table_id": question["table_id"]},
    )


def table_text(table: Table) -> str:
    """Title, section and introduction, then a line ``Header: cell | Header: cell`` a row."""
    rows = [_row_text(table, row) for row in range(len(table["data"]))]
    head = [f"{table['title']} ({table['section_title']})", table["intro"], table["section_text"]]
    return "\n".join(line for line in [*head, *rows] if line.strip())


def _row_text(table: Table, row: int) -> str:
    cells = range(len(table["header"]))
    return " | ".join(_cell_text(table, row, cell) for cell in cells)


def _cell_text(table: Table, row: int, column: int) -> str:
    header, cell = table["header"][column][0].strip(), table["data"][row][column][0].strip()
    return f"{header}: {cell or '-'}" if header else cell or "-"


def _title(link: str) -> str:
    return unquote(link.removeprefix("/wiki/")).replace("_", " ")


def _reasoning(question: Mapping[str, Any], table: Table, passages: Passages) -> str:
    """Where the answer stands, in one or two sentences.

    OTT-QA's nodes are every place that has the answer's words, not the one that an annotator
    used; of several, the one that shares most words with the question is told.
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
