"""Sets in the form of SQuAD (Rajpurkar et al., arXiv 1606.05250): XQuAD and CMRC 2018.

Schema: in their repositories a JSON file with articles in ``data``: ``title``, ``paragraphs``
(``context``, ``qas``: ``id``, ``question``, ``answers``). On the hub a row is a question: ``id``,
``context``, ``question``, ``answers`` (``text``, ``answer_start``); ``google/xquad`` has a
configuration a language, ``hfl/cmrc2018`` calls ``dev`` validation. Both are CC BY-SA 4.0.

XQuAD (Artetxe et al., arXiv 1910.11856) has the same articles in several languages, under the same
ids: the language is added to them here. An article, five paragraphs, is one group in all languages,
under the id of its first question. The hub's rows do not name their article but come in its order,
so paragraphs are counted there. CMRC 2018 (Cui et al., arXiv 1810.07366) has three answers a
question; a paragraph is a group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from qwenlong.data.rows import Rejected, Row, RowError, Rows, convert, json_list
from qwenlong.data.sources.fields import as_text, filled_list, fingerprint, inner_object, text
from qwenlong.data.sources.hub import Part, Snapshot, file_rows, on_hub
from qwenlong.types import Example, InputError

_LANGUAGES = ("en", "zh", "es", "ar")
_PARAGRAPHS = 5
"""Of each of XQuAD's 48 articles."""
_NAMED = re.compile(r"xquad\.([a-z]{2})(?![a-z])")
_OTHER = re.compile(r"[\W_]+")
_SPREADSHEET = re.compile(r"\d+\.0")
"""A date or number that a spreadsheet converted: 39764.0 for 2008年11月12日."""


def xquad_rows(path: Path | None, subset: str) -> Rows:
    """A row a question, as the hub has them, with its ``language`` and its ``article``."""
    for name in _subsets(_XQUAD, path, subset):
        rows = _XQUAD(path, name)
        language = name or _language(path)
        paragraphs = 0
        context, article = None, ""
        for item in rows:
            if isinstance(item, Rejected):
                yield item
                continue
            where, row = item
            if row.get("context") != context:
                context = row.get("context")
                article = article if paragraphs % _PARAGRAPHS else str(row.get("id"))
                paragraphs += 1
            yield where, {"article": article, **row, "language": language}


def cmrc_rows(path: Path | None, subset: str) -> Rows:
    for name in _subsets(_CMRC, path, subset):
        yield from _CMRC(path, name)


def _subsets(snapshot: Snapshot, path: Path | None, subset: str) -> list[str]:
    """The subsets to read: without one, all that the folder has."""
    if subset or path is None or path.is_file():
        return [subset]
    held = snapshot.held(path)
    found = [name for name in snapshot.subsets if held[name]]
    if not found:
        raise InputError(f"{path}: needs a file of {' or '.join(snapshot.subsets)}")
    return found


def _language(path: Path | None) -> str:
    """Of xquad.en.json, or of a file in xquad.en/."""
    named = _NAMED.findall("/".join(path.parts[-2:])) if path else []
    if not named:
        raise InputError(f"subset=null: {path} does not tell its language; name it, such as en")
    return str(named[-1])


def _file_rows(file: Path) -> Rows:
    """Articles are taken apart; rows of the hub stay as they are."""
    if file.suffix != ".json":
        yield from file_rows(file)
        return
    yield from convert(json_list(file, "data"), _questions, "SQuAD")


def _questions(where: str, article: Row) -> Iterator[tuple[str, Row] | Rejected]:
    """The questions of an article; a row of the hub's is one already."""
    if "context" in article:
        yield where, article
        return
    paragraphs = article["paragraphs"]
    first = str(next((each.get("id") for part in paragraphs for each in part["qas"]), ""))
    for number, paragraph in enumerate(paragraphs, start=1):
        for count, each in enumerate(paragraph["qas"], start=1):
            place = f"{where}, paragraph {number}, question {count}"
            answers = each.get("answers")
            if not isinstance(answers, list):
                yield Rejected(place, "answers must be a list, as SQuAD has it")
                continue
            row = {key: each.get(key) for key in ("id", "question")}
            row |= {"article": first, "title": article.get("title", "")}
            texts = [answer["text"] for answer in answers]
            yield place, {**row, "context": paragraph["context"], "answers": {"text": texts}}


def xquad_examples(row: Row) -> Iterator[Example]:
    name, language = text(row, "id"), text(row, "language")
    title = str(row.get("title") or "").strip()
    yield _example("xquad", row, f"{name}-{language}", text(row, "article"), language, title)


def cmrc_examples(row: Row) -> Iterator[Example]:
    # Titles are the paragraphs' own, some are blank, and the hub has none.
    yield _example("cmrc2018", row, text(row, "id"), fingerprint(text(row, "context")), "zh", "")


def _example(
    source: str, row: Row, identity: str, group: str, language: str, title: str
) -> Example:
    """The document is the paragraph.

    Raises:
        RowError: none of the answers stands in the paragraph.
    """
    context = text(row, "context")
    listed: list[Any] = filled_list(inner_object(row, "answers"), "text")
    given = dict.fromkeys(as_text(each, "answers") for each in listed)
    answers = tuple(_kept(given, context))
    if not any(_letters(answer) in _letters(context) for answer in answers):
        raise RowError(f"answers {list(given)!r}: none stands in the paragraph")
    return Example(
        id=identity,
        source=source,
        question=text(row, "question"),
        documents=(context,),
        answers=answers,
        gold_documents=(0,),
        group=f"{source}:{group}",
        metadata={"question_id": text(row, "id"), "title": title, "language": language},
    )


def _kept(answers: Iterable[str], context: str) -> Iterator[str]:
    for answer in answers:
        if not _SPREADSHEET.fullmatch(answer) or answer in context:
            yield answer


def _letters(content: str) -> str:
    return _OTHER.sub("", content)


_XQUAD = Snapshot(
    "google/xquad",
    {language: Part("validation", f"xquad.{language}") for language in _LANGUAGES},
    file=_file_rows,
)
_CMRC = Snapshot(
    "hfl/cmrc2018", {"train": Part("train"), "dev": Part("validation")}, file=_file_rows
)
XQUAD = on_hub(
    "xquad",
    xquad_examples,
    _XQUAD,
    licence="CC BY-SA 4.0",
    citation="Artetxe et al., On the Cross-lingual Transferability, arXiv 1910.11856",
    rows=xquad_rows,
)
CMRC2018 = on_hub(
    "cmrc2018",
    cmrc_examples,
    _CMRC,
    licence="CC BY-SA 4.0",
    citation="Cui et al., A Span-Extraction Dataset for Chinese, arXiv 1810.07366",
    rows=cmrc_rows,
)
SOURCES = (XQUAD, CMRC2018)
