"""Sets in the form of SQuAD (Rajpurkar et al., arXiv 1606.05250): XQuAD and CMRC 2018.

XQuAD (Artetxe et al., arXiv 1910.11856) has the same articles in several languages; an article is
one group in all of them. CMRC 2018 (Cui et al., arXiv 1810.07366) has three answers a question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from qwenlong.data.rows import Rejected, Row, RowError, Rows, Source, json_list
from qwenlong.data.sources.fields import as_text, filled_list, fingerprint, subset_files, text
from qwenlong.types import Example

_LANGUAGES = ("en", "zh", "es", "ar")
_SPLITS = ("train", "dev")
_OTHER = re.compile(r"[\W_]+")
_SPREADSHEET = re.compile(r"\d+\.0")
"""What a spreadsheet made of a date or a number: 39764.0 for 2008年11月12日."""


def xquad_rows(path: Path, subset: str) -> Rows:
    for file in subset_files(path, subset, "xquad.{}.json", _LANGUAGES):
        yield from _flat(file, language=subset or _language(file))


def _language(file: Path) -> str:
    """Of xquad.en.json; empty where the name does not tell."""
    name = file.stem.rpartition(".")[2]
    return name if len(name) == 2 else ""


def cmrc_rows(path: Path, subset: str) -> Rows:
    for file in subset_files(path, subset, "cmrc2018_{}.json", _SPLITS):
        yield from _flat(file, language="zh")


def _flat(file: Path, language: str) -> Rows:
    """A row a question, in the form of the hub, with the article's title and the language."""
    for item in json_list(file, at=lambda whole: whole["data"]):
        if isinstance(item, Rejected):
            yield item
            continue
        where, article = item
        try:
            yield from _questions(where, article, language)
        except (KeyError, TypeError) as error:
            yield Rejected(where, f"not an article of SQuAD's form: {error!r}")


def _questions(where: str, article: Row, language: str) -> Iterator[tuple[str, Row] | Rejected]:
    for number, paragraph in enumerate(article["paragraphs"], start=1):
        for count, each in enumerate(paragraph["qas"], start=1):
            place = f"{where}, paragraph {number}, question {count}"
            answers = each.get("answers")
            if not isinstance(answers, list):
                yield Rejected(place, "answers must be a list, as SQuAD has it")
                continue
            yield (
                place,
                {
                    "id": each.get("id"),
                    "title": article.get("title", ""),
                    "context": paragraph["context"],
                    "question": each.get("question"),
                    "answers": {"text": [answer["text"] for answer in answers]},
                    "language": language,
                },
            )


def xquad_examples(row: Row) -> Iterator[Example]:
    yield _example("xquad", row)


def cmrc_examples(row: Row) -> Iterator[Example]:
    # Titles are the paragraphs' own, and some are blank.
    yield _example("cmrc2018", {**row, "title": "", "language": "zh"})


def _example(source: str, row: Row) -> Example:
    """The document is the paragraph.

    Raises:
        RowError: none of the answers stands in the paragraph.
    """
    context, name = text(row, "context"), text(row, "id")
    language = str(row.get("language", ""))
    title = str(row.get("title", "")).strip()
    given = dict.fromkeys(as_text(each, "answers") for each in filled_list(row["answers"], "text"))
    answers = tuple(_kept(given, context))
    if not any(_letters(answer) in _letters(context) for answer in answers):
        raise RowError(f"answers {list(given)!r}: none stands in the paragraph")
    more: dict[str, Any] = {"language": language} if language else {}
    return Example(
        # Parallel questions have the same id.
        id=f"{name}-{language}" if language and source == "xquad" else name,
        source=source,
        question=text(row, "question"),
        documents=(context,),
        answers=answers,
        gold_documents=(0,),
        group=f"{source}:{title or fingerprint(context)}",
        metadata={"question_id": name, "title": title, **more},
    )


def _kept(answers: Iterable[str], context: str) -> Iterator[str]:
    for answer in answers:
        if not _SPREADSHEET.fullmatch(answer) or answer in context:
            yield answer


def _letters(content: str) -> str:
    return _OTHER.sub("", content)


XQUAD = Source(
    name="xquad",
    rows=xquad_rows,
    examples=xquad_examples,
    layout="github.com/deepmind/xquad with its xquad.*.json, or one of them",
    licence="CC BY-SA 4.0",
    citation="Artetxe et al., On the Cross-lingual Transferability, arXiv 1910.11856",
    hub="google/xquad",
    subsets=_LANGUAGES,
)
CMRC2018 = Source(
    name="cmrc2018",
    rows=cmrc_rows,
    examples=cmrc_examples,
    layout="squad-style-data/ of github.com/ymcui/cmrc2018, or one of its files",
    licence="CC BY-SA 4.0",
    citation="Cui et al., A Span-Extraction Dataset for Chinese, arXiv 1810.07366",
    hub="hfl/cmrc2018",
    subsets=_SPLITS,
)
