"""The user's own rows: lines of JSON with documents, with questions over them, or both.

``documents`` is a list of texts or of ``{"title", "text"}``; ``document``, ``context`` or ``text``
is one text. ``questions`` is a list of objects over the same documents; a key that one of them does
not have is taken from the line, and they form a group. Any key that is not known becomes metadata,
under the object ``metadata``, which takes precedence, as in lines for ``qwenlong score``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from qwenlong.config import SourceConfig
from qwenlong.data.rows import Rejected, Row, RowError, convert, json_lines, named, text_of
from qwenlong.rewards.registry import find
from qwenlong.types import CountTokens, Example, InputError, Split

_ONE_TEXT = ("document", "context", "text")
_DOCUMENTS = ("documents", *_ONE_TEXT)
_ANSWERS = ("answers", "answer")
_OF_THE_LINE = {"id", "questions", *_DOCUMENTS}
_KNOWN = {"source", "question", "kind", "reasoning", "group", "gold_documents", "metadata"}
_SCORED = {"response", "score"}
"""Fields of lines that ``qwenlong score`` reads or has written: no part of an example."""
_TAKEN = _OF_THE_LINE | _KNOWN | _SCORED | {*_ANSWERS}


@dataclass(frozen=True)
class Document:
    """A titled text of the user's."""

    title: str
    text: str
    where: str
    """Its file, within the folder, and the line or place of it in a JSONL file: unique."""


@dataclass(frozen=True)
class Line:
    """What a line of JSONL gives."""

    where: str
    documents: tuple[Document, ...]
    examples: tuple[Example, ...]


def read(
    spec: SourceConfig, split: Split, count_tokens: CountTokens, seed: int
) -> Iterator[Example | Rejected]:
    """The examples of the file ``spec.path``, for either split.

    Raises:
        InputError: there is no such file, or no line in it.
    """
    if spec.path is None:
        raise InputError(f"path={spec.path}: source jsonl needs the path of a JSONL file")
    path = Path(spec.path)
    empty = True
    for item in lines(path, path.name):
        empty = False
        if isinstance(item, Rejected):
            yield item
        elif item.examples:
            yield from item.examples
        else:
            yield Rejected(item.where, "question is missing")
    if empty:
        raise InputError(f"{path}: the file is empty; one JSON object a line is needed")


def lines(path: Path, name: str) -> Iterator[Line | Rejected]:
    """The lines of a file that is called ``name`` in what they are known by. Memory holds one.

    Raises:
        InputError: there is no such file.
    """
    stem = PurePosixPath(name).with_suffix("").as_posix()
    first: dict[str, str] = {}

    def line(where: str, row: Row) -> Iterator[Line]:
        number = where.rpartition(":")[2]
        made = _line(row, where, f"{stem}:{number}", path.stem)
        for example in made.examples:
            if first.setdefault(example.id, number) != number:
                raise RowError(f"id {example.id!r} is already that of line {first[example.id]}")
        yield made

    return convert(json_lines(path), line, "jsonl")


def _line(row: Row, where: str, at: str, stem: str) -> Line:
    titled = _titled(row, at)
    texts = tuple(_headed(document) for document in titled)
    examples = []
    for question, prefix, default in _questions(row, at):
        try:
            example = Example(
                id=_identity(question) or default,
                source=_optional(question, "source") or stem,
                question=text_of(question.get("question"), "question"),
                documents=texts,
                answers=_answers(question),
                kind=_kind(question),
                reasoning=_optional(question, "reasoning"),
                gold_documents=_gold(question, len(texts)),
                group=_optional(question, "group") or (at if prefix else ""),
                metadata=_metadata(question),
            )
        except RowError as error:
            raise RowError(f"{prefix}{error}") from None
        examples.append(example)
    return Line(where, titled, tuple(examples))


def _titled(row: Row, at: str) -> tuple[Document, ...]:
    key = _one_of(row, _DOCUMENTS)
    value = row[key]
    title = _optional(row, "title")
    if key != "documents":
        return (Document(title or at, text_of(value, key), at),)
    if not isinstance(value, list):
        raise RowError(
            f"documents must be a list of texts or of objects with title and text, not"
            f" {named(value)}"
        )
    if not value:
        raise RowError("documents=[]: at least one text is needed")
    found = []
    for place, each in enumerate(value):
        key, own = f"documents[{place}]", title if len(value) == 1 else ""
        if isinstance(each, Mapping):
            own, each, key = _optional(each, "title", key), each.get("text"), f"{key}.text"
        here = f"{at}:{place + 1}"
        found.append(Document(own or here, text_of(each, key), here))
    return tuple(found)


def _headed(document: Document) -> str:
    """A document as a prompt shows it: under its title, if it was given one."""
    own = document.title != document.where
    return f"{document.title}\n{document.text}" if own else document.text


def _questions(row: Row, at: str) -> Iterator[tuple[Row, str, str]]:
    """Each question, with what the line says of all; the prefix of its keys; its id by default."""
    if row.get("questions") is None:
        if row.get("question") is not None:
            yield row, "", at
        return
    if row.get("question") is not None:
        raise RowError("has both question and questions; keep one of them")
    if not isinstance(row["questions"], list):
        raise RowError("questions must be a list of objects with question and answers")
    shared = {key: value for key, value in row.items() if key not in _OF_THE_LINE}
    for place, each in enumerate(row["questions"]):
        here = f"questions[{place}]"
        if not isinstance(each, Mapping):
            raise RowError(f"{here} must be an object with question and answers")
        if any(each.get(key) is not None for key in _DOCUMENTS):
            raise RowError(f"{here} has documents; they stand in the line, for all its questions")
        yield {**shared, **each}, f"{here}.", f"{at}:{place + 1}"


def _answers(row: Row) -> tuple[str, ...]:
    if not find(_kind(row)).needs_gold and not any(row.get(key) for key in _ANSWERS):
        return ()
    key = _one_of(row, _ANSWERS)
    value = row[key]
    if key == "answer":
        return (text_of(value, "answer"),)
    if not isinstance(value, list):
        raise RowError(f"answers must be a list of texts, not {named(value)}")
    if not value:
        raise RowError("answers=[]: at least one text is needed")
    return tuple(text_of(each, f"answers[{place}]") for place, each in enumerate(value))


def _gold(row: Row, count: int) -> tuple[int, ...]:
    given = row.get("gold_documents")
    if given is None:
        return ()
    if not isinstance(given, list) or any(type(each) is not int for each in given):
        raise RowError("gold_documents must be a list of the documents' places, from 0")
    beyond = [each for each in given if not 0 <= each < count]
    if beyond:
        raise RowError(f"gold_documents: there is no {beyond[0]} of {count} documents, from 0")
    return tuple(sorted(set(given)))


def _metadata(row: Row) -> dict[str, Any]:
    """What no other field is, with the row's own ``metadata`` over it."""
    own = row.get("metadata")
    if own is not None and not isinstance(own, dict):
        raise RowError(f"metadata must be an object, not {named(own)}")
    rest = {key: value for key, value in row.items() if key not in _TAKEN}
    if isinstance(rest.get("thinking"), bool):
        del rest["thinking"]  # said of a response; what kind format asks for is a text
    metadata = rest | (own or {})
    if "messages" in metadata:
        raise RowError("messages are a chat, which source chat reads; or call them otherwise")
    return metadata


def _kind(row: Row) -> str:
    return _optional(row, "kind") or "extractive"


def _identity(row: Row) -> str:
    value = row.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _optional(row, "id")


def _optional(row: Row, key: str, place: str = "") -> str:
    value = row.get(key)
    name = f"{place}.{key}" if place else key
    return "" if value is None or value == "" else text_of(value, name)


def _one_of(row: Row, keys: tuple[str, ...]) -> str:
    given = [key for key in keys if row.get(key) is not None]
    if not given:
        raise RowError(f"{' or '.join(keys)} is missing")
    if len(given) > 1:
        raise RowError(f"has both {' and '.join(given)}; keep one of them")
    return given[0]
