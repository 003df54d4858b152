"""ConvFinQA (Chen et al., arXiv 2210.03849) as Program of Thoughts (arXiv 2211.12588) has it.

A page of an annual report and questions that follow on one another. The policy gets all of them,
numbered, and has to answer the last. The page is named at the head of its documents and in the
question, so that other pages may be put next to it. A page is a group, as in FinQA.

The answer was computed by the program of the last question; the programs are the reasoning. Where
a percentage is asked for, a quotient is scored as a fraction, and a number that the program
multiplied by 100 as a percentage. Numbers that are not whole are right within half a per cent, as
in FinQA.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from qwenlong.data.rows import Row, RowError, Rows, Source, files, json_list
from qwenlong.data.sources import tables
from qwenlong.data.sources.fields import as_text, filled_list, text
from qwenlong.data.sources.finqa import judged, page_of
from qwenlong.types import Example

_ID = re.compile(r"(?:Single|Double)_(([^/]+)/(\d{4}))/page_(\d+)\.pdf(?:-\d+)?")
_PERCENT = re.compile(r"per ?cent|%|rate|growth", re.IGNORECASE)
_QUOTIENT = re.compile(r"/ (?!(?:\d|10+)$)\S+$")
"""A division, but by a small count, as in averages, or by a power of ten."""
_HUNDREDFOLD = re.compile(r"\* 100$")


def rows(path: Path, subset: str) -> Rows:
    for file in files(path, ".json"):
        yield from json_list(file)


def examples(row: Row) -> Iterator[Example]:
    """The documents are the page's text, where it has any, and its table."""
    name = text(row, "id")
    known = _ID.fullmatch(name)
    if known is None:
        raise RowError(f"id={name!r} must be like Single_MRO/2007/page_134.pdf-1")
    report, company, year, page = known.groups()
    title = f"{company}, report of {year}, page {page}"
    questions = [as_text(each, "questions") for each in filled_list(row, "questions")]
    programs = [as_text(each, "programs") for each in filled_list(row, "programs")]
    kind, answer, more = judged(row["answer"], questions[-1])
    if kind == "numeric" and (scale := _scale(programs[-1], questions)):
        more |= {"scale": scale}
    table = [each.split(" | ") for each in text(row, "table").split("\n")]
    passages = [each for each in (row["text"].strip(), tables.text(table, head=1)) if each]
    last = len(passages) - 1
    gold = ([0] if row["golden_text"].strip() else []) + (
        [last] if row["golden_table"].strip() else []
    )
    yield Example(
        id=name,
        source="convfinqa",
        question=_conversation(questions, title),
        documents=tuple(f"{title}\n{each}" for each in passages),
        answers=(answer,),
        kind=kind,
        reasoning="\n".join(
            f"{question} {program.replace('ans = ', '')}"
            for question, program in zip(questions, programs, strict=True)
        ),
        gold_documents=tuple(dict.fromkeys(gold)),
        group=f"convfinqa:{page_of(table)}",
        metadata={"question_id": name, "report": report, "page": page, "language": "en", **more},
    )


def _conversation(questions: list[str], title: str) -> str:
    """The last question, and the ones before it."""
    if len(questions) == 1:
        return f"On {title}: {questions[0]}"
    numbered = [f"{number}. {each}" for number, each in enumerate(questions, start=1)]
    return "\n".join(
        [
            f"On {title}. The questions follow on one another; answer the last of them, number"
            f" {len(questions)}.",
            *numbered,
        ]
    )


def _scale(program: str, questions: list[str]) -> str:
    """The scale of a program's answer, where a percentage was asked for."""
    *before, last = [step.strip() for step in program.split(";")]
    if _HUNDREDFOLD.search(last):
        return "percent" if "/" in program else ""
    if last.endswith("- 1"):
        last = before[-1] if before else ""
    if _PERCENT.search(questions[-1]):
        return "fraction" if "/" in last else ""
    asked = any(map(_PERCENT.search, questions))
    return "fraction" if asked and _QUOTIENT.search(last) else ""


SOURCE = Source(
    name="convfinqa",
    rows=rows,
    examples=examples,
    layout="data/convfinqa_dev.json of github.com/TIGER-AI-Lab/Program-of-Thoughts",
    licence="MIT",
    citation="Chen et al., ConvFinQA: Chain of Numerical Reasoning, arXiv 2210.03849",
)
