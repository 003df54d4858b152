"""Which examples a phase trains on next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from qwenlong.types import Group, Prompt


class UniformSampler:
    """Every prompt once an epoch, in an order drawn anew for each epoch."""

    def __init__(self, prompts: Sequence[Prompt], seed: int | str) -> None:
        self.prompts = prompts
        self.seed = seed
        self.drawn = 0
        """Prompts drawn so far, over all epochs: the whole of the state."""

    def draw(self, n: int) -> list[Prompt]:
        drawn: list[Prompt] = []
        while len(drawn) < n:
            epoch, place = divmod(self.drawn, len(self.prompts))
            rest = self._epoch(epoch)[place : place + n - len(drawn)]
            drawn += rest
            self.drawn += len(rest)
        return drawn

    def observe(self, groups: Sequence[Group]) -> None:
        """A uniform draw learns nothing from rewards."""

    def _epoch(self, epoch: int) -> list[Prompt]:
        order = list(self.prompts)
        Random(f"{self.seed} epoch {epoch}").shuffle(order)
        return order

    def state(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.drawn = state["drawn"]
