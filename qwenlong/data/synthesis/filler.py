"""Filler: texts of a corpus up to a number of tokens.

The tokens of a text are counted once, together with the blank line and a letter behind it. Byte-
level BPE, and every tokenizer that never merges a line break with the letter behind it, gives a
whole as many tokens as its texts have together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from qwenlong.data.synthesis.corpus import UNSPACED, Corpus, Text, sentence_ends, word_ends
from qwenlong.types import CountTokens, InputError

SEPARATOR = "\n\n"
_ENOUGH = 0.997
"""Share of the room that is full enough: no more is put in."""
_SPARE = 12
"""Texts that did not fit; the rest of the room is filled with first sentences of theirs."""
_MOST_CUT = 4
"""Texts that are cut at sentences, and then at words, to fill the rest."""

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
