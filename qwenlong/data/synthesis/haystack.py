"""Puts sentences or whole documents at given depths into filler, up to a given length.

Lengths are those of the documents joined by blank lines.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from qwenlong.data.synthesis.corpus import inserted, sentence_ends
from qwenlong.data.synthesis.filler import SEPARATOR, Filler, Fits, Label, Piece, fill
from qwenlong.types import InputError

_LEAST = 0.97
"""Share of the length that documents must come to."""
_SHORT, _ROUGHLY = 1000, 0.9
"""Below so many tokens one sentence is a large part, and this share is enough."""
_GOOD = 0.985
"""Share of the length at which it is not tried again."""
_SLACK = 2
"""Thousandths of the length by which the room is reduced if the documents were too long."""
_TRIES = 6


@dataclass(frozen=True)
class Haystack:
    """Documents of the length that was asked for, and where in them each thing was put."""

    documents: tuple[str, ...]
    places: tuple[int, ...]
    """The index of the document that holds each thing."""
    offsets: tuple[int, ...]
    """The characters before each thing."""
    depths: tuple[float, ...]
    """The same as a share of all characters."""

    def in_order(self, things: Sequence[str]) -> list[str]:
        """The first of what was put in, in the order of the documents."""
        return [thing for _, thing in sorted(zip(self.offsets, things, strict=False))]


def bury(
    filler: Filler,
    rng: Random,
    facts: Sequence[str],
    depths: Sequence[float],
    tokens: int,
    fits: Fits,
    label: Label | None = None,
) -> Haystack:
    """Filler with ``facts`` between its sentences, each near its depth in [0, 1].

    Raises:
        InputError: there is too little room, or too little filler.
    """
    need = sum(filler.count(filler.joint + fact) for fact in facts)

    def put(pieces: list[Piece]) -> list[Piece]:
        return _with_facts(filler, pieces, facts, depths) if pieces else []

    return _measured(_nearest(filler, rng, tokens, need, fits, label, put), facts)


def surround(
    filler: Filler,
    rng: Random,
    own: Sequence[Piece],
    depths: Sequence[float],
    tokens: int,
    fits: Fits,
) -> Haystack:
    """Filler with the documents ``own`` among it, each near its depth in [0, 1].

    Raises:
        InputError: there is too little room, or too little filler.
    """
    costed = [filler.costed(piece) for piece in own]
    need = sum(piece.cost for piece in costed)

    def put(pieces: list[Piece]) -> list[Piece]:
        return _with_own(pieces, costed, depths)

    documents = _nearest(filler, rng, tokens, need, fits, None, put)
    return _measured(documents, [piece.text for piece in own])


def _with_facts(
    filler: Filler, pieces: Sequence[Piece], facts: Sequence[str], depths: Sequence[float]
) -> list[Piece]:
    """The pieces with each fact at the end of a sentence near its depth, counted again."""
    starts = list(accumulate((len(piece.body) for piece in pieces), initial=0))
    slots: dict[int, list[tuple[int, str]]] = {}
    for fact, depth in zip(facts, depths, strict=True):
        target = depth * starts[-1]
        at = min(max(bisect_left(starts, target) - 1, 0), len(pieces) - 1)
        ends = (0, *sentence_ends(pieces[at].body))
        end = min(ends, key=lambda end: abs(starts[at] + end - target))
        slots.setdefault(at, []).append((end, fact))
    changed = list(pieces)
    for at, slot in slots.items():
        body = inserted(pieces[at].body, slot, filler.joint)
        changed[at] = filler.costed(Piece(pieces[at].title, body))
    return changed


def _with_own(
    pieces: Sequence[Piece], own: Sequence[Piece], depths: Sequence[float]
) -> list[Piece]:
    """The documents ``own`` between the others, each at the border nearest to its depth."""
    starts = list(accumulate((len(piece.text) for piece in pieces), initial=0))
    slots: dict[int, list[Piece]] = {}
    for piece, depth in zip(own, depths, strict=True):
        target = depth * starts[-1]
        border = min(range(len(starts)), key=lambda at: abs(starts[at] - target))
        slots.setdefault(border, []).append(piece)
    mixed: list[Piece] = []
    for at in range(len(starts)):
        mixed += [*slots.get(at, ()), *pieces[at : at + 1]]
    return mixed


def _nearest(
    filler: Filler,
    rng: Random,
    tokens: int,
    need: int,
    fits: Fits,
    label: Label | None,
    put: Callable[[list[Piece]], list[Piece]],
) -> list[str]:
    """The longest documents of at most ``tokens``, and nearly as many.

    ``put`` adds things of ``need`` tokens to the filler. A sentence within a text may have a token
    more or less than alone, so the room is corrected by the difference.
    """
    if 4 * need > 3 * tokens:
        raise InputError(f"tokens={tokens}: must be at least {4 * need // 3 + 1} for such a task")
    # Every try draws the same texts, so that only the room differs between them.
    draw, room = rng.getrandbits(64), tokens
    best: list[Piece] = []
    most = last = 0
    for _ in range(_TRIES):
        pieces = put(fill(filler, Random(draw), room - need, fits, label))
        length = sum(piece.cost for piece in pieces)
        length += sum(filler.label_cost(label, n) for n in range(1, len(pieces) + 1))
        if most < length <= tokens:
            best, most = pieces, length
        if _GOOD * tokens <= length <= tokens or length == last < tokens:
            break  # good enough, or a larger room changed nothing
        # The surplus may fit into room that stayed empty, so the room is reduced by a little more.
        room += tokens - length - (_SLACK * tokens // 1000 + 1 if length > tokens else 0)
        last = length
    # The corpus is too small, or its texts too long to fill the rest of the room.
    if most < (_LEAST if tokens >= _SHORT else _ROUGHLY) * tokens:
        raise InputError(
            f"tokens={tokens}: the corpus fills only {most} with text in {filler.language!r};"
            " it must hold more, or the length be shorter"
        )
    return [f"{label(n)}\n{p.text}" if label else p.text for n, p in enumerate(best, start=1)]


def _measured(documents: Sequence[str], things: Sequence[str]) -> Haystack:
    # A thing is found by its text: its keys and values stand nowhere else.
    places = [next(i for i, text in enumerate(documents) if thing in text) for thing in things]
    starts = list(accumulate((len(text) + len(SEPARATOR) for text in documents), initial=0))
    offsets = tuple(
        starts[place] + documents[place].index(thing)
        for place, thing in zip(places, things, strict=True)
    )
    whole = max(1, starts[-1] - len(SEPARATOR))
    depths = tuple(round(offset / whole, 4) for offset in offsets)
    return Haystack(tuple(documents), tuple(places), offsets, depths)
