"""Groups packed into one row, and the micro-batches that a batch is cut into.

A row reads ``prompt | response 1 | … | response G | prompt | …``. Every response's positions go
on from its own prompt's end; it sees its prompt and itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from qwenlong.types import Batch, Row


@dataclass(frozen=True)
class Part:
    """Queries that see keys: each all of them, or (``causal``) those up to itself."""

    queries: slice
    keys: slice
    causal: bool


@dataclass(frozen=True)
class Layout:
    """Where prompts and responses lie in a row: the lengths, in tokens, group after group."""

    groups: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def tokens(self) -> int:
        return sum(prompt + sum(responses) for prompt, responses in self.groups)

    def starts(self) -> list[tuple[int, list[int]]]:
        """Where each group's prompt and each of its responses begin."""
        found, at = [], 0
        for prompt, responses in self.groups:
            *begins, end = accumulate(responses, initial=at + prompt)
            found.append((at, begins))
            at = end
        return found

    def positions(self) -> Tensor:
        """Position ids [1, T] of the row."""
        parts = []
        for prompt, responses in self.groups:
            parts.append(torch.arange(prompt))
            parts += [torch.arange(prompt, prompt + n) for n in responses]
        return torch.cat(parts)[None]

    def predictors(self) -> Tensor:
        """Index [R] of the row's token whose hidden state predicts each response token.

        The first token of every response is predicted by its prompt's last token.
        """
        index = []
        for (prompt, responses), (start, begins) in zip(self.groups, self.starts(), strict=True):
            for begin, n in zip(begins, responses, strict=True):
                index += [start + prompt - 1, *range(begin, begin + n - 1)][:n]
        return torch.tensor(index, dtype=torch.long)

    def owners(self) -> tuple[Tensor, Tensor]:
        """Group and response [T], [T] of each token; a prompt counts as response 0 of its group."""
        group, response = [], []
        for i, (prompt, responses) in enumerate(self.groups):
            lengths = torch.tensor([prompt, *responses])
            group.append(torch.full((int(lengths.sum()),), i))
            response.append(torch.arange(len(lengths)).repeat_interleave(lengths))
        return torch.cat(group), torch.cat(response)

    def parts(self, last_layer: bool = False) -> list[Part]:
        """All that attention has to compute: what it may see in whole blocks, no mask needed.

        In the last layer only predictors are read: of each prompt its last token.
        """
        parts = []
        for (prompt, responses), (start, begins) in zip(self.groups, self.starts(), strict=True):
            own, end = slice(start, start + prompt), start + prompt + sum(responses)
            if not last_layer:
                parts.append(Part(own, own, causal=True))
            first = own.stop - 1 if last_layer else own.stop
            if first < end:
                parts.append(Part(slice(first, end), own, causal=False))
            for begin, n in zip(begins, responses, strict=True):
                if n:
                    itself = slice(begin, begin + n)
                    parts.append(Part(itself, itself, causal=True))
        return parts


@dataclass(frozen=True)
class Piece:
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


MicroBatch = tuple[Piece, ...]
"""Pieces that are computed as one row."""


def layout_of(pieces: MicroBatch) -> Layout:
    return Layout(
        tuple((len(piece.row.prompt_ids), tuple(map(len, piece.responses))) for piece in pieces)
    )


def packed(rows: Sequence[Row], max_tokens: int) -> list[MicroBatch]:
    """Packs groups into micro-batches of at most ``max_tokens`` tokens, the longest first.

    A group that is larger than that is split by its responses, and its prompt computed once a
    piece; gradients add up to the same.

    Raises:
        ValueError: a prompt and one response exceed ``max_tokens``.
    """
    pieces = [piece for row in rows for piece in _pieces(row, max_tokens)]
    bins: list[list[Piece]] = []
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


def _pieces(row: Row, max_tokens: int) -> list[Piece]:
    pieces, first, used = [], 0, len(row.prompt_ids)
    for i, response in enumerate(row.responses):
        if len(row.prompt_ids) + len(response) > max_tokens:
            raise ValueError(
                f"learner.max_tokens={max_tokens}: a prompt of {len(row.prompt_ids)} tokens and"
                f" its response of {len(response)} need {len(row.prompt_ids) + len(response)}"
            )
        if used + len(response) > max_tokens:
            pieces.append(Piece(row, first, i))
            first, used = i, len(row.prompt_ids)
        used += len(response)
    return [*pieces, Piece(row, first, len(row.responses))]
