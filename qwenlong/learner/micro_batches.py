"""Groups packed into micro-batches under a budget of tokens, and dealt out to the data ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qwenlong.learner.attention.layout import Layout
from qwenlong.learner.distributed.mesh import Mesh
from qwenlong.types import Batch, Row


@dataclass(frozen=True)
class RowSlice:
    """Some responses of a row, with its prompt: all of them, unless the group was split."""

    row: Row
    first: int
    last: int
    """One past the last response."""

    @property
    def responses(self) -> tuple[tuple[int, ...], ...]:
        return self.row.responses[self.first : self.last]

    @property
    def advantages(self) -> tuple[float, ...]:
        return self.row.advantages[self.first : self.last]

    @property
    def logprobs(self) -> tuple[tuple[float, ...], ...]:
        return self.row.logprobs[self.first : self.last]

    @property
    def tokens(self) -> int:
        return len(self.row.prompt_ids) + sum(map(len, self.responses))


def check_batch(batch: Batch) -> None:
    """Raises ValueError for rows that would be trained on wrongly, or not at all."""
    if not batch.rows or batch.mini_batch < 1:
        raise ValueError(
            f"batch: has {len(batch.rows)} rows and mini_batch={batch.mini_batch};"
            " must be at least 1 each"
        )
    for i, row in enumerate(batch.rows):
        if not row.prompt_ids:
            raise ValueError(f"batch.rows.{i}.prompt_ids: empty; must hold a token at least")
        n = len(row.responses)
        if not n == len(row.advantages) == len(row.logprobs):
            raise ValueError(
                f"batch.rows.{i}: {n} responses, {len(row.logprobs)} logprobs and"
                f" {len(row.advantages)} advantages; must be as many"
            )
        lengths, known = list(map(len, row.responses)), list(map(len, row.logprobs))
        if lengths != known:
            raise ValueError(
                f"batch.rows.{i}.logprobs: of {known} tokens; must be of the responses' {lengths}"
            )


Slices = tuple[RowSlice, ...]
"""Pieces that are computed as one row."""


def layout_of(pieces: Slices) -> Layout:
    return Layout(
        tuple((len(piece.row.prompt_ids), tuple(map(len, piece.responses))) for piece in pieces)
    )


def packed(rows: Sequence[Row], max_tokens: int) -> list[Slices]:
    """Packs groups into micro-batches of at most ``max_tokens`` tokens, the longest first.

    A group that is larger than that is split by its responses, and its prompt computed once a
    piece; gradients add up to the same.

    Raises:
        ValueError: a prompt and one response exceed ``max_tokens``.
    """
    pieces = [piece for row in rows for piece in _pieces(row, max_tokens)]
    bins: list[list[RowSlice]] = []
    room: list[int] = []
    for piece in sorted(pieces, key=lambda piece: -piece.tokens):
        fits = next((i for i, free in enumerate(room) if piece.tokens <= free), None)
        if fits is None:
            bins.append([piece])
            room.append(max_tokens - piece.tokens)
        else:
            bins[fits].append(piece)
            room[fits] -= piece.tokens
    return [tuple(each) for each in bins]


def _pieces(row: Row, max_tokens: int) -> list[RowSlice]:
    pieces, first, used = [], 0, len(row.prompt_ids)
    for i, response in enumerate(row.responses):
        if len(row.prompt_ids) + len(response) > max_tokens:
            raise ValueError(
                f"learner.max_tokens={max_tokens}: a prompt of {len(row.prompt_ids)} tokens and"
                f" its response of {len(response)} need {len(row.prompt_ids) + len(response)}"
            )
        if used + len(response) > max_tokens:
            pieces.append(RowSlice(row, first, i))
            first, used = i, len(row.prompt_ids)
        used += len(response)
    return [*pieces, RowSlice(row, first, len(row.responses))]


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch of this process. One that only keeps step with others does not count."""

    pieces: Slices
    trained: bool
    counts: bool


def micro_batches_of(
    rows: Sequence[Row], compared: Callable[[Row], bool], max_tokens: int | None, mesh: Mesh
) -> list[MicroBatch]:
    """This data rank's share of an update's micro-batches; every rank has as many.

    Rows without any gradient are computed for the metrics alone.
    """
    longest = max(len(row.prompt_ids) + sum(map(len, row.responses)) for row in rows)
    budget = max_tokens or longest
    trained = [row for row in rows if compared(row)]
    rest = [row for row in rows if not compared(row)]
    works = []
    for is_trained, some in ((True, trained), (False, rest)):
        every = packed(some, budget)
        for first in range(0, len(every), mesh.data_ranks):
            at = first + mesh.data_rank
            counts = at < len(every)
            works.append(MicroBatch(every[at if counts else -1], is_trained, counts))
    return works
