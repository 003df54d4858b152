"""Prints a plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qwenlong.config import Config
from qwenlong.plan.engine import MAX_SEQUENCES, WORKSPACE
from qwenlong.plan.hardware import CARDS, CPU, find_card
from qwenlong.plan.learner import FRAGMENTS, RESERVED_GIB
from qwenlong.plan.memory import PARTS
from qwenlong.plan.plan import PROCESS_GIB, Plan, StageNeed, machine_gib, plan
from qwenlong.plan.time import DECODE, PREFILL, TRAINING

MARGIN = 0.15
"""How far the counted memory may be from what is measured."""
ASSUMED_UPDATES = 100
"""Updates of SFT whose hours are shown if the number of its examples is not known."""


def show_plan(config: Config, hardware: str | None, console: Console) -> bool:
    """Prints what a run needs; if no hardware is named, also which cards hold it.

    Returns:
        Whether the run fits the hardware, or any card.

    Raises:
        InputError: the hardware or the policy's shape is not known.
    """
    if hardware:
        chosen = plan(config, find_card(hardware))
        _print(config, chosen, console)
        return not chosen.problems
    on_cpu = not (config.learner.gpus or config.rollout.gpus)
    cards = sorted(CARDS.values(), key=lambda card: (card.memory_gib, card.tflops))
    plans = [plan(config, card) for card in ([find_card(CPU)] if on_cpu else []) + cards]
    fitting = [each for each in plans if not each.problems]
    shown = plans[0] if on_cpu else (fitting or plans[-1:])[0]
    _print(config, shown, console)
    console.print(_cards_table(config, plans))
    return not shown.problems


def _print(config: Config, chosen: Plan, console: Console) -> None:
    console.print(_stages_table(config, chosen))
    console.print(f"Policy: {chosen.shape.parameters:,} parameters. {_machines(config, chosen)}")
    for line in _assumptions(chosen):
        console.print(f"- {line}", highlight=False)
    for problem in chosen.problems:
        console.print(f"Does not fit: {problem}", style="bold red", highlight=False)
    if chosen.problems:
        return
    name, need = _largest_need(config, chosen)
    if _is_narrow(config, chosen):
        text = (
            f"Fits {chosen.card.name}, but narrowly: {need:.1f} of {chosen.learner_limit:.1f} GiB"
            f" in {name}, and this count may be off by {MARGIN:.0%}."
        )
        console.print(Text(text, style="bold yellow"))
    else:
        console.print(Text(f"Fits {chosen.card.name}.", style="bold green"))


def _largest_need(config: Config, chosen: Plan) -> tuple[str, float]:
    """The stage that needs most memory, and its GiB of a card, or of the whole machine."""
    on_cpu = chosen.card.is_cpu
    needs = {s.name: machine_gib(config, s) if on_cpu else s.learner_gib for s in chosen.stages}
    return max(needs.items(), key=lambda item: item[1])


def _is_narrow(config: Config, chosen: Plan) -> bool:
    return _largest_need(config, chosen)[1] > chosen.learner_limit * (1 - MARGIN)


def _machines(config: Config, chosen: Plan) -> str:
    if chosen.card.is_cpu:
        return f"One machine with {chosen.card.memory_gib:.1f} GiB."
    learner, rollout = config.learner, config.rollout
    judge = ", and a judge" if config.rewards.judge.is_engine else ""
    return (
        f"{_count(chosen.cards, 'card')}: {_count(learner.processes, 'process', 'es')} of the"
        f" learner, {_count(rollout.actors, 'rollout actor')} with"
        f" {_count(rollout.tensor_parallel_size, 'card')} each{judge}."
    )


def _count(n: float, noun: str, plural: str = "s") -> str:
    return f"{n:g} {noun}{'' if n == 1 else plural}"


def _stages_table(config: Config, chosen: Plan) -> Table:
    """A column for each stage, a row for each number."""
    on_cpu, stages = chosen.card.is_cpu, chosen.stages
    unit, hours = ("process", "hours") if on_cpu else ("card", "GPU-hours")
    table = Table(title=f"{chosen.card.name}: memory in GiB of each {unit}")
    table.add_column("")
    for stage in stages:
        table.add_column(stage.name, justify="right")

    def row(name: str, values: Iterable[str], end: bool = False) -> None:
        table.add_row(name, *values, end_section=end)

    row("kind", ("GRPO" if stage.is_rl else "SFT" for stage in stages))
    row("most tokens of a step", (f"{stage.tokens:,}" for stage in stages))
    row("tokens of a micro-batch", (f"{stage.row:,}" for stage in stages), end=True)
    for part in PARTS:
        row(f"learner: {part}", (f"{stage.learner[part]:.2f}" for stage in stages))
    row("learner: peak", (f"{stage.learner_gib:.2f}" for stage in stages))
    row("the peak is in", (stage.moment for stage in stages), end=True)
    for part in stages[0].rollout:
        row(f"rollout: {part}", (f"{stage.rollout[part]:.2f}" for stage in stages))
    together = (f"{stage.at_once:,}" if stage.is_rl else "" for stage in stages)
    row("rollouts at once, an actor", together, end=True)
    if on_cpu:
        row("all processes", (f"{machine_gib(config, s):.2f}" for s in stages), end=True)
    row("steps", ("not known" if s.steps is None else f"{s.steps:,}" for s in stages))
    row("seconds of a step, at most", (_number(stage.seconds) for stage in stages))
    row(hours, (_hours(chosen, stage) for stage in stages))
    return table


def _hours(chosen: Plan, stage: StageNeed) -> str:
    if stage.steps is not None:
        return _number(chosen.hours(stage.seconds * stage.steps))
    return f"{_number(chosen.hours(stage.seconds * ASSUMED_UPDATES))} for {ASSUMED_UPDATES} steps"


def _number(value: float) -> str:
    """Formats with at least three digits and without an exponent for a large number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _assumptions(chosen: Plan) -> Iterator[str]:
    known = [stage.seconds * stage.steps for stage in chosen.stages if stage.steps is not None]
    total = _number(chosen.hours(sum(known) + chosen.evaluation_seconds))
    unit = "hours" if chosen.card.is_cpu else "GPU-hours"
    evaluation = _number(chosen.hours(chosen.evaluation_seconds))
    yield f"evaluation takes {evaluation} {unit}; all that is known, {total} {unit}"
    yield (
        "every prompt is counted as long as its context and every response as long as its limit,"
        " so tokens and times are upper bounds; refilling of groups is not counted"
    )
    yield (
        f"assumed speed: {TRAINING:.0%} of the card's arithmetic in training, {PREFILL:.0%} in"
        f" prefill, {DECODE:.0%} of its bandwidth in decoding; scoring, a judge's calls, loading of"
        " weights and traffic between cards are not counted"
    )
    if chosen.card.is_cpu:
        each = ", ".join(f"{name} {gib:g}" for name, gib in PROCESS_GIB.items())
        yield f"GiB of a process before it has a policy: {each}"
        return
    yield (
        f"a process of the learner may use {chosen.learner_limit:.1f} GiB: CUDA and NCCL take"
        f" {RESERVED_GIB:g}, fragments {FRAGMENTS:.0%}; an engine's workspace is"
        f" {WORKSPACE / 2**30:g} GiB, and it computes at most {MAX_SEQUENCES} rollouts at once"
    )


def _cards_table(config: Config, plans: Sequence[Plan]) -> Table:
    table = Table(title="Hardware that holds the run")
    for name in ("hardware", "GiB", "learner needs", "holds it"):
        table.add_column(name, justify="right" if name in ("GiB", "learner needs") else "left")
    for each in plans:
        need = max(stage.learner_gib for stage in each.stages)
        fits = "yes, but narrowly" if _is_narrow(config, each) else "yes"
        fits = f"no: {each.problems[0]}" if each.problems else fits
        table.add_row(each.card.name, f"{each.card.memory_gib:.0f}", f"{need:.1f}", fits)
    return table
