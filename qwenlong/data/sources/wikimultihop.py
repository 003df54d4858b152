"""2WikiMultihopQA (Ho et al., arXiv 2011.01060): two to four hops over ten Wikipedia paragraphs.

Schema: ``framolfese/2WikiMultihopQA``, the copy on the hub that needs no script (licence not stated
there; the set's own repository, Alab-NII/2wikimultihop, is Apache-2.0): ``id``, ``question``,
``answer``, ``type``, ``evidences`` (triples), ``supporting_facts`` (``title``, ``sent_id``) and
``context`` (``title``, ``sentences``), in HotpotQA's layout. The columns are those that public
loaders read. The original JSON (``_id``, lists of pairs) and ``xanhho/2WikiMultihopQA`` (JSON in
texts) are read as well.

Kind: extractive, or yes_no. The reasoning is the triples as sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import (
    answer_text,
    exact_kind,
    from_json,
    group_over,
    pairs,
    places_of,
    row_id,
    text,
    titled_pages,
)
from qwenlong.data.sources.hub import Snapshot, on_hub, splits
from qwenlong.types import Example


def examples(row: Row) -> Iterator[Example]:
    titles, documents = titled_pages(row)
    gold = answer_text(row)
    facts = pairs(row["supporting_facts"], "supporting_facts", "title", "sent_id")
    places = places_of([title for title, _ in facts], titles)
    yield Example(
        id=row_id(row, "id", "_id"),
        source="wikimultihop",
        question=text(row, "question"),
        documents=documents,
        answers=(gold,),
        kind=exact_kind((gold,)),
        reasoning=_reasoning(row),
        gold_documents=places,
        group=group_over("wikimultihop", (titles[place] for place in places)),
        metadata={"type": str(row.get("type") or ""), "titles": titles},
    )


def _reasoning(row: Row) -> str:
    told = []
    for triple in from_json(row.get("evidences") or [], "evidences"):
        if isinstance(triple, Mapping):
            triple = list(triple.values())
        if not isinstance(triple, list) or len(triple) != 3:
            raise RowError(f"evidences must hold triples, holds {triple!r}"[:200])
        subject, relation, found = triple
        told.append(f"{subject}, {relation}: {found}.")
    return " ".join(told)


SOURCE = on_hub(
    "wikimultihop",
    examples,
    Snapshot("framolfese/2WikiMultihopQA", splits("train", "validation", "test")),
    licence="Apache-2.0 (Alab-NII/2wikimultihop); texts from Wikipedia (CC BY-SA)",
    citation="Ho et al., 2WikiMultihopQA, arXiv 2011.01060",
)
