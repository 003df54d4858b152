"""MuSiQue (Trivedi et al., arXiv 2108.00573): two to four hops over twenty paragraphs.

Schema: StonyBrookNLP/musique's JSONL, which ``dgslibisey/MuSiQue`` has on the hub (no card there;
licence CC BY 4.0 says the authors' repository): ``id`` (``2hop__…``), ``question``, ``answer``,
``answer_aliases``, ``answerable``, ``paragraphs`` (``idx``, ``title``, ``paragraph_text``,
``is_supporting``) and ``question_decomposition`` (``id``, ``question``, ``answer``,
``paragraph_support_idx``). The files of MuSiQue-Full, which the hub's copy does not have, are read
too: half of their questions cannot be answered from their paragraphs.

Kind: extractive with the aliases, or yes_no; where ``answerable`` is false yes_no with the gold
answer "unanswerable". The reasoning is the decomposition, its references filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import (
    answer_text,
    distinct,
    exact_kind,
    records,
    row_id,
    text,
    texts,
)
from qwenlong.data.sources.hub import Snapshot, on_hub, splits
from qwenlong.types import Example


def examples(row: Row) -> Iterator[Example]:
    paragraphs = records(row["paragraphs"], "paragraphs")
    if not paragraphs:
        raise RowError("paragraphs is empty")
    titles = [text(paragraph, "title") for paragraph in paragraphs]
    bodies = [text(paragraph, "paragraph_text") for paragraph in paragraphs]
    answerable = row.get("answerable", True)
    if not isinstance(answerable, bool):
        raise RowError(f"answerable must be true or false, is {answerable!r}")
    named = row_id(row, "id")
    steps = records(row.get("question_decomposition") or [], "question_decomposition")
    gold: tuple[int, ...] = ()
    answers: tuple[str, ...] = ("unanswerable",)
    reasoning = ""
    if answerable:
        gold = tuple(at for at, each in enumerate(paragraphs) if each["is_supporting"] is True)
        aliases = texts(row, "answer_aliases") if row.get("answer_aliases") else ()
        answers = distinct((answer_text(row), *aliases))
        indices = [paragraph.get("idx") for paragraph in paragraphs]
        reasoning = _reasoning(steps, dict(zip(indices, titles, strict=True)))
    yield Example(
        id=f"{named}-unanswerable" if not answerable else named,
        source="musique",
        question=text(row, "question"),
        documents=tuple(f"{title}\n{body}" for title, body in zip(titles, bodies, strict=True)),
        answers=answers,
        kind=exact_kind(answers[:1]),
        reasoning=reasoning,
        gold_documents=gold,
        # The last step names the paragraph with the answer; both forms of a question share it.
        group=f"musique:{steps[-1]['id'] if steps else named}",
        metadata={"hops": len(steps), "answerable": answerable, "titles": titles},
    )


def _reasoning(steps: Sequence[Mapping[str, Any]], titles: Mapping[Any, str]) -> str:
    """ "Who owned it? Mary Bell. Where was Mary Bell born? Hull." with the pages named."""
    found: list[str] = []
    told = []
    for step in steps:
        question = re.sub(
            r"#(\d+)",
            lambda match: found[int(match[1]) - 1] if int(match[1]) <= len(found) else match[0],
            text(step, "question").replace(" >> ", ", "),
        )
        found.append(answer_text(step))
        page = titles.get(step.get("paragraph_support_idx"))
        end = "" if question.endswith("?") else ":"
        told.append(f"{question}{end} {found[-1]}" + (f' ("{page}").' if page else "."))
    return " ".join(told)


SOURCE = on_hub(
    "musique",
    examples,
    Snapshot("dgslibisey/MuSiQue", splits("train", "validation")),
    licence="CC BY 4.0 (StonyBrookNLP/musique)",
    citation="Trivedi et al., MuSiQue, arXiv 2108.00573",
)
