"""Numbers from financial reports: FinQA, ConvFinQA, TAT-QA and DocMath-Eval."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any

from qwenlong.data.rows import (
    Rejected,
    Row,
    RowError,
    Rows,
    Source,
    convert,
    files,
    json_lines,
    json_list,
)
from qwenlong.data.sources import tables
from qwenlong.data.sources.fields import (
    answer_text,
    as_text,
    filled_list,
    fingerprint,
    joined_groups,
    subset_files,
    text,
)
from qwenlong.data.words import folded
from qwenlong.types import Example

FINQA_TOLERANCE = 0.005
"""Nobody writes the five decimals of a program's result: the largest relative error of a percentage
that is rounded to three digits."""
DOCMATH_TOLERANCE = 0.0015
"""Relative; DocMath-Eval's own, and QwenLong-L1's."""
_FINQA_PROMPT = re.compile(
    r"Please answer the given financial question based on the context\.\n"
    r"Context: (.*)\nQuestion: (.*)\nAnswer:",
    re.DOTALL,
)
_FINQA_PERCENT = re.compile(r"per ?cent|%|growth rate", re.IGNORECASE)
_ESCAPED = re.compile(r"\\+n")
"""Line feeds that were escaped once too often."""
_CONVFINQA_ID = re.compile(r"(?:Single|Double)_(([^/]+)/(\d{4}))/page_(\d+)\.pdf(?:-\d+)?")
_CONVFINQA_PERCENT = re.compile(r"per ?cent|%|rate|growth", re.IGNORECASE)
_QUOTIENT = re.compile(r"/ (?!(?:\d|10+)$)\S+$")
"""A division, but by a small count, as in averages, or by a power of ten."""
_TATQA_SCALES = ("", "thousand", "million", "billion", "percent")
_HEADING = 120
"""Characters that no heading exceeds: "Notes to consolidated financial statements (in …"."""
_MONEY = r"(?:[A-Z]{0,3}[$€£¥]|RMB)"
_FIGURE = re.compile(
    rf"[-−(]?{_MONEY}?\s?[-−(]?\d[\d,]*(?:\.\d+)?\)?\s?"
    r"(?:%|per ?cent|thousand|million|billion|m|years?|months?|days?)?\)?"
)
_RUPEE = "`"
"""TAT-QA's files have this in place of the rupee's sign."""
_YEAR = re.compile(r"(?:19|20)\d\d")
_SCALED = re.compile(r"%|per ?cent|thousand|million|billion|\dm\b")


def finqa_rows(source: Source, path: Path, subset: str) -> Rows:
    for file in files(path, ".jsonl"):
        yield from json_lines(file)


def finqa(row: Row) -> Iterator[Example]:
    """FinQA as PIXIU (Xie et al., arXiv 2306.05443) has it: a page with its table.

    A quotient that is asked for as a percentage is given as a fraction: 2.75566 is 275.6 %.
    """
    turns = {turn["from"]: turn for turn in filled_list(row, "conversations")}
    parts = _FINQA_PROMPT.fullmatch(text(turns["human"], "value"))
    if parts is None:
        raise RowError("the prompt is not of the form Context: … Question: … Answer:")
    question = " ".join(_ESCAPED.sub(" ", parts[2]).split())
    kind, answer, more = _computed(text(turns["assistant"], "value"), question)
    if kind == "numeric" and 1 <= abs(float(answer)) < 10 and len(answer.partition(".")[2]) > 2:
        # A quotient; a difference of two percentages has fewer decimals.
        more |= {"scale": "fraction"} if _FINQA_PERCENT.search(question) else {}
    page, table = _page(parts[1])
    yield Example(
        id=text(row, "id"),
        source="finqa",
        question=question,
        documents=(page,),
        answers=(answer,),
        kind=kind,
        gold_documents=(0,),
        group=f"finqa:{_name_of(table)}",
        metadata={"question_id": row["id"], "language": "en", **more},
    )


def _page(context: str) -> tuple[str, list[list[str]]]:
    """The page with its table, whose lines are ``|cell|cell|``, as text; the table."""
    lines = context.split("\n")
    at = [number for number, each in enumerate(lines) if each.startswith("|")]
    if not at:
        raise RowError("the page has no table")
    table = [
        each.strip().removeprefix("|").removesuffix("|").split("|")
        for each in lines[at[0] : at[-1] + 1]
    ]
    before, after = lines[: at[0]], lines[at[-1] + 1 :]
    return "\n".join([*before, tables.text(table, head=1), *after]), table


def _computed(answer: Any, question: str) -> tuple[str, str, dict[str, Any]]:
    """Kind, answer and metadata for the verifier of FinQA's and ConvFinQA's answers."""
    if answer in ("yes", "no"):
        if "which" in question.split():
            raise RowError(f"answer {answer!r} to {question!r}, which asks for one of two")
        return "yes_no", answer, {}
    number = plain_number(answer)
    return "numeric", number, {"rel_tolerance": FINQA_TOLERANCE} if "." in number else {}


def _name_of(table: Sequence[Sequence[str]]) -> str:
    """A name of a report's page: FinQA and ConvFinQA have the same pages."""
    return fingerprint(folded(" ".join(cell for row in table for cell in row)))


def convfinqa_rows(source: Source, path: Path, subset: str) -> Rows:
    for file in files(path, ".json"):
        yield from json_list(file)


def convfinqa(row: Row) -> Iterator[Example]:
    """ConvFinQA as Program of Thoughts (arXiv 2211.12588) has it: questions that follow on.

    All of them are asked, numbered; the last is to be answered. The page is named in the question
    and at its head, so that other pages may be put next to it. The programs are the reasoning.
    """
    name = text(row, "id")
    known = _CONVFINQA_ID.fullmatch(name)
    if known is None:
        raise RowError(f"id={name!r} must be like Single_MRO/2007/page_134.pdf-1")
    report, company, year, page = known.groups()
    title = f"{company}, report of {year}, page {page}"
    questions = [as_text(each, "questions") for each in filled_list(row, "questions")]
    programs = [as_text(each, "programs") for each in filled_list(row, "programs")]
    kind, answer, more = _computed(row["answer"], questions[-1])
    if kind == "numeric" and (scale := _scale(programs[-1], questions)):
        more |= {"scale": scale}
    table = [each.split(" | ") for each in text(row, "table").split("\n")]
    passages = [each for each in (row["text"].strip(), tables.text(table, head=1)) if each]
    gold = {0} if row["golden_text"].strip() else set()
    gold |= {len(passages) - 1} if row["golden_table"].strip() else set()
    asked = f"On {title}: {questions[0]}"
    if len(questions) > 1:
        asked = "\n".join(
            [
                f"On {title}. The questions follow on one another; answer the last of them, number"
                f" {len(questions)}.",
                *(f"{number}. {each}" for number, each in enumerate(questions, start=1)),
            ]
        )
    yield Example(
        id=name,
        source="convfinqa",
        question=asked,
        documents=tuple(f"{title}\n{each}" for each in passages),
        answers=(answer,),
        kind=kind,
        reasoning="\n".join(
            f"{question} {program.replace('ans = ', '')}"
            for question, program in zip(questions, programs, strict=True)
        ),
        gold_documents=tuple(sorted(gold)),
        group=f"convfinqa:{_name_of(table)}",
        metadata={"question_id": name, "report": report, "page": page, "language": "en", **more},
    )


def _scale(program: str, questions: list[str]) -> str:
    """Where a percentage was asked for, ``fraction`` for a quotient, ``percent`` for what the
    program multiplied by 100."""
    *before, last = [step.strip() for step in program.split(";")]
    if last.endswith("* 100"):
        return "percent" if "/" in program else ""
    if last.endswith("- 1"):
        last = before[-1] if before else ""
    if _CONVFINQA_PERCENT.search(questions[-1]):
        return "fraction" if "/" in last else ""
    asked = any(map(_CONVFINQA_PERCENT.search, questions))
    return "fraction" if asked and _QUOTIENT.search(last) else ""


def tatqa_rows(source: Source, path: Path, subset: str) -> Rows:
    """A row a question: the document with ``questions`` of one, and ``groups`` by page.

    Pages with a long paragraph in common, which are of one report, are of one group.
    """
    for file in subset_files(source, path, subset):
        questions = partial(_tatqa_questions, joined_groups(dict(_paragraphs(file))))
        yield from convert(json_list(file), questions, source.name)


def _tatqa_questions(groups: Mapping[str, str], where: str, row: Row) -> Iterator[tuple[str, Row]]:
    for number, question in enumerate(filled_list(row, "questions"), start=1):
        yield f"{where}, question {number}", {**row, "groups": groups, "questions": [question]}


def _paragraphs(file: Path) -> Iterator[tuple[str, list[str]]]:
    """The name of every page, which is its table's, and its long paragraphs."""
    for item in json_list(file):
        if isinstance(item, Rejected):
            continue
        try:
            found = [str(each["text"]).strip() for each in item[1]["paragraphs"]]
            yield str(item[1]["table"]["uid"]), [each for each in found if len(each) > _HEADING]
        except (KeyError, TypeError):
            continue  # its questions are rejected one by one


def tatqa(row: Row) -> Iterator[Example]:
    """The documents are the table and each paragraph, in the report's order."""
    paragraphs = sorted(filled_list(row, "paragraphs"), key=lambda each: int(each["order"]))
    documents = (tables.text(row["table"]["table"]), *(text(each, "text") for each in paragraphs))
    places = {str(each["order"]): at for at, each in enumerate(paragraphs, start=1)}
    name = text(row["table"], "uid")
    (question,) = row["questions"]
    asked = text(question, "question")
    kind, answers, more = _tatqa_answers(question, asked)
    unknown = [order for order in question["rel_paragraphs"] if order not in places]
    if unknown:
        raise RowError(f"rel_paragraphs has {unknown[0]!r}, and there is no such paragraph")
    table = [0] if "table" in question["answer_from"] else []
    derivation = str(question["derivation"]).strip().replace("##", "; ")
    if derivation and question["answer_type"] in ("arithmetic", "count"):
        derivation += (" = " if question["answer_type"] == "arithmetic" else ": ") + answers[0]
    yield Example(
        id=text(question, "uid"),
        source="tatqa",
        question=asked,
        documents=documents,
        answers=answers,
        kind=kind,
        reasoning=derivation,
        gold_documents=(*table, *sorted(places[order] for order in question["rel_paragraphs"])),
        group=f"tatqa:{row['groups'].get(name, name)}",
        metadata={
            "question_id": question["uid"],
            "table_id": name,
            "answer_type": question["answer_type"],
            "answer_from": question["answer_from"],
            "language": "en",
            **more,
        },
    )


def _tatqa_answers(question: Row, asked: str) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Kind, gold answers with their scale, and the metadata that their verifier needs."""
    scale = question["scale"]
    if scale not in _TATQA_SCALES:
        raise RowError(f"scale={scale!r} must be one of {', '.join(_TATQA_SCALES[1:])} or empty")
    answer, form = question["answer"], question["answer_type"]
    if form in ("arithmetic", "count"):
        return "numeric", (_scaled(plain_number(answer), scale),), {}
    if form not in ("span", "multi-span"):
        raise RowError(f"answer_type={form!r} is none that tatqa has")
    spans = [as_text(each, "answer") for each in filled_list(question, "answer") if each != ""]
    spans = [span.removeprefix(_RUPEE) for span in spans]
    # The numbers of one answer share a scale; years among them have none.
    figures = [span for span in spans if _FIGURE.fullmatch(span) and not _YEAR.fullmatch(span)]
    if form == "multi-span":
        aliases = {span: [_scaled(span, scale)] for span in figures if _scaled(span, scale) != span}
        return "list", tuple(spans), {"ordered": "respectively" in asked, "aliases": aliases}
    if len(spans) != 1:
        raise RowError(f"a span of {len(spans)} parts")
    if figures:
        return "numeric", (_scaled(spans[0], scale),), {}
    return "extractive", (spans[0],), {}


def _scaled(number: str, scale: str) -> str:
    if not scale or _SCALED.search(number):
        return number
    return f"{number}%" if scale == "percent" else f"{number} {scale}"


def docmath(row: Row) -> Iterator[Example]:
    """The ``test`` subsets hide the answers, so each of their rows is rejected."""
    paragraphs = row["paragraphs"]
    if not isinstance(paragraphs, list) or not all(isinstance(p, str) for p in paragraphs):
        raise RowError("paragraphs must be a list of texts")
    if not any(paragraph.strip() for paragraph in paragraphs):
        raise RowError("paragraphs is empty")
    gold = row["ground_truth"]
    if isinstance(gold, str | list | dict) or (isinstance(gold, float) and not math.isfinite(gold)):
        raise RowError(f"ground_truth must be a number, is {gold!r}"[:200])
    evidence: set[int] = set()
    for key in ("table_evidence", "paragraph_evidence"):
        places = row.get(key) or []
        if not isinstance(places, list) or not all(type(place) is int for place in places):
            raise RowError(f"{key} must be a list of indices")
        evidence |= set(places)
    beyond = [place for place in evidence if not 0 <= place < len(paragraphs)]
    if beyond:
        raise RowError(f"its evidence {beyond[0]} is beyond the {len(paragraphs)} paragraphs")
    kind = "yes_no" if isinstance(gold, bool) else "numeric"
    name = text(row, "question_id")
    metadata: dict[str, Any] = {"question_id": name}
    if kind == "numeric":
        metadata["rel_tolerance"] = DOCMATH_TOLERANCE
    metadata |= {key: row[key] for key in ("source", "original_question_id") if row.get(key)}
    if isinstance(row.get("python_solution"), str):
        metadata["program"] = row["python_solution"]
    yield Example(
        id=name,
        source="docmath",
        question=text(row, "question"),
        documents=tuple(paragraphs),
        # 2018.0 is a whole number that went through a program.
        answers=(answer_text(row, "ground_truth").removesuffix(".0"),),
        kind=kind,
        gold_documents=tuple(sorted(evidence)),
        group=f"docmath:{fingerprint(*paragraphs)}",
        metadata=metadata,
    )


def plain_number(value: Any) -> str:
    """A number as people write it: 688.0 is 688, 1e-05 is 0.00001.

    Raises:
        RowError: it is no number.
    """
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise RowError(f"{value!r} is no number") from None
    if isinstance(value, bool) or not number.is_finite():
        raise RowError(f"{value!r} is no number")
    if not number:
        return "0"
    plain = format(number, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
