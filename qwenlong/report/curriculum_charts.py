"""What a run's curriculum did: its pool by pass rate, its gate, and the prompts it drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qwenlong.report.drawing import light, mark_stages, step_figure
from qwenlong.report.runs import LoggedRun

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
class Draws:
    """The prompts that a phase drew until its last step."""

    phase: str
    pool: int
    own: int
    replayed: int
    sources: Mapping[str, int]
    """Drawn prompts by source, replayed ones included."""
    lengths: Mapping[int, int]
    """The phase's own drawn prompts, by the longest of each quarter of its lengths, in tokens."""


def draws_by_phase(run: LoggedRun) -> list[Draws]:
    """One entry a phase; none for runs that were made before these metrics existed."""
    logged = [step for step in run.rl_steps if "pool" in step]
    found = []
    for phase, steps in groupby(logged, lambda step: str(step["stage"])):
        last = list(steps)[-1]  # draws are counted from the phase's first step on
        lengths = {int(upper): n for upper, n in _parts(last, "draws_length/").items()}
        replayed, sources = int(last["draws_replayed"]), _parts(last, "draws_source/")
        own = sum(lengths.values())
        found.append(Draws(phase, int(last["pool"]), own, replayed, sources, lengths))
    return found


def _parts(step: Mapping[str, Any], prefix: str) -> dict[str, int]:
    return {key[len(prefix) :]: int(n) for key, n in step.items() if key.startswith(prefix)}


def pool_chart(run: LoggedRun) -> Figure | None:
    """The phase's prompts by the pass rate of their last group, a bar for each step."""
    rates = [_parts(step, "pool_pass_rate/") for step in run.rl_steps]
    # Old runs have no pass rates, or name them otherwise.
    if not any(rates) or not all(of.keys() <= PASS_RATES.keys() for of in rates):
        return None
    parts = [[of.get(name, 0) for of in rates] for name in PASS_RATES]
    return _bars(run, "Prompts by the pass rate of their last group", parts, PASS_RATES)


def gate_chart(run: LoggedRun) -> Figure | None:
    """The groups that dynamic sampling had at each step; None without dynamic sampling."""
    steps = run.rl_steps
    if not any("gate_sampled" in step for step in steps):
        return None
    flat, waited, sampled = (
        [int(step.get(f"gate_{key}") or 0) for step in steps]
        for key in ("flat", "carried_in", "sampled")
    )
    varied = [every - without for every, without in zip(sampled, flat, strict=True)]
    return _bars(run, "Groups available in a step", [varied, waited, flat], GATE)


def _bars(
    run: LoggedRun, title: str, parts: Sequence[Sequence[int]], colours: Mapping[str, str]
) -> Figure:
    figure, axes = step_figure(title)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    bottom = [0] * len(run.rl_steps)
    x = range(1, len(bottom) + 1)
    for counts, colour in zip(parts, colours.values(), strict=True):
        axes.bar(x, counts, width=0.86, bottom=bottom, color=light(colour))
        bottom = [below + n for below, n in zip(bottom, counts, strict=True)]
    mark_stages(axes, [run.rl_stages])
    return figure
