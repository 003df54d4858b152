"""LongBench v2 (Bai et al., arXiv 2412.15204): 503 multiple-choice questions, 8K to 2M words.

Schema: the card of ``THUDM/LongBench-v2``, now ``zai-org/LongBench-v2`` (licence Apache-2.0):
``_id``, ``domain``, ``sub_domain``, ``difficulty``, ``length``, ``question``, ``choice_A`` to
``choice_D``, ``answer`` (a letter), ``context``; one JSON list, ``data.json``.

Kind: choice.
"""

from __future__ import annotations

from collections.abc import Iterator

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import fingerprint, text
from qwenlong.data.sources.hub import Part, Snapshot, on_hub
from qwenlong.types import Example

_LETTERS = "ABCD"


def examples(row: Row) -> Iterator[Example]:
    options = {letter: text(row, f"choice_{letter}") for letter in _LETTERS}
    gold = text(row, "answer")
    if gold not in options:
        raise RowError(f"answer={gold!r}: must be one of {', '.join(_LETTERS)}")
    context = text(row, "context")
    yield Example(
        id=text(row, "_id"),
        source="longbench_v2",
        question=text(row, "question"),
        documents=(context,),
        answers=(gold,),
        kind="choice",
        gold_documents=(0,),
        group=f"longbench_v2:{fingerprint(context)}",
        metadata={
            "options": options,
            **{key: text(row, key) for key in ("domain", "sub_domain", "difficulty", "length")},
        },
    )


SOURCE = on_hub(
    "longbench_v2",
    examples,
    Snapshot("zai-org/LongBench-v2", {"train": Part(files="data.json")}),
    licence="Apache-2.0",
    citation="Bai et al., LongBench v2, arXiv 2412.15204",
)
