"""What a run has seen of its examples, over all phases: the ground of every adaptive draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from qwenlong.types import Example, Group


@dataclass(frozen=True)
class Seen:
    """An example's last group."""

    pass_rate: float
    """Its mean reward."""
    rollouts: int
    step: int
    """Of the run, over all phases."""

    @property
    def difficulty(self) -> float:
        """1 / mean reward (QwenLong-L1, arXiv 2505.17667, difficulty-aware retrospective sampling).

        The paper carries examples of mean 0 over and leaves their difficulty undefined. Here they
        count as if half a rollout had been right, 2G for a group of G: twice what one right
        rollout gives, so they are the likeliest to come back, and still drawn by weight.
        """
        return 1 / max(self.pass_rate, 0.5 / self.rollouts)


class History:
    """The last group of every example that was sampled. ``step`` counts the run's RL steps."""

    def __init__(self) -> None:
        self.step = 0
        self.seen: dict[str, Seen] = {}

    def observe(self, groups: Sequence[Group]) -> None:
        """Groups without any judged rollout tell nothing."""
        for group in groups:
            if group.rewards:
                seen = Seen(fmean(group.rewards), len(group.rewards), self.step)
                self.seen[group.prompt.example.id] = seen

    def pass_rate(self, example: Example) -> float | None:
        """Of its last group, else what ``metadata["pass_rate"]`` says; None if neither is there."""
        if example.id in self.seen:
            return self.seen[example.id].pass_rate
        given = example.metadata.get("pass_rate")
        return None if given is None else float(given)

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "seen": {key: asdict(seen) for key, seen in self.seen.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]
        self.seen = {key: Seen(**seen) for key, seen in state["seen"].items()}
