"""Drops or cuts examples whose documents are too long for a prompt, and says which it did.

An example is dropped if its answer would be cut out, or if it needs all of its text.

A cut example has the shorter documents, so that it can be stored and rendered to the same tokens
again. A gap within a document is a line with ``GAP``. A document with nothing left is removed, and
the numbers of the others are corrected. Lengths are the tokenizer's: at a limit of n the prompt has
n tokens, or a few less where two texts meet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qwenlong.data.gold import gold_of, numbered, rearranged
from qwenlong.data.length.distractors import answer_strings
from qwenlong.data.prompts import Renderer
from qwenlong.data.words import HAN, folded, words
from qwenlong.rewards.registry import kind_of
from qwenlong.types import Example, InputError, Prompt

Fate = Literal[
    "whole",
    "dropped",
    "needs all of its text",
    "answer cut out",
    "cut in the middle",
    "cut around gold",
]
WHOLE = ("counting", "facts", "ordering", "recital", "tables")
"""Synthetic tasks whose answers hold for the whole text alone."""

GAP = "\n…\n"
_SLIVER = 8
"""Tokens of the shortest rest that is kept of a document that is not gold."""
_SPARE = 8
"""Tokens below the limit that are close enough."""
_TRIES = 12
Ints = NDArray[np.int64]
_BETWEEN = r"[\W_]{0,9}"
_SIGN = re.compile(f"[{HAN}\u3040-\u30ff]")
_LETTER = rf"[^\W{HAN}\u3040-\u30ff]"


@dataclass(frozen=True)
class Fitted:
    """A prompt that fits, or None, and what was done to the example."""

    prompt: Prompt | None
    fate: Fate


@dataclass(frozen=True)
class _Tokens:
    """All tokens of the documents: document, start and end (in characters) of each, [T]."""

    document_T: Ints
    start_T: Ints
    end_T: Ints


def fitted(prompt: Prompt, renderer: Renderer, limit: int, policy: str, made: str = "") -> Fitted:
    """``prompt`` unchanged if it has at most ``limit`` tokens, else shortened by ``policy``.

    ``drop`` drops it. ``middle`` cuts out the middle of all documents together. ``keep_gold`` keeps
    what is nearest to the gold documents; where these are unknown, what is nearest to the answer's
    words; and without these it cuts in the middle. Gold documents that are too long themselves are
    cut around the answer's words. A chat is never cut, nor a task in ``WHOLE``, nor a kind of
    answer that needs all of its text. An example that would lose a gold document or the answer's
    words is dropped.

    Args:
        made: the synthetic task that made the example, whose gold documents must stay whole.

    Raises:
        InputError: the example does not fit even without its documents.
    """
    if len(prompt.ids) <= limit:
        return Fitted(prompt, "whole")
    example = prompt.example
    if policy == "drop" or example.metadata.get("messages"):
        return Fitted(None, "dropped")
    named = not {made, example.kind}.isdisjoint(WHOLE)
    if named or kind_of(example).needs_all_text(example):
        return Fitted(None, "needs all of its text")
    tokens = _tokens(example, renderer)
    fate: Fate = "cut around gold"
    rank_T = _from_gold(example, tokens) if policy == "keep_gold" else None
    if rank_T is None:
        place_T = np.arange(len(tokens.document_T))
        fate, rank_T = "cut in the middle", np.minimum(place_T, place_T[::-1])
    short = _shortened(prompt, renderer, limit, tokens, rank_T)
    if _lost(example, short.example, made):
        return Fitted(None, "answer cut out")
    return Fitted(short, fate)


def _lost(example: Example, short: Example, made: str) -> bool:
    """Whether a gold document was cut out, or the answer's words."""
    gold, kept = gold_of(example), gold_of(short)
    cited = [len(each.metadata.get("gold_citations") or ()) for each in (example, short)]
    if len(kept) < len(gold) or (numbered(example) and cited[1] < cited[0]):
        return True
    pairs = [
        ([example.documents[old]], [short.documents[new]])
        for old, new in zip(gold, kept, strict=True)
    ]
    if made and any(old != new for old, new in pairs):
        return True
    # A hidden question is reached by its keys alone.
    way = [*example.metadata.get("chain", ()), example.metadata.get("hidden_question", "")]
    texts = ["\n".join(each.documents) for each in (example, short)]
    if any(texts[1].count(each) < texts[0].count(each) for each in way if each):
        return True
    answers = answer_strings(example)
    pattern = _pattern(answers)
    forms = [form for form in map(folded, answers) if form]
    return any(
        there and not left
        for old, new in [*pairs, (example.documents, short.documents)]
        for there, left in zip(_said(old, pattern, forms), _said(new, pattern, forms), strict=True)
    )


def _said(
    documents: Sequence[str], pattern: re.Pattern[str] | None, forms: Sequence[str]
) -> tuple[bool, bool]:
    """Whether an answer stands there as whole words, and whether as a part of words."""
    parts = [part for text in documents for part in text.split(GAP)]
    words_of = [folded(part) for part in parts] if forms else []
    return (
        pattern is not None and any(map(pattern.search, parts)),
        any(form in part for part in words_of for form in forms),
    )


def _tokens(example: Example, renderer: Renderer) -> _Tokens:
    documents, offsets = [], []
    for number, text in enumerate(example.documents):
        own = renderer.offsets(text)
        documents.append(np.full(len(own), number, dtype=np.int64))
        offsets.append(np.array(own, dtype=np.int64).reshape(-1, 2))
    spans = np.concatenate(offsets) if offsets else np.zeros((0, 2), dtype=np.int64)
    document_T = np.concatenate(documents) if documents else np.zeros(0, dtype=np.int64)
    return _Tokens(document_T, spans[:, 0], spans[:, 1])


def _shortened(
    prompt: Prompt, renderer: Renderer, limit: int, tokens: _Tokens, rank_T: Ints
) -> Prompt:
    """The prompt with as many of the lowest ranked tokens as fit."""
    example = prompt.example
    order_T = np.argsort(rank_T, kind="stable")
    room = len(order_T) - (len(prompt.ids) - limit)
    best: Prompt | None = None
    for _ in range(_TRIES):
        if room <= 0:
            break
        kept_T = np.zeros(len(order_T), dtype=bool)
        kept_T[order_T[:room]] = True
        short = _built(example, tokens, kept_T)
        ids = renderer.prompt(short).ids
        spare = limit - len(ids)
        if spare >= 0 and (best is None or len(ids) > len(best.ids)):
            best = Prompt(short, ids, len(prompt.ids) - len(ids))
        if 0 <= spare <= _SPARE:
            break
        # What stands around a document goes with it, and a gap costs some tokens.
        room += spare
    if best is None:
        raise InputError(f"context={limit}: does not fit even without its documents")
    return best


def _built(example: Example, tokens: _Tokens, kept_T: NDArray[np.bool_]) -> Example:
    """The example with the kept tokens of its documents."""
    gold = set(gold_of(example))
    texts: list[str] = []
    origins: list[int] = []
    edges = np.flatnonzero(np.diff(tokens.document_T, prepend=-1, append=-1))
    for first, behind in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        number = int(tokens.document_T[first])
        least = 1 if number in gold or behind - first < _SLIVER else _SLIVER
        parts = [
            example.documents[number][tokens.start_T[first + low] : tokens.end_T[first + high - 1]]
            for low, high in _runs(kept_T[first:behind])
            if high - low >= least
        ]
        text = GAP.join(part.strip() for part in parts if part.strip())
        if text:
            texts.append(text)
            origins.append(number)
    return rearranged(example, texts, origins, example.gold_documents)


def _runs(kept_T: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where each run of True starts and ends."""
    steps = np.diff(kept_T.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist()
    return list(zip(starts, ends, strict=True))


def _from_gold(example: Example, tokens: _Tokens) -> Ints | None:
    """Ranks tokens by their distance from gold; None where neither gold nor answer is found.

    Within gold documents the answer's words come first, then what is near them, or near the ends.
    """
    gold = gold_of(example)
    said_T = _answers(example, tokens)
    gold_T = np.isin(tokens.document_T, gold) if gold else said_T
    if not gold_T.any():
        return None
    inside_T = said_T & gold_T
    if not inside_T.any():
        # The first and the last token of every document.
        inside_T = np.diff(tokens.document_T, prepend=-1) != 0
        inside_T |= np.diff(tokens.document_T, append=-1) != 0
    within_T = _distance(inside_T)
    return np.where(gold_T, within_T, len(gold_T) + _distance(gold_T))


def _distance(anchor_T: NDArray[np.bool_]) -> Ints:
    """Tokens from each token to the nearest anchor."""
    anchors = np.flatnonzero(anchor_T)
    place_T = np.arange(len(anchor_T))
    after_T = np.searchsorted(anchors, place_T)
    left_T = np.abs(place_T - anchors[np.maximum(after_T - 1, 0)])
    right_T = np.abs(anchors[np.minimum(after_T, len(anchors) - 1)] - place_T)
    return np.minimum(left_T, right_T)


def _answers(example: Example, tokens: _Tokens) -> NDArray[np.bool_]:
    """Which tokens belong to an answer's words."""
    said_T = np.zeros(len(tokens.document_T), dtype=bool)
    pattern = _pattern(answer_strings(example))
    if pattern is None:
        return said_T
    for number, text in enumerate(example.documents):
        first, behind = np.searchsorted(tokens.document_T, [number, number + 1]).tolist()
        starts, ends = tokens.start_T[first:behind], tokens.end_T[first:behind]
        for match in pattern.finditer(text):
            low = first + int(np.searchsorted(ends, match.start(), side="right"))
            high = first + int(np.searchsorted(starts, match.end(), side="left"))
            said_T[low:high] = True
    return said_T


def _pattern(answers: Sequence[str]) -> re.Pattern[str] | None:
    """Matches the answers' words with anything but words between them, digits with commas."""
    forms = []
    for answer in answers:
        own = words(answer)[:64]
        if not own:
            continue
        parts = [",?".join(word) if word.isdigit() else re.escape(word) for word in own]
        # A Chinese or Japanese character is a word of its own, also next to others.
        before = "" if _SIGN.match(own[0]) else rf"(?<!{_LETTER})"
        behind = "" if _SIGN.match(own[-1]) else rf"(?!{_LETTER})"
        forms.append(f"{before}{_BETWEEN.join(parts)}{behind}")
    return re.compile("|".join(forms), re.IGNORECASE) if forms else None
