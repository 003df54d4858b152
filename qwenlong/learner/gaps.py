"""How far engine and learner are apart on a batch, kept by row until somebody asks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qwenlong.learner.layout import MicroBatch
from qwenlong.learner.sharding import Shards, summed
from qwenlong.types import Row, RowFigures


class Gaps:
    """Of one batch, on this process. Nothing leaves the device before it is asked for."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._noted: list[tuple[MicroBatch, Tensor, bool]] = []

    def note(self, pieces: MicroBatch, kl_R: Tensor, first: bool) -> None:
        """Each token's KL, in nats. ``first``: by the weights that the batch began with."""
        self._noted.append((pieces, kl_R, first))

    def mean(self, shards: Shards) -> float:
        """Nats a token, over all rows that are not stale; every process has to ask."""
        sums = {"kl": 0.0, "tokens": 0.0}
        for pieces, kl_R, first in self._noted:
            for piece, kl in zip(pieces, _by_piece(pieces, kl_R), strict=True):
                if first and not piece.row.stale:
                    sums["kl"] += kl.sum().item()
                    sums["tokens"] += len(kl)
        of_all = summed(sums, shards)
        return of_all["kl"] / max(of_all["tokens"], 1.0)

    def of_rows(self, shards: Shards) -> list[RowFigures]:
        """In the batch's order; every process has to ask."""
        places = {id(row): place for place, row in enumerate(self.rows)}
        names = ("kl", "tokens", "odd")
        sums = {f"{place} {name}": 0.0 for place in places.values() for name in names}
        for pieces, kl_R, first in self._noted:
            for piece, kl in zip(pieces, _by_piece(pieces, kl_R), strict=True):
                place = places[id(piece.row)]
                sums[f"{place} odd"] += (~torch.isfinite(kl)).sum().item()
                if first and not piece.row.stale:
                    sums[f"{place} kl"] += kl.sum().item()
                    sums[f"{place} tokens"] += len(kl)
        of_all = summed(sums, shards)
        return [
            RowFigures(
                of_all[f"{place} kl"] / max(of_all[f"{place} tokens"], 1.0),
                of_all[f"{place} odd"] == 0,
            )
            for place in map(places.__getitem__, map(id, self.rows))
        ]


def _by_piece(pieces: MicroBatch, kl_R: Tensor) -> tuple[Tensor, ...]:
    return kl_R.split([sum(map(len, piece.responses)) for piece in pieces])
