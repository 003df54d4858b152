"""FinQA (Chen et al., arXiv 2109.00122) as PIXIU (Xie et al., arXiv 2306.05443) has it.

A page of an annual report, with its table, and a question whose answer a program computed: a
number of up to five decimals, or yes or no. PIXIU leaves the programs out. Nobody writes five
decimals, so a number that is not whole is right within half a per cent. A quotient that is asked
for as a percentage is given as a fraction: 2.75566 is 275.6 %.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qwenlong.data.rows import Row, RowError, Rows, Source, files, json_lines
from qwenlong.data.sources import tables
from qwenlong.data.sources.fields import filled_list, fingerprint, plain_number, text
from qwenlong.data.words import folded
from qwenlong.types import Example

TOLERANCE = 0.005
"""The largest relative error of a percentage that is rounded to three digits."""
_PROMPT = re.compile(
    r"Please answer the given financial question based on the context\.\n"
    r"Context: (.*)\nQuestion: (.*)\nAnswer:",
    re.DOTALL,
)
_PERCENT = re.compile(r"per ?cent|%|growth rate", re.IGNORECASE)
_ESCAPED = re.compile(r"\\+n")
"""Line feeds that were escaped once too often."""


def rows(path: Path, subset: str) -> Rows:
    for file in files(path, ".jsonl"):
        yield from json_lines(file)


def examples(row: Row) -> Iterator[Example]:
    """The document is the page, its table in place."""
    turns = {turn["from"]: turn for turn in filled_list(row, "conversations")}
    parts = _PROMPT.fullmatch(text(turns["human"], "value"))
    if parts is None:
        raise RowError("the prompt is not of the form Context: … Question: … Answer:")
    context = parts[1]
    question = " ".join(_ESCAPED.sub(" ", parts[2]).split())
    kind, answer, more = judged(text(turns["assistant"], "value"), question)
    if kind == "numeric" and 1 <= abs(float(answer)) < 10 and len(answer.partition(".")[2]) > 2:
        # A quotient; a difference of two percentages has fewer decimals.
        more |= {"scale": "fraction"} if _PERCENT.search(question) else {}
    page, table = _page(context)
    yield Example(
        id=text(row, "id"),
        source="finqa",
        question=question,
        documents=(page,),
        answers=(answer,),
        kind=kind,
        gold_documents=(0,),
        group=f"finqa:{page_of(table)}",
        metadata={"question_id": row["id"], "language": "en", **more},
    )


def judged(answer: Any, question: str) -> tuple[str, str, dict[str, Any]]:
    """Kind, answer and metadata for the verifier of FinQA's and ConvFinQA's answers."""
    if answer in ("yes", "no"):
        if "which" in question.split():
            raise RowError(f"answer {answer!r} to {question!r}, which asks for one of two")
        return "yes_no", answer, {}
    number = plain_number(answer)
    return "numeric", number, {"rel_tolerance": TOLERANCE} if "." in number else {}


def page_of(table: Sequence[Sequence[str]]) -> str:
    """A report's page, known by its table's words: FinQA and ConvFinQA have the same pages."""
    return fingerprint(folded(" ".join(cell for row in table for cell in row)))


def _page(context: str) -> tuple[str, list[list[str]]]:
    """The page with the lines of its table, ``|cell|cell|``, as those of all others; the table."""
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


SOURCE = Source(
    name="finqa",
    rows=rows,
    examples=examples,
    layout="data/FinQA/ of github.com/chancefocus/PIXIU, or one of its JSONL files",
    licence="MIT",
    citation="Chen et al., FinQA: A Dataset of Numerical Reasoning, arXiv 2109.00122",
)
