"""NarrativeQA (Kočiský et al., arXiv 1712.07040): questions over whole books and film scripts.

Schema: the card of ``deepmind/narrativeqa`` (licence Apache-2.0): ``document`` (``id``, ``kind``,
``url``, ``file_size``, ``word_count``, ``start``, ``end``, ``summary``, ``text``), ``question``
(``text``, ``tokens``) and ``answers`` (two of ``text``, ``tokens``).

Kind: summary. Two people answered in their own words, and the paper measures ROUGE-L with the
better of the two; a yes or a no is yes_no. The document is the whole story as it is given, with
Gutenberg's header or a script's markup. Questions were written from the summary, which is not used.
"""

from __future__ import annotations

from collections.abc import Iterator

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import (
    closed_answer,
    distinct,
    fingerprint,
    inner_object,
    records,
    text,
)
from qwenlong.data.sources.hub import Snapshot, on_hub, splits
from qwenlong.types import Example


def examples(row: Row) -> Iterator[Example]:
    document = inner_object(row, "document")
    question = text(inner_object(row, "question"), "text")
    story, named = text(document, "text"), text(document, "id")
    answers = distinct(text(each, "text") for each in records(row["answers"], "answers"))
    if not answers:
        raise RowError("answers is empty")
    yield Example(
        id=f"{named}-{fingerprint(question)}",
        source="narrativeqa",
        question=question,
        documents=(story,),
        answers=answers,
        kind="yes_no" if closed_answer(answers) else "summary",
        gold_documents=(0,),
        group=f"narrativeqa:{named}",
        metadata={
            "document_id": named,
            "document_kind": str(document.get("kind") or ""),
            "url": str(document.get("url") or ""),
        },
    )


SOURCE = on_hub(
    "narrativeqa",
    examples,
    Snapshot("deepmind/narrativeqa", splits("train", "validation", "test")),
    licence="Apache-2.0",
    citation="Kočiský et al., NarrativeQA, arXiv 1712.07040",
)
