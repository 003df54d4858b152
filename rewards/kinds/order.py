"""Orders and rankings: a permutation of the gold items, however it is written.

``answers`` are the items in their right order, one an entry, or one entry with all of them
("3 > 1 > 2"). ``metadata``: ``metric`` is ``pairwise`` (the default), ``ndcg`` or ``exact``;
``options``, a list of texts or a mapping from label to text, lets items go by label or by text.

- pairwise: the share of the n(n-1)/2 pairs that stand in their right order (Kendall's tau, moved
  to [0, 1]); a reversed order has 0, a random one 1/2.
- ndcg: the gold order's i-th item of n has relevance n - i + 1, discounted by log2(place + 1), over
  the same for the gold order (Järvelin and Kekäläinen, 2002). A reversed order of 3 still has 0.79.
- exact: 1 for the gold order.

An answer with a missing, a repeated or an unknown item is no permutation and scores 0 by all three,
so that leaving out an unsure item gains nothing. "3 > 1 > 2", "3, 1, 2", "[3, 1, 2]", "C → A → B",
"CAB", "first C, then A, then B" and lines are read; ties are not, nor "2 < 1 < 3", which some read
backwards. ``text/items`` says how items are found.
"""

from __future__ import annotations

import re
import string
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import log2
from typing import Any

from qwenlong.rewards.kind import Comparison, Kind, scored
from qwenlong.rewards.kinds.choice import check_options
from qwenlong.rewards.kinds.list import IN_ORDER
from qwenlong.rewards.tables import patterns
from qwenlong.rewards.text.answer import ITEM_BREAK, LEAD_IN, asks, shown, without_copula
from qwenlong.rewards.text.items import (
    Claims,
    Known,
    claims_of,
    extract_items,
    item_key,
    known_items,
)
from qwenlong.types import Example, Score

NAME = "order"
METRICS = ("pairwise", "ndcg", "exact")

_TABLE = patterns("lists")
_STEP = re.compile(_TABLE["then"], re.IGNORECASE)
_FIRST = re.compile(
    rf"(?:{_TABLE['first']})(?:[,:，、،]\s{{0,3}}|\s{{1,3}}|(?<=[先ずに]))", re.IGNORECASE
)
_LEAD = re.compile(rf"{LEAD_IN}(?:{_TABLE['called']})[:：]?\s{{0,3}}", re.IGNORECASE)
_NOUN = re.compile(
    rf"(?:{_TABLE['nouns']})\s?#?\s?(?=[(\[]?(?:\d{{1,3}}|[a-z])(?!\w))", re.IGNORECASE
)
_BARE = re.compile(r"[(\[【]\s?(\d{1,3}|[A-Za-z])\s?[)\]】]|第(\d{1,3})[段篇章条條个個]")
_CIRCLED = re.compile(r"[①-⑳\s,，、;；>＞→]+")
_UNCIRCLED = {0x2460 + n: f" {n + 1} " for n in range(20)}
_LABEL = re.compile(r"\d{1,3}|[A-Za-z]")


def check(example: Example) -> None:
    """Raises ``ValueError`` unless the gold answers are two or more different items in order."""
    metric = example.metadata.get("metric", "pairwise")
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r}: must be one of {', '.join(METRICS)}")
    check_options(example)
    _, gold, _ = _question(example.answers, _pairs(example))
    if len(gold) < 2 or len(set(gold)) < len(gold):
        raise ValueError(
            f"answers={list(example.answers)!r}: must be at least two different items in their"
            " order, or one text with all of them; with options, each of them an option"
        )


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """How far the claimed order is the gold order, by the example's metric."""
    known, gold, names = _question(example.answers, _pairs(example))
    metric = str(example.metadata.get("metric", "pairwise"))

    def compare(answer: str) -> Comparison:
        if asks(answer) and not any(map(asks, names)):
            return 0.0, "the answer is a question", {}
        claims = _claims(answer, known)
        if claims is None:
            return 0.0, "longer or with more items than any right answer", {}
        if wrong := _no_permutation(claims, gold, names):
            return 0.0, wrong, {}
        place_of = {number: place for place, number in enumerate(gold)}
        places = [place_of[number] for number in claims.found]
        figures = {
            "pairwise": _pairwise(places),
            "ndcg": _ndcg(places),
            "exact": float(places == sorted(places)),
        }
        which = "the" if figures["exact"] else "not the"
        why = f"{which} gold order; {metric} {figures[metric]:.4g}"
        return figures[metric], why, {name: f"{value:.4g}" for name, value in figures.items()}

    extraction = extract_items(response, thinking, 2 * known.longest)
    return scored(NAME, extraction, " > ".join(names[number] for number in gold), compare)


def _no_permutation(claims: Claims, gold: tuple[int, ...], names: tuple[str, ...]) -> str:
    """Why the claims are no permutation of the gold items; "" where they are one."""
    if claims.unknown:
        return f"unknown: {shown(' | '.join(claims.unknown))}"
    strange = set(claims.found) - set(gold)
    if strange:
        return f"not among the gold items: {shown(' | '.join(names[n] for n in sorted(strange)))}"
    if len(set(claims.found)) < len(claims.found):
        return "an item is repeated"
    missing = set(gold) - set(claims.found)
    return f"missing: {shown(' | '.join(names[n] for n in sorted(missing)))}" if missing else ""


def _pairwise(places: Sequence[int]) -> float:
    """The share of pairs in ascending order."""
    before: list[int] = []
    right = 0
    for place in places:
        right += bisect_left(before, place)
        insort(before, place)
    return right / (len(places) * (len(places) - 1) / 2)


def _ndcg(places: Sequence[int]) -> float:
    """DCG of ``places`` over that of 0, 1, 2, …, both with relevance n minus place."""
    count = len(places)
    gains = sum((count - place) / log2(at + 2) for at, place in enumerate(places))
    # The same sum in the same order, so that the gold order has exactly 1.
    return gains / sum((count - place) / log2(place + 2) for place in range(count))


def _claims(answer: str, known: Known) -> Claims | None:
    """The items in their order, as ``items.claims_of``, for all ways to write an order."""
    if len(answer) <= known.longest:
        if lead := _LEAD.match(answer):
            answer = answer[lead.end() :]
        answer = without_copula(answer)
        if _CIRCLED.fullmatch(answer):
            answer = answer.translate(_UNCIRCLED)
        answer = _FIRST.sub("", answer, count=1) if _FIRST.match(answer) else answer
        answer = _STEP.sub(ITEM_BREAK, answer)
    claims = claims_of(answer, known)
    if claims is None or not claims.unknown:
        return claims
    plain = _plain(answer)
    closer = claims_of(plain, known) if plain != answer else None
    if closer and not closer.unknown:
        return closer
    # "3 1 2", "CAB" and "C-A-B", where every item is one label.
    for parts in (plain.split(), list(plain.strip()), re.split("[-–—]", plain)):
        keys = [item_key(part) for part in parts]
        if len(keys) == len(known.numbers) and all(key in known.ids for key in keys):
            return Claims(tuple(known.ids[key] for key in keys), ())
    return claims


def _plain(text: str) -> str:
    """Labels without their noun and brackets: "Passage [3]" is 3."""
    return _BARE.sub(r"\1\2", _NOUN.sub("", text)).strip()


def _pairs(example: Example) -> tuple[tuple[str, str], ...]:
    """Label and text of every option."""
    given: Any = example.metadata.get("options") or ()
    if isinstance(given, Mapping):
        return tuple((str(label), str(text)) for label, text in given.items())
    return tuple(zip(string.ascii_uppercase, map(str, given), strict=False))


@lru_cache(maxsize=1024)
def _question(
    answers: tuple[str, ...], pairs: tuple[tuple[str, str], ...]
) -> tuple[Known, tuple[int, ...], tuple[str, ...]]:
    """The known items, the numbers of the gold ones in order (-1: unclear), the items' names."""
    if pairs:
        known = known_items(tuple((label, *_written(label, text)) for label, text in pairs))
        whole = _claims(answers[0], known) if len(answers) == 1 else None
        each = [_claims(answer, known) for answer in answers] if len(answers) > 1 else [whole]
        clear = all(claims and not claims.unknown for claims in each)
        gold = [number for claims in each if claims for number in claims.found]
        return known, tuple(gold) if clear else (-1,), tuple(label for label, _ in pairs)
    names = answers if len(answers) != 1 else _pieces(answers[0])
    known = known_items(tuple((name, _plain(name), f"({_plain(name)})") for name in names))
    return known, known.numbers, names


def _written(label: str, text: str) -> tuple[str, ...]:
    text = text.strip()
    text = text.removeprefix(f"{label}.").removeprefix(f"({label})").strip() or text
    before = (f"{mark} {text}" for mark in (f"{label}.", f"{label}:", f"({label})", f"{label})"))
    return text, *before, f"{label} ({text})", f"{text} ({label})"


def _pieces(answer: str) -> tuple[str, ...]:
    """The items of a gold order that is one text, split at the strongest separator it has."""
    answer = answer.strip().removeprefix("[").removesuffix("]")
    for separator in (_STEP, re.compile(r"[\n;；]"), re.compile(r"[,，、،]")):
        pieces = tuple(piece.strip(" '\"") for piece in separator.split(answer) if piece.strip())
        if len(pieces) > 1:
            return pieces
    spaced = tuple(answer.split())
    if len(spaced) > 1 and all(_LABEL.fullmatch(piece) for piece in spaced):
        return spaced
    # "312" and "CAB" are 1 to 3 and A to C, run together.
    labels = (string.digits[1:], string.digits, string.ascii_uppercase)
    together = "".join(sorted(answer)) in {known[: len(answer)] for known in labels}
    return tuple(answer) if together else (answer,)


def _question_with_items(example: Example) -> str:
    options: Any = example.metadata.get("options")
    if not options:
        return example.question
    if isinstance(options, Mapping):
        lines = [f"{label}. {text}" for label, text in options.items()]
    else:
        lines = [f"- {text}" for text in options]
    return "\n".join([example.question, *lines])


KIND = Kind(
    NAME,
    score,
    check,
    takes=("metric", "options"),
    asks=lambda example: IN_ORDER,
    question=_question_with_items,
    states=lambda example: "; ".join(example.answers),
    is_citable=True,
    judge=None,  # a judge compares with one gold answer, and here all of them are one
    needs_all_text=lambda example: True,
    may_hide_question=True,
)
