"""The rules that all sources of a set share, and the counts of what happened to one source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from qwenlong.data.prompts import Renderer
from qwenlong.types import Example


@dataclass
class Tally:
    """Counts of what happened to a source's examples."""

    source: str
    taken: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """By reason."""
    cut: Counter[str] = field(default_factory=Counter)
    """Over-long examples, by what was done to them."""
    first: dict[str, str] = field(default_factory=dict)
    """Where each reason came up first."""
    notes: list[str] = field(default_factory=list)
    """What else the user should know about the source."""

    def lines(self) -> list[str]:
        """What was left out or cut, in words."""
        total = self.taken + self.left_out.total()
        left_out = [f"{n} of {total} left out: {why}" for why, n in self.left_out.items()]
        return left_out + [f"{n} of {total} {fate}" for fate, n in self.cut.items()] + self.notes

    def leave_out(self, reason: str, where: str) -> None:
        self.left_out[reason] += 1
        self.first.setdefault(reason, where)


@dataclass(frozen=True)
class Rules:
    """What all sources of a set share."""

    renderer: Renderer
    seed: int
    on_error: str = "stop"
    deduplicate: bool = False
    context: int | None = None
    """Longest prompt in tokens; a longer one is treated as ``over_long`` says."""
    over_long: str = "drop"
    check: Callable[[Example], object] = lambda _: None
    """Raises InputError for an example that no verifier can score."""
