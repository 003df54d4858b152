"""An update's rows as micro-batches, shared out among the data ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qwenlong.learner.layout import MicroBatch, packed
from qwenlong.learner.sharding import Shards
from qwenlong.types import Row


@dataclass(frozen=True)
class Work:
    """A micro-batch of this process. One that only keeps step with others does not count."""

    pieces: MicroBatch
    trained: bool
    counts: bool


def works_of(
    rows: Sequence[Row], compared: Callable[[Row], bool], max_tokens: int | None, shards: Shards
) -> list[Work]:
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
        for first in range(0, len(every), shards.data):
            at = first + shards.data_rank
            counts = at < len(every)
            works.append(Work(every[at if counts else -1], is_trained, counts))
    return works
