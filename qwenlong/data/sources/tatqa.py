"""TAT-QA (Zhu et al., arXiv 2105.07624): questions over a table of a report and its text.

Its answer types become kinds: arithmetic and count are numeric; a span is numeric if it is a
number, else extractive; multi-span is a list, in order if the question says "respectively". The
scale of an answer (thousand, million, billion, percent) is written behind it, because its verifier
compares it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from qwenlong.data.rows import Rejected, Row, RowError, Rows, Source, convert, json_list
from qwenlong.data.sources import tables
from qwenlong.data.sources.fields import (
    as_text,
    filled_list,
    joined_groups,
    plain_number,
    subset_files,
    text,
)
from qwenlong.types import Example

_SUBSETS = ("train", "dev")
_SCALES = ("", "thousand", "million", "billion", "percent")
_HEADING = 120
"""Characters that no heading exceeds: "Notes to consolidated financial statements (in …"."""
_MONEY = r"(?:[A-Z]{0,3}[$€£¥]|RMB)"
_FIGURE = re.compile(
    rf"[-−(]?{_MONEY}?\s?[-−(]?\d[\d,]*(?:\.\d+)?\)?\s?"
    r"(?:%|per ?cent|thousand|million|billion|m|years?|months?|days?)?\)?"
)
_RUPEE = "`"
"""The set's files have this in place of the rupee's sign."""
_YEAR = re.compile(r"(?:19|20)\d\d")
_SCALED = re.compile(r"%|per ?cent|thousand|million|billion|\dm\b")


def rows(path: Path, subset: str) -> Rows:
    """A row a question: the document with ``questions`` of one, and ``groups`` by page.

    Pages with a long paragraph in common, which are of one report, are of one group.
    """
    for file in subset_files(path, subset, "tatqa_dataset_{}.json", _SUBSETS):
        questions = partial(_questions, joined_groups(dict(_shared(file))))
        yield from convert(json_list(file), questions, "tatqa")


def _questions(groups: Mapping[str, str], where: str, row: Row) -> Iterator[tuple[str, Row]]:
    for number, question in enumerate(filled_list(row, "questions"), start=1):
        yield f"{where}, question {number}", {**row, "groups": groups, "questions": [question]}


def _shared(file: Path) -> Iterator[tuple[str, list[str]]]:
    """The name of every page, which is its table's, and its long paragraphs."""
    for item in json_list(file):
        if isinstance(item, Rejected):
            continue
        try:
            texts = [str(each["text"]).strip() for each in item[1]["paragraphs"]]
            yield str(item[1]["table"]["uid"]), [each for each in texts if len(each) > _HEADING]
        except (KeyError, TypeError):
            continue  # its questions are rejected one by one


def examples(row: Row) -> Iterator[Example]:
    """The documents are the table and each paragraph, in the report's order."""
    table = row["table"]["table"]
    paragraphs = sorted(filled_list(row, "paragraphs"), key=lambda each: int(each["order"]))
    documents = (tables.text(table), *(text(each, "text") for each in paragraphs))
    places = {str(each["order"]): at for at, each in enumerate(paragraphs, start=1)}
    name = text(row["table"], "uid")
    for question in filled_list(row, "questions"):
        asked = text(question, "question")
        kind, answers, more = _answers(question, asked)
        yield Example(
            id=text(question, "uid"),
            source="tatqa",
            question=asked,
            documents=documents,
            answers=answers,
            kind=kind,
            reasoning=_reasoning(question, answers[0]),
            gold_documents=_gold(question, places),
            group=f"tatqa:{row.get('groups', {}).get(name, name)}",
            metadata={
                "question_id": question["uid"],
                "table_id": name,
                "answer_type": question["answer_type"],
                "answer_from": question["answer_from"],
                "language": "en",
                **more,
            },
        )


def _answers(question: Row, asked: str) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Kind, gold answers, and the metadata that their verifier needs."""
    scale = question["scale"]
    if scale not in _SCALES:
        raise RowError(f"scale={scale!r} must be one of {', '.join(_SCALES[1:])} or empty")
    answer, form = question["answer"], question["answer_type"]
    if form in ("arithmetic", "count"):
        return "numeric", (_scaled(plain_number(answer), scale),), {}
    if form not in ("span", "multi-span"):
        raise RowError(f"answer_type={form!r} is none that tatqa has")
    spans = [as_text(each, "answer") for each in filled_list(question, "answer") if each != ""]
    spans = [span.removeprefix(_RUPEE) for span in spans]
    if form == "multi-span":
        # The numbers of one answer share a scale; years among them have none.
        scaled = {span: [_scaled(span, scale)] for span in spans if _is_figure(span)}
        aliases = {span: forms for span, forms in scaled.items() if forms != [span]}
        ordered = "respectively" in asked
        return "list", tuple(spans), {"ordered": ordered, "aliases": aliases}
    if len(spans) != 1:
        raise RowError(f"a span of {len(spans)} parts")
    if _is_figure(spans[0]):
        return "numeric", (_scaled(spans[0], scale),), {}
    return "extractive", (spans[0],), {}


def _is_figure(span: str) -> bool:
    return bool(_FIGURE.fullmatch(span)) and not _YEAR.fullmatch(span)


def _scaled(number: str, scale: str) -> str:
    if not scale or _SCALED.search(number):
        return number
    return f"{number}%" if scale == "percent" else f"{number} {scale}"


def _reasoning(question: Row, answer: str) -> str:
    """The derivation: a sum with what it comes to, or the things that were counted."""
    derivation = str(question["derivation"]).strip().replace("##", "; ")
    if not derivation:
        return ""
    forms = {"arithmetic": f"{derivation} = {answer}", "count": f"{derivation}: {answer}"}
    return forms.get(question["answer_type"], derivation)


def _gold(question: Row, places: dict[str, int]) -> tuple[int, ...]:
    """The table where the answer is from it, and the paragraphs that belong to the answer."""
    table = [0] if "table" in question["answer_from"] else []
    unknown = [order for order in question["rel_paragraphs"] if order not in places]
    if unknown:
        raise RowError(f"rel_paragraphs has {unknown[0]!r}, and there is no such paragraph")
    return (*table, *sorted(places[order] for order in question["rel_paragraphs"]))


SOURCE = Source(
    name="tatqa",
    rows=rows,
    examples=examples,
    layout="dataset_raw/ of github.com/NExTplusplus/TAT-QA, or one of its files",
    licence="CC BY 4.0",
    citation="Zhu et al., TAT-QA: A Question Answering Benchmark, arXiv 2105.07624",
    subsets=_SUBSETS,
)
