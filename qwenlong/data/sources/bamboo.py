"""BAMBOO (Dong et al., arXiv 2309.13345): PaperQA and MeetingQA, four options over one text.

Some rows have a quotation of the text behind their four options; it is left out. Rows that have
only the quotation are rejected, and so are rows whose letters skip one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from qwenlong.data.rows import Rejected, Row, RowError, Rows, Source, json_lines
from qwenlong.data.sources.fields import as_text, filled_list, fingerprint, subset_files, text
from qwenlong.types import Example

_SUBSETS = ("paperqa_4k", "meetingqa_4k", "paperqa_16k", "meetingqa_16k")
_LETTERS = "ABCD"
_LABEL = re.compile(r"([A-Z])(?:\s?[.:)\\]|\s)\s*")
_OPENING = 200
"""Characters that identify a text: the 4k and 16k subsets cut the same texts differently."""


def rows(path: Path, subset: str) -> Rows:
    for file in subset_files(path, subset, "{}.jsonl", _SUBSETS):
        for item in json_lines(file):
            yield item if isinstance(item, Rejected) else (item[0], {**item[1], "part": file.stem})


def examples(row: Row) -> Iterator[Example]:
    """The document is the paper or the minutes; the options stand in the question."""
    options = _options([as_text(each, "options") for each in filled_list(row, "options")])
    answer = text(row, "answer")
    if answer not in options:
        raise RowError(f"answer {answer!r} is none of the options {', '.join(options)}")
    content, question = text(row, "content"), text(row, "question")
    lines = [f"{letter}. {each}" for letter, each in options.items()]
    part = str(row.get("part", "bamboo"))
    yield Example(
        id=f"{part}-{fingerprint(question + content)}",
        source="bamboo",
        question="\n".join([question, *lines]),
        documents=(content,),
        answers=(answer,),
        kind="choice",
        reasoning=f"The text says: {text(row, 'evidence')}",
        gold_documents=(0,),
        group=f"bamboo:{fingerprint(content[:_OPENING])}",
        metadata={"options": lines, "part": part, "language": "en"},
    )


def _options(given: list[str]) -> dict[str, str]:
    """The options by letter.

    Raises:
        RowError: the letters are not those of their places.
    """
    given = given[: len(_LETTERS)]
    labels = [_LABEL.match(each) for each in given]
    named = [label[1] if label else "" for label in labels]
    wrong = [
        name for name, letter in zip(named, _LETTERS, strict=False) if name not in ("", letter)
    ]
    if len(given) < 2 or wrong or named.count("") > 1:
        told = ", ".join(name or "none" for name in named)
        raise RowError(f"options must have the letters A, B, C, D; they have {told}")
    texts = [
        " ".join(each[label.end() if label else 0 :].split())
        for each, label in zip(given, labels, strict=True)
    ]
    if not all(texts):
        raise RowError("an option is blank")
    return dict(zip(_LETTERS, texts, strict=False))


SOURCE = Source(
    name="bamboo",
    rows=rows,
    examples=examples,
    layout="datasets/ of github.com/RUCAIBox/BAMBOO, or one of its JSONL files",
    licence="MIT",
    citation="Dong et al., BAMBOO: A Comprehensive Benchmark for Long Texts, arXiv 2309.13345",
    subsets=_SUBSETS,
)
