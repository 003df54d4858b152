"""What a run's curriculum did: its pool by pass rate, its gate, its draws. Draw in ``style()``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qwenlong.report.palette import light
from qwenlong.report.runs import Run
from qwenlong.report.step_charts import mark_stages

Step = Mapping[str, Any]

PASS_RATES = {
    "0.8-1.0": "stage-0",
    "0.6-0.8": "stage-2",
    "0.4-0.6": "stage-4",
    "0.2-0.4": "stage-6",
    "0.0-0.2": "stage-7",
    "unseen": "grid",
}
"""Colours of the pool's parts, from the bottom up."""
GATE = {
    "sampled, with variance": "hue-0",
    "waited since the step before": "hue-4",
    "sampled, without variance": "untrained",
}


@dataclass(frozen=True)
class Drawn:
    """A phase's draws until its last step, in prompts."""

    phase: str
    pool: int
    own: int
    replayed: int
    sources: Mapping[str, int]
    """Replayed ones included."""
    lengths: Mapping[int, int]
    """Of its own prompts, by the longest of each quarter in tokens."""


def drawn(run: Run) -> list[Drawn]:
    """A line a phase; none of a run of before there were such metrics."""
    told = [step for step in run.rl_steps if "pool" in step]
    last = [list(steps)[-1] for _, steps in groupby(told, lambda step: step["stage"])]
    return [_drawn(step) for step in last]


def _drawn(step: Step) -> Drawn:
    sources = _parts(step, "draws_source/")
    lengths = {int(upper): n for upper, n in _parts(step, "draws_length/").items()}
    replayed = int(step["draws_replayed"])
    own = sum(lengths.values())
    return Drawn(str(step["stage"]), int(step["pool"]), own, replayed, sources, lengths)


def _parts(step: Step, prefix: str) -> dict[str, int]:
    return {key[len(prefix) :]: int(n) for key, n in step.items() if key.startswith(prefix)}


def pool_chart(run: Run) -> Figure | None:
    """The phase's prompts by the pass rate of their last group, a bar a step."""
    rates = [_parts(step, "pool_pass_rate/") for step in run.rl_steps]
    if not any(rates) or not all(of.keys() <= PASS_RATES.keys() for of in rates):
        return None  # of a run of before they had these names
    parts = [[of.get(name, 0) for of in rates] for name in PASS_RATES]
    return _bars(run, "Prompts by the pass rate of their last group", parts, PASS_RATES)


def gate_chart(run: Run) -> Figure | None:
    """What dynamic sampling had of groups at each step; none where there was none."""
    steps = run.rl_steps
    if not any("gate_sampled" in step for step in steps):
        return None

    flat, waited, sampled = (
        [int(step.get(f"gate_{key}") or 0) for step in steps]
        for key in ("flat", "carried_in", "sampled")
    )
    varied = [all_of - without for all_of, without in zip(sampled, flat, strict=True)]
    return _bars(run, "Groups at hand in a step", [varied, waited, flat], GATE)


def _bars(
    run: Run, title: str, parts: Sequence[Sequence[int]], colours: Mapping[str, str]
) -> Figure:
    figure = Figure(figsize=(500 / 72, 250 / 72), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, pad=22)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("RL step")
    bottom = [0] * len(run.rl_steps)
    x = range(1, len(bottom) + 1)
    for counts, colour in zip(parts, colours.values(), strict=True):
        axes.bar(x, counts, width=0.86, bottom=bottom, color=light(colour))
        bottom = [below + n for below, n in zip(bottom, counts, strict=True)]
    mark_stages(axes, [[str(step.get("stage")) for step in run.rl_steps]])
    return figure
