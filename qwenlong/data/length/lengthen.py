"""Makes an example of 8K, 32K or 128K tokens out of one of a few hundred words.

Documents that do not answer its question (``distractors``) are put around its own. The gold ones
stand at a given depth, as in "Lost in the Middle" (Liu et al., arXiv 2307.03172). Documents are
taken whole; only the last is cut to the room that is left, at the end of a sentence or of a word.

Lengths are exact: the tokens of single documents are added up and the prompt is rendered. Where
tokens merged at the borders between documents, the sum is wrong by a few; then the budget is
corrected by the difference and the prompt rendered again. Nearly always the first one is right.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from qwenlong.data.gold import gold_of, numbered, rearranged
from qwenlong.data.length.distractors import Pool, drawn, unique
from qwenlong.data.prompts import Renderer
from qwenlong.types import Example, InputError, Prompt

LEAST = 0.98
"""A lengthened prompt has at least this share of the tokens asked for, and never more than all."""
_TRIES = 8
_SPLIT = 0.01
"""A document is split in two where a gold one would miss its depth by more than this share."""
_SHORTEST_PIECE = 24
"""Tokens; a document is not cut to fill less room than this, if the length allows it."""
_SENTENCE = re.compile(r"[.!?][\"'”’)\]]?(?=\s)|[。！？]|\n")
_SPACE = re.compile(r"\s")
_CHARACTERS = 24
"""Tokens are shorter on average: no more of a long text than this, times its tokens, is tokenised
to cut it."""


@dataclass(frozen=True)
class Piece:
    """A document of the new example."""

    text: str
    tokens: int
    origin: int | None = None
    """The place among the example's own documents; None for a distractor."""


def lengthened(
    example: Example,
    pool: Pool,
    renderer: Renderer,
    tokens: int,
    seed: int,
    kind: str = "hard",
    depth: float | None = None,
    filler: Callable[[], Pool] | None = None,
    finish: Callable[[Example], Example] = lambda example: example,
) -> Prompt:
    """The prompt of ``example`` with more documents: between 0.98 and 1.00 of ``tokens`` long.

    All its own documents stay; the gold ones keep their order, and so do the others. If it is not
    known which are gold, all count as gold. ``metadata["lengthened"]`` says what was asked for, at
    which depth each gold document stands (the share of the other documents' tokens before it),
    and whether it is promised that no distractor holds an answer (``distractors.unique``).

    Args:
        pool: documents of the same source and side of the split, or running text.
        kind: which documents are taken, see ``distractors.drawn``.
        depth: where all gold documents stand, together; None: drawn for each of them.
        filler: gives running text that is added where the pool has too little.
        finish: applied to the lengthened example last; lengths are those of its result.

    Raises:
        InputError: the pool is too small, or the example is longer already.
    """
    if depth is not None and not 0 <= depth <= 1:
        raise InputError(f"depth={depth}: must be from 0 (first) to 1 (last)")
    if tokens < 1:
        raise InputError(f"lengthen={tokens}: must be at least 1")
    if not example.documents:
        raise InputError("lengthen: has no document to lengthen")
    plain = renderer.prompt(finish(example))
    if len(plain.ids) > tokens:
        raise InputError(
            f"lengthen={tokens}: example {example.id!r} already has {len(plain.ids)}; cut it first"
        )
    if len(plain.ids) >= LEAST * tokens:
        return plain
    # Seeded by the example alone: what is made of it does not depend on the others.
    draw = Random(f"lengthen {seed} {tokens} {kind} {example.id}")
    budget = tokens - len(plain.ids)
    slack = tokens - math.ceil(LEAST * tokens)
    # What a document's number adds to it; an estimate, corrected like merges.
    mark = renderer.count_tokens("[100] ") if numbered(example) else 0

    def taken_from(pool: Pool, kind: str, enough: int) -> list[Piece]:
        """Documents of ``enough`` tokens, if the pool has as many."""
        pieces: list[Piece] = []
        numbers = drawn(pool, example, kind, draw)
        while enough > 0 and (number := next(numbers, None)) is not None:
            pieces.append(Piece(pool.texts[number], pool.tokens[number] + mark))
            enough -= pieces[-1].tokens
        return pieces

    enough = budget + budget // 8 + 64  # room for corrections
    supply = taken_from(pool, kind, enough)
    # Documents may stand in any order; running text must keep its own.
    loose = 0 if kind == "text" else len(supply)
    if filler and kind != "text":
        missing = enough - sum(piece.tokens for piece in supply)
        supply += taken_from(filler(), "text", missing) if missing > 0 else []
    if sum(piece.tokens for piece in supply) < budget - slack:
        # The same text for all examples of a source, because they are counted by it.
        raise InputError(
            f"lengthen={tokens}: too few documents are not its own and hold no answer"
            f" ({sum(pool.tokens)} tokens in {len(pool.texts)} altogether): give more documents"
            " or running text"
        )
    order = draw.random()  # the documents keep their places when the budget is corrected
    for _ in range(_TRIES):
        taken = _filled(supply, budget, slack, renderer)
        built, depths = _arranged(example, taken, loose, depth, Random(f"{order}"), renderer)
        note = {"tokens": tokens, "kind": kind, "depths": depths, "unique": unique(built)}
        built = replace(built, metadata={**built.metadata, "lengthened": note})
        prompt = renderer.prompt(finish(built))
        missing = tokens - len(prompt.ids)
        if 0 <= missing <= slack:
            return prompt
        budget += missing
    raise InputError(
        f"lengthen={tokens}: no cut of the last document gives a length from {tokens - slack} to"
        f" {tokens}; ask for more tokens"
    )


def _filled(supply: Sequence[Piece], budget: int, slack: int, renderer: Renderer) -> list[Piece]:
    """The first pieces of ``supply`` that have ``budget`` tokens together; the last one is cut."""
    taken: list[Piece] = []
    for piece in supply:
        if piece.tokens > budget:
            wanted = budget >= min(_SHORTEST_PIECE, slack + 1)
            head = _head(piece, budget - slack, budget, renderer) if wanted else None
            return [*taken, head] if head else taken
        taken.append(piece)
        budget -= piece.tokens
    return taken


def _head(piece: Piece, least: int, most: int, renderer: Renderer) -> Piece | None:
    """The beginning of a piece, of ``least`` to ``most`` tokens if that is possible."""
    text = piece.text[: _CHARACTERS * most + 64]
    behind = renderer.count_documents([""])[0]
    offsets = renderer.offsets(text)
    last = min(most - behind, len(offsets)) - 1
    if last < 0:
        return None
    first = max(0, min(least - behind, last + 1) - 1)
    head = text[: _end(text, offsets[first][1], offsets[last][1])].rstrip()
    return Piece(head, renderer.count_documents([head])[0], piece.origin) if head else None


def _end(text: str, low: int, high: int) -> int:
    """The last place from ``low`` to ``high`` where a sentence ends; else a word; else ``high``."""
    beyond = min(high + 1, len(text))
    sentences = [match.end() for match in _SENTENCE.finditer(text, low, beyond)]
    words = [match.start() for match in _SPACE.finditer(text, low, beyond)]
    fitting = [end for end in sentences if end <= high] or words
    return fitting[-1] if fitting else high


def _arranged(
    example: Example,
    taken: Sequence[Piece],
    loose: int,
    depth: float | None,
    draw: Random,
    renderer: Renderer,
) -> tuple[Example, list[float]]:
    """The example's own documents among those ``taken``, whose first ``loose`` may be mixed.

    With it the depth of each gold document: the share of the other documents' tokens before it.
    """
    gold = gold_of(example) or tuple(range(len(example.documents)))
    counts = renderer.count_documents(example.documents)
    own = [Piece(t, n, i) for i, (t, n) in enumerate(zip(example.documents, counts, strict=True))]
    others = [piece for piece in own if piece.origin not in gold]
    golden = [piece for piece in own if piece.origin in gold]

    def anywhere(pieces: Sequence[Piece], inserted: Sequence[Piece]) -> Sequence[Piece]:
        return _placed(pieces, inserted, sorted(draw.random() for _ in inserted))

    mixed, pieces = list(taken[:loose]), taken[loose:]
    draw.shuffle(mixed)
    pieces = anywhere(anywhere(pieces, mixed) if pieces else mixed, others)
    if depth is None:
        pieces = anywhere(pieces, golden)
    else:
        total = sum(piece.tokens for piece in pieces)
        pieces = _split_at(pieces, depth * total, _SPLIT * total, renderer)
        pieces = _placed(pieces, golden, [depth] * len(golden))
    origins = [piece.origin for piece in pieces]
    built = rearranged(example, [piece.text for piece in pieces], origins, gold)
    total = sum(piece.tokens for piece in pieces if piece.origin not in gold)
    depths, before = [], 0
    for piece in pieces:
        if piece.origin in gold:
            depths.append(round(before / max(1, total), 4))
        else:
            before += piece.tokens
    return built, depths


def _placed(
    pieces: Sequence[Piece], inserted: Sequence[Piece], depths: Sequence[float]
) -> list[Piece]:
    """``pieces`` with each of ``inserted`` at the border nearest to its depth; depths ascend."""
    borders = list(accumulate((piece.tokens for piece in pieces), initial=0))
    placed, start = [], 0
    for piece, depth in zip(inserted, depths, strict=True):
        at = _nearest(borders, depth * borders[-1])
        placed += [*pieces[start:at], piece]
        start = at
    return [*placed, *pieces[start:]]


def _nearest(borders: Sequence[int], wanted: float) -> int:
    at = min(bisect_left(borders, wanted), len(borders) - 1)
    return at - 1 if at and wanted - borders[at - 1] < borders[at] - wanted else at


def _split_at(
    pieces: Sequence[Piece], wanted: float, tolerated: float, renderer: Renderer
) -> Sequence[Piece]:
    """The pieces; the one in which ``wanted`` tokens end is split there, if it is a distractor."""
    before = 0
    for place, piece in enumerate(pieces):
        missed = min(wanted - before, before + piece.tokens - wanted)
        if before < wanted < before + piece.tokens and missed > tolerated and piece.origin is None:
            most = round(wanted - before)
            head = _head(piece, most - round(tolerated), most, renderer)
            tail = piece.text[len(head.text) :].strip() if head else ""
            if head and tail:
                rest = Piece(tail, renderer.count_documents([tail])[0])
                return [*pieces[:place], head, rest, *pieces[place + 1 :]]
        before += piece.tokens
    return pieces
