"""FRAMES (Krishna et al., arXiv 2409.12941): questions over two to fifteen Wikipedia pages.

Schema: the card of ``google/frames-benchmark`` (``Prompt``, ``Answer``, ``reasoning_types``,
``wiki_links``, ``wikipedia_link_1`` …; licence Apache-2.0), which has links and no texts. The
pages' texts stand in ``wiki_items`` (``title``, ``text``) of QwenLong-L1's copy for evaluation,
``Tongyi-Zhiwen/frames`` (its card: licence not stated), whose other columns are the same; the
columns are those that its evaluation code and EvalScope's FRAMES adapter read. That copy is read
here; a row of Google's own files is rejected, because it has no document to answer from.

Kind: extractive, or yes_no. Some answers are sentences, which only a judge can compare. All pages
are gold: FRAMES has no distractors.
"""

from __future__ import annotations

from collections.abc import Iterator

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import (
    answer_text,
    exact_kind,
    fingerprint,
    group_over,
    records,
    text,
)
from qwenlong.data.sources.hub import Snapshot, on_hub, splits
from qwenlong.types import Example

HUB = "Tongyi-Zhiwen/frames"


def examples(row: Row) -> Iterator[Example]:
    question, gold = text(row, "Prompt"), answer_text(row, "Answer")
    if "wiki_items" not in row and "wiki_links" in row:
        raise RowError(f"has links to its pages and not their texts; {HUB} has both")
    pages = records(row["wiki_items"], "wiki_items")
    if not pages:
        raise RowError("wiki_items is empty")
    titles = [text(page, "title") for page in pages]
    yield Example(
        id=f"frames-{fingerprint(question)}",
        source="frames",
        question=question,
        documents=tuple(
            f"{title}\n{text(page, 'text')}" for title, page in zip(titles, pages, strict=True)
        ),
        answers=(gold,),
        kind=exact_kind((gold,)),
        gold_documents=tuple(range(len(pages))),
        group=group_over("frames", titles),
        metadata={"titles": titles, "reasoning_types": str(row.get("reasoning_types") or "")},
    )


SOURCE = on_hub(
    "frames",
    examples,
    Snapshot(HUB, splits("test")),
    licence="Apache-2.0 (google/frames-benchmark); page texts from Wikipedia (CC BY-SA)",
    citation="Krishna et al., FRAMES, arXiv 2409.12941",
)
