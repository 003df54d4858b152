"""Accuracies of a run's stages, by held-out source and context, as ``summary.json`` has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers in [0, 1] over ``n`` questions."""

    value: float
    n: int
    sources: tuple[Accuracy, ...] = ()
    """If ``value`` is the mean over several held-out sources: the accuracy on each."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval: Wilson's; for a mean over sources, the sources' intervals combined.

        They are combined as in Zou and Donner, Statistics in Medicine 27 (2008), 1693-1702.
        Without a question it is the whole of [0, 1].
        """
        if self.sources:
            bounds = [(each.value, *each.interval) for each in self.sources]
            below = sum((value - low) ** 2 for value, low, _ in bounds) ** 0.5 / len(bounds)
            above = sum((high - value) ** 2 for value, _, high in bounds) ** 0.5 / len(bounds)
            return max(0.0, self.value - below), min(1.0, self.value + above)
        if not self.n:
            return 0.0, 1.0
        z2 = 1.96**2
        middle = (self.value + z2 / (2 * self.n)) / (1 + z2 / self.n)
        variance = self.value * (1 - self.value) / self.n + z2 / (4 * self.n**2)
        half = (z2 * variance) ** 0.5 / (1 + z2 / self.n)
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Stage:
    """A finished stage. Accuracies are by context in tokens."""

    name: str
    kind: str
    seconds: float | None
    """Seconds of its steps; None if unknown."""
    evaluation_seconds: float | None
    accuracy: Mapping[int, Accuracy]
    """The mean over held-out sources."""
    by_source: Mapping[str, Mapping[int, Accuracy]] = field(default_factory=dict)
    """Accuracies by held-out source; empty in summaries of old runs."""


def stages_of(summary: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages of a ``summary.json``."""
    return tuple(_stage(stage) for stage in summary.get("stages", ()))


def _stage(stage: Mapping[str, Any]) -> Stage:
    by_source = {
        str(source): {int(context): _accuracy(cell) for context, cell in cells.items()}
        for source, cells in (stage.get("accuracy_by_source") or {}).items()
    }
    accuracy = {}
    for context, cell in (stage.get("accuracy") or {}).items():
        parts = [cells[int(context)] for cells in by_source.values() if int(context) in cells]
        accuracy[int(context)] = _accuracy(cell, parts if len(parts) > 1 else ())
    return Stage(
        name=str(stage["name"]),
        kind=str(stage.get("kind", "")),
        seconds=stage.get("seconds"),
        evaluation_seconds=stage.get("evaluation_seconds"),
        accuracy=accuracy,
        by_source=by_source,
    )


def _accuracy(cell: Mapping[str, Any], sources: Sequence[Accuracy] = ()) -> Accuracy:
    return Accuracy(float(cell["value"]), int(cell["n"]), tuple(sources))


def contexts_of(stages: Sequence[Stage]) -> list[int]:
    """Every context length, in tokens, at which some stage was evaluated."""
    return sorted({context for stage in stages for context in stage.accuracy})


def split_by_source(stages: Sequence[Stage]) -> dict[str, list[Stage]]:
    """The stages with their accuracy on one source alone, for each held-out source.

    Empty unless there are several sources: the accuracy on a single one is the mean.
    """
    sources = list(dict.fromkeys(source for stage in stages for source in stage.by_source))
    if len(sources) < 2:
        return {}
    return {
        source: [replace(stage, accuracy=stage.by_source.get(source, {})) for stage in stages]
        for source in sources
    }


def accuracy_rows(stages: Sequence[Stage]) -> list[tuple[str, Stage]]:
    """(source, stage) for each row of a table.

    A stage's mean over sources, with an empty source, is followed by its sources if there are
    several.
    """
    sources = split_by_source(stages)
    rows: list[tuple[str, Stage]] = []
    for index, stage in enumerate(stages):
        rows += [("", stage), *((source, own[index]) for source, own in sources.items())]
    return rows


def same_n(stages: Sequence[Stage], context: int) -> int | None:
    """The number of questions at a context, if it is the same after every stage."""
    numbers = {stage.accuracy[context].n for stage in stages if context in stage.accuracy}
    return numbers.pop() if len(numbers) == 1 else None


def range_of_n(stage: Stage) -> str:
    """The number of questions, such as ``n=100``, or ``n=50–100`` if it differs by context."""
    numbers = {cell.n for cell in stage.accuracy.values()}
    ends = sorted({min(numbers, default=0), max(numbers, default=0)})
    return f"n={'–'.join(map(str, ends))}"
