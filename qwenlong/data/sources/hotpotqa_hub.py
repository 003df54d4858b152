"""HotpotQA (Yang et al., arXiv 1809.09600), as ``hotpotqa/hotpot_qa`` has it on the hub.

Schema: the card of ``hotpotqa/hotpot_qa`` (licence CC BY-SA 4.0): ``id``, ``question``, ``answer``,
``type``, ``level``, ``supporting_facts`` (``title``, ``sent_id``) and ``context`` (``title``,
``sentences``), ten paragraphs; the original JSON (``_id``, lists of pairs) is read as well.
``distractor`` always has the two gold paragraphs. ``fullwiki`` has what a retriever found: where a
gold paragraph is not among them the row is left out, since its documents do not answer it.
``fullwiki/test`` hides answers.

Kind: extractive, or yes_no. The reasoning is the supporting sentences.
"""

from __future__ import annotations

from collections.abc import Iterator

from qwenlong.data.columns import (
    answer,
    group_of,
    identity,
    kind_of,
    pages,
    pairs,
    text,
    where_gold,
)
from qwenlong.data.hub import Part, Snapshot
from qwenlong.data.rows import Row, RowError, Source
from qwenlong.types import Example

HUB = "hotpotqa/hotpot_qa"


def examples(row: Row) -> Iterator[Example]:
    gold = answer(row)
    titles, documents = pages(row)
    facts = pairs(row["supporting_facts"], "supporting_facts", "title", "sent_id")
    places = where_gold(titles, [title for title, _ in facts])
    yield Example(
        id=identity(row, "id", "_id"),
        source="hotpotqa_hub",
        question=text(row, "question"),
        documents=documents,
        answers=(gold,),
        kind=kind_of((gold,)),
        reasoning=_reasoning(row, facts),
        gold_documents=places,
        group=group_of("hotpotqa_hub", (titles[place] for place in places)),
        metadata={
            "type": str(row.get("type") or ""),
            "level": str(row.get("level") or ""),
            "titles": titles,
        },
    )


def _reasoning(row: Row, facts: list[tuple[str, int]]) -> str:
    sentences = dict(pairs(row["context"], "context", "title", "sentences"))
    told = []
    for title, number in facts:
        if type(number) is not int:
            raise RowError(f"supporting_facts must number sentences, has {number!r}")
        if 0 <= number < len(sentences[title]):  # a few facts of the set point behind the end
            told.append(f'"{title}" says: {sentences[title][number].strip()}')
    return " ".join(told)


ROWS = Snapshot(
    HUB,
    {
        f"{config}/{split}": Part(split, config)
        for config, split in (
            ("distractor", "train"),
            ("distractor", "validation"),
            ("fullwiki", "train"),
            ("fullwiki", "validation"),
            ("fullwiki", "test"),
        )
    },
)
SOURCE = Source(
    name="hotpotqa_hub",
    rows=ROWS,
    examples=examples,
    layout=f"a snapshot of huggingface.co/datasets/{HUB}, or a file of it or of the original",
    licence="CC BY-SA 4.0",
    citation="Yang et al., HotpotQA, arXiv 1809.09600",
    hub=HUB,
    subsets=ROWS.subsets,
)
