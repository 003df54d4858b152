"""Lists and sets: the items that an answer claims, compared with the gold items.

``answers`` are the gold items, one an entry; an item that stands there twice must be claimed twice.
``metadata``: ``metric`` is ``f1`` (the default), ``iou`` or ``exact``; ``ordered`` (default false)
counts only items in the order of the gold ones (their longest common subsequence); ``aliases``
maps a gold item to a list of other ways to write it.

With m items right, c claimed and g gold: f1 = 2m / (c + g), iou = m / (c + g - m), exact = 1 where
m = c = g. Every wrong or repeated item adds to c, so that a list of all candidates or one huge text
gains nothing. ``text/items`` says how items are found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

from rapidfuzz.distance import LCSseq

from qwenlong.rewards.kind import Comparison, Kind, Wording, scored
from qwenlong.rewards.text.answer import asks, shown
from qwenlong.rewards.text.items import claims_of, extract_items, known_items
from qwenlong.types import Example, Score

NAME = "list"
METRICS = ("f1", "iou", "exact")


def check(example: Example) -> None:
    """Raises ``ValueError`` unless there is a gold item, and the metadata can be read."""
    if not _golds(example):
        raise ValueError(f"answers={list(example.answers)!r}: must hold at least one item")
    metric = example.metadata.get("metric", "f1")
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r}: must be one of {', '.join(METRICS)}")
    ordered = example.metadata.get("ordered", False)
    if not isinstance(ordered, bool):
        raise ValueError(f"ordered={ordered!r}: must be true or false")
    aliases = example.metadata.get("aliases", {})
    if not isinstance(aliases, Mapping) or not set(aliases) <= set(example.answers):
        raise ValueError(f"aliases={aliases!r}: must map gold items to lists of texts")


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """The claimed items against the gold ones, by the example's metric."""
    golds = _golds(example)
    aliases = example.metadata.get("aliases", {})
    known = known_items(tuple((gold, *aliases.get(gold, ())) for gold in golds))
    wanted = known.numbers
    metric = str(example.metadata.get("metric", "f1"))
    ordered = bool(example.metadata.get("ordered", False))

    def compare(answer: str) -> Comparison:
        if asks(answer) and not any(map(asks, golds)):
            return 0.0, "the answer is a question", {}
        claims = claims_of(answer, known, example.question)
        if claims is None:
            why = f"{len(answer)} characters, longer or with more items than any right answer"
            return 0.0, why, {}
        if ordered:
            right = int(LCSseq.similarity(claims.found, wanted))
        else:  # each as often as it is wanted
            right = (Counter(claims.found) & Counter(wanted)).total()
        f1 = 2 * right / (claims.count + len(wanted))
        iou = right / (claims.count + len(wanted) - right)
        exact = float(right == claims.count == len(wanted))
        value = {"f1": f1, "iou": iou, "exact": exact}[metric]
        figures = {"f1": f"{f1:.4g}", "iou": f"{iou:.4g}"}
        if claims.unknown:
            figures["not_asked_for"] = shown(" | ".join(claims.unknown))
        order = " in their order" if ordered else ""
        why = (
            f"{right} of {len(wanted)} gold items{order} among {claims.count} claimed;"
            f" {metric} {value:.4g}"
        )
        return value, why, figures

    extraction = extract_items(response, thinking, 2 * known.longest)
    return scored(NAME, extraction, " | ".join(golds), compare)


def _golds(example: Example) -> list[str]:
    return [gold for gold in example.answers if gold.strip()]


_ITEMS = Wording("all items, separated by semicolons", "所有项目", "用分号隔开")
IN_ORDER = Wording(
    "all items in their order, separated by semicolons", "按顺序排列的所有项目", "用分号隔开"
)
_AS_JSON = Wording(
    "all items in their order, as a JSON array of texts",
    "按顺序排列的所有项目",
    "写成JSON字符串数组",
)


def _in_json(example: Example) -> bool:
    """Whether the items are asked for as JSON, because some have semicolons or may have.

    A cited answer is never JSON: its brackets would be read as citations.
    """
    if example.kind != NAME:
        return False
    return bool(example.metadata.get("as_json")) or any(";" in each for each in example.answers)


def _asks(example: Example) -> Wording:
    if _in_json(example):
        return _AS_JSON
    return IN_ORDER if example.metadata.get("ordered") else _ITEMS


def _stated(example: Example) -> str:
    if _in_json(example):
        return json.dumps(example.answers, ensure_ascii=False)
    return "; ".join(example.answers)


KIND = Kind(
    NAME,
    score,
    check,
    takes=("metric", "ordered", "aliases", "as_json"),
    asks=_asks,
    asked_alike=True,
    states=_stated,
    is_citable=True,
    judge=None,  # one of three items would pass as an answer that means the same as a gold item
    needs_all_text=lambda example: True,  # where text is cut out, items may be missing
)
