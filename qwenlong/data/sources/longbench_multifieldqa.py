"""MultiFieldQA-zh of LongBench (Bai et al., arXiv 2308.14508): a question, a text, a sentence.

Its answers are short sentences, which nobody repeats to the letter: they are judged as summaries,
by ROUGE-L over characters, the measure that comes nearest to LongBench's own F1. An answer that
is one figure or one date would be half right with any other figure there, so it is judged as a
number or a date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from qwenlong.data.rows import Row, RowError, Rows, Source, files, json_lines
from qwenlong.data.sources.fields import as_text, digest, objects, text
from qwenlong.types import Example, InputError

_NAME = "multifieldqa_zh"
_FIGURE = re.compile(r"(?:人民币)?\d+(?:\.\d+)?(?:%|％|mm|倍|兆瓦|[万亿]?(?:元|美元|人))?")
_DATE = re.compile(r"\d{4}年\d{1,2}月\d{1,2}日|\d{4}-\d\d-\d\d|\d{4}年")


def rows(path: Path, subset: str) -> Rows:
    """Of a file, or of those of LongBench's folder whose name begins with the set's."""
    found = [path] if path.is_file() else [f for f in files(path, ".jsonl") if _NAME in f.name]
    if not found:
        raise InputError(f"{path}: needs {_NAME}.jsonl")
    for file in found:
        yield from json_lines(file)


def examples(row: Row) -> Iterator[Example]:
    """The document is the text."""
    if row["dataset"] != _NAME:
        raise RowError(f"dataset={row['dataset']!r} must be {_NAME}")
    context = text(row, "context")
    answers = tuple(as_text(each, "answers") for each in objects(row, "answers"))
    bare = tuple(answer.rstrip("。.") for answer in answers)
    kind = "summary"
    if all(map(_FIGURE.fullmatch, bare)):
        kind = "numeric"
    elif all(map(_DATE.fullmatch, bare)):
        kind = "date"
    yield Example(
        id=text(row, "_id"),
        source="longbench_multifieldqa",
        question=text(row, "input"),
        documents=(context,),
        answers=answers if kind == "summary" else bare,
        kind=kind,
        gold_documents=(0,),
        group=f"longbench_multifieldqa:{digest(context)}",
        metadata={"question_id": row["_id"], "language": row["language"]},
    )


SOURCE = Source(
    name="longbench_multifieldqa",
    rows=rows,
    examples=examples,
    layout="data/ of LongBench with multifieldqa_zh.jsonl, or the file",
    licence="MIT",
    citation="Bai et al., LongBench: A Bilingual, Multitask Benchmark, arXiv 2308.14508",
)
