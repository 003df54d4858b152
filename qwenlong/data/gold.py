"""Which documents hold the answer, also after others were put between them or text was cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qwenlong.rewards.registry import kind_of
from qwenlong.types import Example


def numbered(example: Example) -> bool:
    """Whether the prompt numbers the documents: citations are asked for by number."""
    return kind_of(example).cited_places(example) is not None


def gold_of(example: Example) -> tuple[int, ...]:
    """The documents known to hold the answer: as the source says, or as cited by number."""
    cited = kind_of(example).cited_places(example)
    if example.gold_documents or cited is None:
        return example.gold_documents
    return tuple(sorted({place for place in cited if 0 <= place < len(example.documents)}))


def rearranged(
    example: Example, documents: Sequence[str], origins: Sequence[int | None], gold: Sequence[int]
) -> Example:
    """``example`` over other documents, with the places of its gold documents corrected.

    Args:
        origins: of each new document, which of the old ones it is (or is cut from), None if none.
        gold: which of the old documents are gold.
    """
    new = {old: place for place, old in enumerate(origins) if old is not None}
    metadata = dict(example.metadata)
    cited = kind_of(example).cited_places(example)
    if cited is not None and "gold_citations" in metadata:
        metadata["gold_citations"] = [new[place] + 1 for place in cited if place in new]
    return replace(
        example,
        documents=tuple(documents),
        gold_documents=tuple(sorted(new[old] for old in gold if old in new)),
        metadata=metadata,
    )
