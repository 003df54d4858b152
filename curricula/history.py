"""What a run has sampled so far, over all phases: adaptive draws depend on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from qwenlong.types import Example, Group


@dataclass(frozen=True)
class Seen:
    """The last group of an example."""

    pass_rate: float
    """Mean reward of the group."""
    rollouts: int
    step: int
    """The run's RL step, counted over all phases."""

    @property
    def difficulty(self) -> float:
        """1 / mean reward (QwenLong-L1, arXiv 2505.17667, difficulty-aware retrospective sampling).

        The paper carries examples of mean 0 over and leaves their difficulty undefined. Here they
        count as if half a rollout had been right, 2G for a group of G: twice the difficulty of
        one right rollout. They are the likeliest to come back, and are still drawn by weight.
        """
        return 1 / max(self.pass_rate, 0.5 / self.rollouts)


class History:
    """The last group of every example that was sampled. ``step`` counts the run's RL steps."""

    def __init__(self) -> None:
        self.step = 0
        self.seen: dict[str, Seen] = {}

    def observe(self, groups: Sequence[Group]) -> None:
        """Records the groups; one without any judged rollout says nothing and is skipped."""
        for group in groups:
            if group.rewards:
                seen = Seen(fmean(group.rewards), len(group.rewards), self.step)
                self.seen[group.prompt.example.id] = seen

    def pass_rate(self, example: Example) -> float | None:
        """Mean reward of the last group, else ``metadata["pass_rate"]``, else None."""
        if example.id in self.seen:
            return self.seen[example.id].pass_rate
        given = example.metadata.get("pass_rate")
        return None if given is None else float(given)

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "seen": {key: asdict(seen) for key, seen in self.seen.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]
        self.seen = {key: Seen(**seen) for key, seen in state["seen"].items()}
