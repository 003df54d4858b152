"""DocMath-Eval (Zhao et al., arXiv 2311.09805): a number worked out from a financial document.

Schema: the card of ``yale-nlp/DocMath-Eval`` (licence MIT; its conditions must be accepted there):
``question_id``, ``source``, ``original_question_id``, ``question``, ``paragraphs`` (texts and
tables as texts), ``table_evidence`` and ``paragraph_evidence`` (indices into them),
``python_solution`` and ``ground_truth`` (a number). The ``test`` subsets hide the last two.

Kind: numeric, within 0.15 % as the set's own evaluation allows; a truth value is yes_no. The
documents are the paragraphs in their order, and the gold ones the evidence. The solution is kept
in the metadata as ``program``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.docqa_rl import TOLERANCE
from qwenlong.data.sources.fields import answer_text, fingerprint, text
from qwenlong.data.sources.hub import Snapshot, on_hub, splits
from qwenlong.types import Example

SUBSETS = tuple(
    f"{name}_{split}"
    for name in ("complong", "compshort", "simplong", "simpshort")
    for split in ("testmini", "test")
)


def examples(row: Row) -> Iterator[Example]:
    paragraphs = row["paragraphs"]
    if not isinstance(paragraphs, list) or not all(isinstance(p, str) for p in paragraphs):
        raise RowError("paragraphs must be a list of texts")
    if not any(paragraph.strip() for paragraph in paragraphs):
        raise RowError("paragraphs is empty")
    gold = row["ground_truth"]
    if isinstance(gold, float) and not math.isfinite(gold):
        raise RowError(f"ground_truth={gold} is no number")
    if isinstance(gold, str | list | dict):
        raise RowError(f"ground_truth must be a number, is {gold!r}"[:200])
    evidence = _evidence(row, "table_evidence") + _evidence(row, "paragraph_evidence")
    beyond = [place for place in evidence if not 0 <= place < len(paragraphs)]
    if beyond:
        raise RowError(f"its evidence {beyond[0]} is beyond the {len(paragraphs)} paragraphs")
    kind = "yes_no" if isinstance(gold, bool) else "numeric"
    identity = text(row, "question_id")
    metadata: dict[str, Any] = {"rel_tolerance": TOLERANCE} if kind == "numeric" else {}
    for key in ("source", "original_question_id"):
        metadata |= {key: row[key]} if row.get(key) else {}
    if isinstance(row.get("python_solution"), str):
        metadata["program"] = row["python_solution"]
    yield Example(
        id=identity,
        source="docmath",
        question=text(row, "question"),
        documents=tuple(paragraphs),
        answers=(_written(answer_text(row, "ground_truth")),),
        kind=kind,
        gold_documents=tuple(sorted(set(evidence))),
        group=f"docmath:{fingerprint(*paragraphs)}",
        metadata=metadata | {"question_id": identity},
    )


def _evidence(row: Row, key: str) -> list[int]:
    value = row.get(key) or []
    if not isinstance(value, list) or not all(type(place) is int for place in value):
        raise RowError(f"{key} must be a list of indices")
    return value


def _written(gold: str) -> str:
    """2018.0 is a whole number that went through a program."""
    return gold.removesuffix(".0")


SOURCE = on_hub(
    "docmath",
    examples,
    Snapshot("yale-nlp/DocMath-Eval", splits(*SUBSETS)),
    licence="MIT",
    citation="Zhao et al., DocMath-Eval, arXiv 2311.09805",
)
