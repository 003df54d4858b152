"""Haystacks: texts of a corpus up to a number of tokens, with sentences or documents put in.

Lengths are those of the documents joined by blank lines. The tokens of a text are counted once,
together with the blank line and a letter behind it. Byte-level BPE, and every tokenizer that never
merges a line break with the letter behind it, gives a whole as many tokens as its texts have
together.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from random import Random

from qwenlong.data.synthesis.corpus import (
    UNSPACED,
    Corpus,
    Text,
    inserted,
    sentence_ends,
    word_ends,
)
from qwenlong.types import CountTokens, InputError

SEPARATOR = "\n\n"
_ENOUGH = 0.997
"""Share of the room that is full enough: no more is put in."""
_SPARE = 12
"""Texts that did not fit; the rest of the room is filled with first sentences of theirs."""
_MOST_CUT = 4
"""Texts that are cut at sentences, and then at words, to fill the rest."""
_LEAST = 0.97
"""Share of the length that documents must come to."""
_SHORT, _ROUGHLY = 1000, 0.9
"""Below so many tokens one sentence is a large part, and this share is enough."""
_GOOD = 0.985
"""Share of the length at which it is not tried again."""
_SLACK = 2
"""Thousandths of the length by which the room is reduced if the documents were too long."""
_TRIES = 6

Fits = Callable[[Text], bool]
Label = Callable[[int], str]
"""Makes the line above a document out of its number, from 1."""


@dataclass(frozen=True)
class Piece:
    """A document that is being made: a title line, if any, the text below it, and its tokens."""

    title: str
    body: str
    cost: int = 0

    @property
    def text(self) -> str:
        return f"{self.title}\n{self.body}" if self.title else self.body


@dataclass(frozen=True, eq=False)
class Filler:
    """The texts of a corpus in one language, and the pieces of those that were counted already."""

    texts: tuple[Text, ...]
    running: bool
    language: str
    count: CountTokens
    digest: str
    """Eight hexadecimal digits of the texts' SHA-256."""
    pieces: dict[int, Piece] = field(default_factory=dict)

    @property
    def joint(self) -> str:
        """What stands between two sentences."""
        return "" if self.language in UNSPACED else " "

    def cost(self, text: str) -> int:
        """Tokens of a text that ends with a line break, before which no other token begins."""
        return self.count(f"{text}x") - self.count("x")

    def costed(self, piece: Piece) -> Piece:
        """The piece with its tokens, including those of the blank line after it."""
        return replace(piece, cost=self.cost(piece.text + SEPARATOR))

    def piece(self, index: int) -> Piece:
        if index not in self.pieces:
            text = self.texts[index]
            self.pieces[index] = self.costed(Piece(text.title, text.text))
        return self.pieces[index]

    def label_cost(self, label: Label | None, number: int) -> int:
        return self.cost(f"{label(number)}\n") if label else 0


def filler_of(corpus: Corpus, count: CountTokens, language: str) -> Filler:
    """The filler for tasks in ``language``.

    Raises:
        InputError: the corpus has none.
    """
    texts = tuple(text for text in corpus.texts if text.language in (language, ""))
    if not texts:
        known = ", ".join(sorted({text.language for text in corpus.texts})) or "nothing at all"
        raise InputError(f"language={language!r}: the corpus has {known}")
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{text.title}\0{text.text}\0".encode())
    return Filler(texts, corpus.running, language, count, digest.hexdigest()[:8])


def without(words: Sequence[str]) -> Fits:
    """Whether a text holds none of ``words``, whatever their case."""
    folded = [word.casefold() for word in words]

    def fits(text: Text) -> bool:
        held = f"{text.title}\n{text.text}".casefold()
        return not any(word in held for word in folded)

    return fits


def fill(filler: Filler, rng: Random, room: int, fits: Fits, label: Label | None) -> list[Piece]:
    """Texts of at most ``room`` tokens: whole ones first, then the beginnings of some."""
    pieces: list[Piece] = []
    spare: list[Piece] = []
    left = room
    for index in _drawn(filler, rng):
        if left <= 0 or len(spare) == _SPARE:
            break
        text = filler.texts[index]
        if not fits(text):
            continue
        piece = filler.piece(index)
        cost = piece.cost + filler.label_cost(label, len(pieces) + 1)
        if cost <= left:
            pieces.append(piece)
            left -= cost
        else:
            spare.append(piece)
    # The rest of the room takes beginnings of texts that did not fit: whole sentences, then words.
    for ends, looks in ((sentence_ends, _SPARE), (word_ends, 2)):
        for _ in range(_MOST_CUT):
            if left <= (1 - _ENOUGH) * room:
                return pieces
            kept = left - filler.label_cost(label, len(pieces) + 1)
            cuts = [
                (cut, number)
                for number, piece in enumerate(spare[:looks])
                if (cut := beginning(filler, piece, kept, ends(piece.body)))
            ]
            if not cuts:
                break
            longest, number = max(cuts, key=lambda found: found[0].cost)
            del spare[number]
            pieces.append(longest)
            left -= longest.cost + filler.label_cost(label, len(pieces))
    return pieces


def _drawn(filler: Filler, rng: Random) -> Iterator[int]:
    """Every text once: running text from a random place on, documents in random order."""
    count = len(filler.texts)
    if filler.running:
        start = rng.randrange(count)
        yield from (index % count for index in range(start, start + count))
        return
    moved: dict[int, int] = {}  # the Fisher-Yates shuffle, only as far as the caller reads
    for at in range(count):
        other = rng.randrange(at, count)
        yield moved.get(other, other)
        moved[other] = moved.get(at, at)


def beginning(filler: Filler, piece: Piece, room: int, ends: Sequence[int]) -> Piece | None:
    """As much of a text as fits, up to one of ``ends``."""
    best: Piece | None = None
    low, high = 0, len(ends)
    while low < high:  # bisection, because counting tokens is what takes time here
        middle = (low + high) // 2
        cut = filler.costed(Piece(piece.title, piece.body[: ends[middle]].rstrip()))
        if cut.cost <= room:
            best, low = cut, middle + 1
        else:
            high = middle
    return best


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
