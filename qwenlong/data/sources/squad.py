"""Sets in the form of SQuAD (Rajpurkar et al., arXiv 1606.05250): XQuAD and CMRC 2018.

On the hub a row is a question. The files of their repositories are lists of articles with
paragraphs, whose questions become such rows. A kept answer stands in the paragraph or is one of
several that do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from qwenlong.data.rows import Rejected, Row, RowError, Rows, Source, convert, json_list
from qwenlong.data.sources import hub
from qwenlong.data.sources.fields import as_text, filled_list, fingerprint, inner_object, text
from qwenlong.types import Example, InputError

_PARAGRAPHS = 5
"""Paragraphs of each of XQuAD's 48 articles."""
_NAMED = re.compile(r"xquad\.([a-z]{2})(?![a-z])")
_OTHER = re.compile(r"[\W_]+")
_SPREADSHEET = re.compile(r"\d+\.0")
"""A date or number that a spreadsheet converted: 39764.0 for 2008年11月12日."""


def xquad_rows(source: Source, path: Path | None, subset: str) -> Rows:
    """Each question with its ``language`` and its ``article``, the id of the first question there.

    The hub's rows do not name their article but come in its order, so paragraphs are counted.
    """
    for name in _subsets(source, path, subset):
        rows = hub.rows(source, path, name, _file_rows)
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


def cmrc2018_rows(source: Source, path: Path | None, subset: str) -> Rows:
    for name in _subsets(source, path, subset):
        yield from hub.rows(source, path, name, _file_rows)


def _subsets(source: Source, path: Path | None, subset: str) -> list[str]:
    """The subsets to read: without one, all that the folder has."""
    if subset or path is None or path.is_file():
        return [subset]
    found = [name for name, files in hub.files_of(source, path).items() if files]
    if not found:
        raise InputError(f"{path}: needs a file of {' or '.join(source.subsets)}")
    return found


def _language(path: Path | None) -> str:
    """The language of xquad.en.json, or of a file in xquad.en/."""
    named = _NAMED.findall("/".join(path.parts[-2:])) if path else []
    if not named:
        raise InputError(f"subset=null: {path} does not tell its language; name it, such as en")
    return str(named[-1])


def _file_rows(file: Path) -> Rows:
    if file.suffix != ".json":
        return hub.file_rows(file)
    return convert(json_list(file, "data"), _questions, "SQuAD")


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


def xquad(row: Row) -> Iterator[Example]:
    """The same ids are in all languages, so the language is added to them; an article is a group
    in all languages."""
    name, language = text(row, "id"), text(row, "language")
    title = str(row.get("title") or "").strip()
    yield _example("xquad", row, f"{name}-{language}", text(row, "article"), language, title)


def cmrc2018(row: Row) -> Iterator[Example]:
    # Titles are the paragraphs' own, some are blank, and the hub has none.
    yield _example("cmrc2018", row, text(row, "id"), fingerprint(text(row, "context")), "zh", "")


def _example(
    source: str, row: Row, identity: str, group: str, language: str, title: str
) -> Example:
    context = text(row, "context")
    listed = filled_list(inner_object(row, "answers"), "text")
    given = dict.fromkeys(as_text(each, "answers") for each in listed)
    answers = tuple(
        answer for answer in given if not _SPREADSHEET.fullmatch(answer) or answer in context
    )
    if not any(_OTHER.sub("", answer) in _OTHER.sub("", context) for answer in answers):
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
