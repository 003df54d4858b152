"""GoLongRL (Lv et al., arXiv 2605.19577): 22,965 prompts of nine kinds, each with its own reward.

Schema: the card of ``Kwai-Klear/GoLongRL`` (licence not stated) and, where it ends, the code that
reads it (xiaoxuanNLP/GoLongRL, ``verl/utils/reward_score``; GC-OPD's reward, which names the nine
abilities): ``data_source``, ``prompt`` (chat messages), ``ability``, ``reward_model``
(``ground_truth`` with ``doc_ids``, a list, ``golden_label``, a text, and ``summary``, the language)
and ``extra_info`` (``reward_mode``, ``question``).

How a prompt is put together is not published. Here the document is the text before the last
occurrence of ``extra_info.question``. A row without that question, or whose prompt does not have it
behind a document, is rejected. The text behind the question says how to write the answer and is
kept in the metadata as ``instructions``.

Kinds by ability (``_ABILITIES``): exact match is extractive; accuracy is choice for a letter, else
yes_no or extractive; F1 is list, and so is SubEM, which officially asks for recall only; numbers
are numeric, other results extractive; NDCG and pairwise are order; ROUGE-L is summary; IoU is list
with that metric for tables of one column, and tables of several have no verifier.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import (
    distinct,
    exact_kind,
    fingerprint,
    inner_object,
    split_options,
    text,
    user_message,
)
from qwenlong.data.sources.hub import Snapshot, on_hub, splits
from qwenlong.types import Example

_ABILITIES = {
    "precise long-range information retrieval": "em",
    "evidence-grounded comprehension and reasoning": "accuracy",
    "high-recall exhaustive retrieval and verification": "f1",
    "numerical extraction and quantitative reasoning": "math",
    "multi-table structured extraction": "iou",
    "fragment-level structured matching and induction": "subem",
    "dimension-quantified retrieval and graded ranking": "ndcg",
    "sequence reconstruction and ordering": "pairwise",
    "long document summarization": "rouge",
}
_NUMBER = re.compile(r"[-−]?[$€£¥]?[-−]?\d[\d,]*(?:\.\d+)?\s?%?")
_LETTER = re.compile(r"(?:The correct answer is )?\(?([A-Z])\)?\.?")
Judged = tuple[str, tuple[str, ...], dict[str, Any]]
"""Kind, answers, and the metadata that its verifier needs."""


def examples(row: Row) -> Iterator[Example]:
    ability = text(row, "ability")
    metric = _ABILITIES.get(ability.casefold())
    if metric is None:
        raise RowError(f"ability={ability!r}: must be one of {', '.join(_ABILITIES)}")
    extra = inner_object(row, "extra_info")
    document, question, instructions = _parts(row, extra)
    items, gold = _gold(row)
    kind, answers, metadata = _judged(metric, items, gold, question)
    yield Example(
        id=f"golongrl-{fingerprint(document, question, ability, gold)}",
        source="golongrl",
        question=split_options(question)[0] if "options" in metadata else question,
        documents=(document,),
        answers=answers,
        kind=kind,
        gold_documents=(0,),
        group=f"golongrl:{fingerprint(document)}",
        metadata={
            **metadata,
            "ability": ability,
            "data_source": text(row, "data_source"),
            "reward_mode": str(extra.get("reward_mode") or ""),
            "instructions": instructions,
        },
    )


def _parts(row: Row, extra: Mapping[str, Any]) -> tuple[str, str, str]:
    """Document, question, and the text behind the question."""
    question = str(extra.get("question") or "").strip()
    if not question:
        raise RowError("extra_info.question is missing: where its document ends is not known")
    before, found, behind = user_message(row).rpartition(question)
    if not found or not before.strip():
        raise RowError("extra_info.question does not stand behind a document in the prompt")
    return before.strip(), question, behind.strip()


def _gold(row: Row) -> tuple[tuple[str, ...], str]:
    """The gold answer as a list and as a text; one of them may be empty."""
    truth = inner_object(inner_object(row, "reward_model"), "ground_truth")
    listed = truth.get("doc_ids") or []
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise RowError("ground_truth.doc_ids must be a list of texts")
    written = truth.get("golden_label") or ""
    if not isinstance(written, str):
        raise RowError(f"ground_truth.golden_label must be a text, is {written!r}"[:200])
    items = distinct(listed) or distinct(written.splitlines())
    if not items:
        raise RowError("ground_truth is empty")
    return items, written.strip() or "\n".join(items)


def _judged(metric: str, items: tuple[str, ...], gold: str, question: str) -> Judged:
    if metric == "rouge":
        return "summary", items if "\n" not in gold else (gold,), {"summarisation": True}
    if metric in ("f1", "subem"):
        return "list", items, {}
    if metric in ("ndcg", "pairwise"):
        if len(items) < 2:
            raise RowError(f"ground_truth={gold!r}: an order needs two items"[:200])
        return "order", items, {"metric": metric}
    if metric == "iou":
        return "list", _cells(gold), {"metric": "iou"}
    if metric == "math":
        return ("numeric" if _NUMBER.fullmatch(gold) else "extractive"), (gold,), {}
    letter = _LETTER.fullmatch(gold) if metric == "accuracy" else None
    if letter:
        options = split_options(question)[1]
        return "choice", (letter[1],), {"options": options} if letter[1] in options else {}
    return exact_kind((gold,)), (gold,), {}


def _cells(gold: str) -> tuple[str, ...]:
    """The rows of a table with one column: ``{"columns": […], "data": [[…], …]}``."""
    try:
        rows = json.loads(gold)["data"]
        cells = [row if isinstance(row, list) else [row] for row in rows]
    except (ValueError, KeyError, TypeError):
        raise RowError("ground_truth.golden_label is no table in JSON") from None
    if any(len(row) != 1 for row in cells):
        raise RowError("its answer is a table of several columns, which no verifier reads")
    found = distinct(str(row[0]) for row in cells)
    if not found:
        raise RowError("ground_truth is a table without rows")
    return found


SOURCE = on_hub(
    "golongrl",
    examples,
    Snapshot("Kwai-Klear/GoLongRL", splits("train")),
    licence="licence not stated",
    citation="Lv et al., GoLongRL, arXiv 2605.19577",
)
