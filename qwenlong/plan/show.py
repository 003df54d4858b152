"""A plan as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qwenlong.config import Config
from qwenlong.plan.engine import MAX_SEQUENCES, WORKSPACE
from qwenlong.plan.hardware import CARDS, CPU, Card, find_card
from qwenlong.plan.learner import FRAGMENTS, RESERVED_GIB
from qwenlong.plan.memory import PARTS
from qwenlong.plan.plan import PROCESS_GIB, Plan, StageNeed, machine_gib, plan
from qwenlong.plan.time import DECODE, PREFILL, TRAINING

MARGIN = 0.15
"""How close the count comes to what was measured."""
A_HUNDRED = 100
"""Updates that are counted where the experiment file does not say how many there are."""


def show_plan(config: Config, hardware: str | None, console: Console) -> bool:
    """Prints what a run needs; without ``hardware`` also which cards hold it.

    Returns:
        Whether it fits: the named hardware, or any.

    Raises:
        InputError: no such hardware; a policy whose shape is not known.
    """
    if hardware:
        chosen = plan(config, find_card(hardware))
        _print(config, chosen, console)
        return not chosen.problems
    on_cpu = not (config.learner.gpus or config.rollout.gpus)
    cards = [*([find_card(CPU)] if on_cpu else []), *_by_memory()]
    plans = [plan(config, card) for card in cards]
    holding = [each for each in plans if not each.problems]
    shown = plans[0] if on_cpu else (holding or plans[-1:])[0]
    _print(config, shown, console)
    console.print(_cards_table(config, plans))
    return not shown.problems


def _by_memory() -> list[Card]:
    return sorted(CARDS.values(), key=lambda card: (card.memory_gib, card.tflops))


def _print(config: Config, chosen: Plan, console: Console) -> None:
    console.print(_stages_table(config, chosen))
    console.print(f"Policy: {chosen.shape.parameters:,} parameters. {_where(config, chosen)}")
    for line in _assumptions(config, chosen):
        console.print(f"- {line}", highlight=False)
    for problem in chosen.problems:
        console.print(f"Does not fit: {problem}", style="bold red", highlight=False)
    if not chosen.problems:
        console.print(_fits(config, chosen))


def _fits(config: Config, chosen: Plan) -> Text:
    """With what is left, where that is less than the count may be off by."""
    name, need = _most(config, chosen)
    limit = chosen.learner_limit
    if not _narrow(config, chosen):
        return Text(f"Fits {chosen.card.name}.", style="bold green")
    told = (
        f"Fits {chosen.card.name}, but narrowly: {need:.1f} of {limit:.1f} GiB in {name}, and this"
        f" count may be off by {MARGIN:.0%}."
    )
    return Text(told, style="bold yellow")


def _most(config: Config, chosen: Plan) -> tuple[str, float]:
    """The stage that needs most, and its GiB of a card, or of the whole machine."""
    on_cpu = chosen.card.is_cpu
    needs = {s.name: machine_gib(config, s) if on_cpu else s.learner_gib for s in chosen.stages}
    return max(needs.items(), key=lambda item: item[1])


def _narrow(config: Config, chosen: Plan) -> bool:
    return _most(config, chosen)[1] > chosen.learner_limit * (1 - MARGIN)


def _where(config: Config, chosen: Plan) -> str:
    if chosen.card.is_cpu:
        return f"One machine of {chosen.card.memory_gib:.1f} GiB."
    learner, rollout = config.learner, config.rollout
    return (
        f"{_counted(chosen.cards, 'card')}: {_counted(learner.processes, 'process', 'es')} of the"
        f" learner, {_counted(rollout.actors, 'rollout actor')} of {rollout.tensor_parallel_size}"
        f"{', a judge' if config.rewards.judge.is_engine else ''}."
    )


def _counted(n: float, noun: str, plural: str = "s") -> str:
    return f"{n:g} {noun}{'' if n == 1 else plural}"


def _stages_table(config: Config, chosen: Plan) -> Table:
    """A column a stage, a row a figure."""
    unit = "process" if chosen.card.is_cpu else "card"
    hours = "hours" if chosen.card.is_cpu else "GPU-hours"
    table = Table(title=f"{chosen.card.name}, GiB a {unit}")
    table.add_column("")
    for stage in chosen.stages:
        table.add_column(stage.name, justify="right")

    def row(name: str, values: Sequence[str], end: bool = False) -> None:
        table.add_row(name, *values, end_section=end)

    stages = chosen.stages
    row("kind", ["GRPO" if stage.is_rl else "SFT" for stage in stages])
    row("tokens a step, at most", [f"{stage.tokens:,}" for stage in stages])
    row("tokens of a micro-batch", [f"{stage.row:,}" for stage in stages], end=True)
    for part in PARTS:
        row(f"learner: {part}", [f"{stage.learner[part]:.2f}" for stage in stages])
    row("learner: at its most", [f"{stage.learner_gib:.2f}" for stage in stages])
    row("… which is in", [stage.moment for stage in stages], end=True)
    for part in stages[0].rollout:
        row(f"rollout: {part}", [f"{stage.rollout[part]:.2f}" for stage in stages])
    together = [f"{stage.at_once:,}" if stage.is_rl else "" for stage in stages]
    row("rollouts of an actor at once", together, end=True)
    if chosen.card.is_cpu:
        row("all processes", [f"{machine_gib(config, s):.2f}" for s in stages], end=True)
    row("steps", ["not known" if s.steps is None else f"{s.steps:,}" for s in stages])
    row("seconds a step, at most", [f"{stage.seconds:,.3g}" for stage in stages])
    row(hours, [_hours(chosen, stage) for stage in stages])
    return table


def _hours(chosen: Plan, stage: StageNeed) -> str:
    steps = A_HUNDRED if stage.steps is None else stage.steps
    hours = f"{chosen.hours(stage.seconds * steps):,.3g}"
    return hours if stage.steps is not None else f"{hours} a {A_HUNDRED} steps"


def _assumptions(config: Config, chosen: Plan) -> list[str]:
    known = [s.seconds * s.steps for s in chosen.stages if s.steps is not None]
    total = chosen.hours(sum(known) + chosen.evaluation_seconds)
    evaluation = chosen.hours(chosen.evaluation_seconds)
    unit = "hours" if chosen.card.is_cpu else "GPU-hours"
    lines = [
        f"{evaluation:,.3g} {unit} of evaluation; {total:,.3g} in all that is known",
        "every prompt is as long as its context, every response as its limit: upper bounds, of a"
        " step without refilling",
        f"speed: {TRAINING:.0%} of the arithmetic in training, {PREFILL:.0%} in prefill,"
        f" {DECODE:.0%} of the bandwidth in decoding; scoring, a judge's calls, loading of weights"
        " and traffic between cards are not counted",
    ]
    if chosen.card.is_cpu:
        each = ", ".join(f"{name} {gib:g}" for name, gib in PROCESS_GIB.items())
        return [*lines, f"GiB of a process before it has a policy: {each}"]
    lines.append(
        f"a learner's process may have {chosen.learner_limit:.1f} GiB: {RESERVED_GIB:g} are CUDA's"
        f" and NCCL's, {FRAGMENTS:.0%} lost to fragments; an engine's workspace is"
        f" {WORKSPACE / 2**30:g} GiB, and it computes {MAX_SEQUENCES} rollouts at once at most"
    )
    return lines


def _cards_table(config: Config, plans: Sequence[Plan]) -> Table:
    table = Table(title="Which hold it")
    for name in ("hardware", "GiB", "learner needs", "holds it"):
        table.add_column(name, justify="right" if name in ("GiB", "learner needs") else "left")
    for each in plans:
        need = max(stage.learner_gib for stage in each.stages)
        holds = "yes, but narrowly" if _narrow(config, each) else "yes"
        holds = f"no: {each.problems[0]}" if each.problems else holds
        table.add_row(each.card.name, f"{each.card.memory_gib:.0f}", f"{need:.1f}", holds)
    return table
