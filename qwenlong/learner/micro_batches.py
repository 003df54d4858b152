"""Groups packed into micro-batches under a budget of tokens, and dealt out to the data ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qwenlong.learner.attention.layout import Layout
from qwenlong.learner.distributed.mesh import Mesh
from qwenlong.types import Batch, Logprobs, Row, TokenIds


@dataclass(frozen=True)
class RowSlice:
    """A row's prompt with some of its responses; all of them, unless the row was too long."""

    row: Row
    first: int
    last: int
    """One past the last response."""

    @property
    def responses(self) -> tuple[TokenIds, ...]:
        return self.row.responses[self.first : self.last]

    @property
    def advantages(self) -> tuple[float, ...]:
        return self.row.advantages[self.first : self.last]

    @property
    def logprobs(self) -> tuple[Logprobs, ...]:
        return self.row.logprobs[self.first : self.last]

    @property
    def tokens(self) -> int:
        return len(self.row.prompt_ids) + sum(map(len, self.responses))


Slices = tuple[RowSlice, ...]
"""What is packed into one sequence: one forward and backward pass."""


@dataclass(frozen=True)
class MicroBatch:
    slices: Slices
    trained: bool
    """False where no response has a gradient: the forward pass is for the metrics alone."""
    counts: bool
    """False on a data rank that repeats a micro-batch because the others have one more."""


def check_batch(batch: Batch) -> None:
    """
    Raises:
        ValueError: rows whose parts do not fit together, or no row at all.
    """
    if not batch.rows or batch.mini_batch < 1:
        raise ValueError(
            f"batch: has {len(batch.rows)} rows and mini_batch={batch.mini_batch};"
            " must be at least 1 each"
        )
    for i, row in enumerate(batch.rows):
        if not len(row.prompt_ids):
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


def micro_batches_of(
    rows: Sequence[Row], has_gradient: Callable[[Row], bool], max_tokens: int | None, mesh: Mesh
) -> list[MicroBatch]:
    """This data rank's share of an update's micro-batches.

    Args:
        max_tokens: bounds a micro-batch; the longest row's tokens if None.
    """
    longest = max(len(row.prompt_ids) + sum(map(len, row.responses)) for row in rows)
    trained = [row for row in rows if has_gradient(row)]
    rest = [row for row in rows if not has_gradient(row)]
    share = []
    for is_trained, some in ((True, trained), (False, rest)):
        every = packed(some, max_tokens or longest)
        # FSDP2 gathers parameters in every pass, so all ranks must make as many passes. A rank
        # that has none left computes the last one again, and its results are multiplied by 0.
        for first in range(0, len(every), mesh.data_ranks):
            index = first + mesh.data_rank
            counts = index < len(every)
            share.append(MicroBatch(every[index if counts else -1], is_trained, counts))
    return share


def joined(arrays: Sequence[NDArray[Any]], dtype: torch.dtype) -> Tensor:
    """The arrays' values, one after another. A copy: arrays in Ray's object store are read-only."""
    if not arrays:
        return torch.empty(0, dtype=dtype)
    return torch.from_numpy(np.concatenate(arrays)).to(dtype)


def packed(rows: Sequence[Row], max_tokens: int) -> list[Slices]:
    """Packs rows into sequences of at most ``max_tokens`` tokens.

    First-fit decreasing: each row goes, longest first, into the first sequence with room for it.
    A row that is longer than ``max_tokens`` is split by its responses, and its prompt is computed
    once for each slice; the gradients add up to the same.

    Raises:
        ValueError: a prompt and one response exceed ``max_tokens``.
    """
    slices = [each for row in rows for each in _split(row, max_tokens)]
    bins: list[list[RowSlice]] = []
    free: list[int] = []
    for each in sorted(slices, key=lambda each: -each.tokens):
        fits = next((i for i, tokens in enumerate(free) if each.tokens <= tokens), None)
        if fits is None:
            bins.append([each])
            free.append(max_tokens - each.tokens)
        else:
            bins[fits].append(each)
            free[fits] -= each.tokens
    return [tuple(each) for each in bins]


def _split(row: Row, max_tokens: int) -> list[RowSlice]:
    """The row in as few slices of consecutive responses as fit."""
    slices, first, used = [], 0, len(row.prompt_ids)
    for i, response in enumerate(row.responses):
        if len(row.prompt_ids) + len(response) > max_tokens:
            raise ValueError(
                f"learner.max_tokens={max_tokens}: a prompt of {len(row.prompt_ids)} tokens and"
                f" its response of {len(response)} need {len(row.prompt_ids) + len(response)}"
            )
        if used + len(response) > max_tokens:
            slices.append(RowSlice(row, first, i))
            first, used = i, len(row.prompt_ids)
        used += len(response)
    return [*slices, RowSlice(row, first, len(row.responses))]


def layout_of(slices: Slices) -> Layout:
    return Layout(
        tuple((len(each.row.prompt_ids), tuple(map(len, each.responses))) for each in slices)
    )
