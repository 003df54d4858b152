"""Shows how far a run has come: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

UNKNOWN = "…"


@dataclass(frozen=True)
class StagePlan:
    """How many steps a stage has, and about how many tokens each of them takes."""

    steps: int
    tokens: float


@dataclass
class Pace:
    """Seconds a step, by stage.

    Measured between updates of the same stage, so that evaluations and restarts do not count.
    """

    plan: Mapping[str, StagePlan]
    first: dict[str, tuple[float, int]] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)

    def observe(self, stage: str, step: int, now: float) -> None:
        began, first_step = self.first.setdefault(stage, (now, step))
        if step > first_step:
            self.known[stage] = (now - began) / (step - first_step)

    def left(self, stage: str, step: int) -> str:
        """Time for the remaining steps of this stage and of later ones.

        Later stages are assumed to need as long for a token as the slowest stage so far. This is a
        guess and shown as ``~3:10``.
        """
        pace = self.known.get(stage)
        if pace is None:
            return UNKNOWN
        seconds = (self.plan[stage].steps - step) * pace
        order = list(self.plan)
        later = [self.plan[name] for name in order[order.index(stage) + 1 :]]
        a_token = max(pace / self.plan[name].tokens for name, pace in self.known.items())
        seconds += sum(each.steps * each.tokens for each in later) * a_token
        return ("~" if later else "") + clock_time(seconds)


class Progress:
    """``with Progress(plan) as progress``: update() after each step, say() for everything else.

    Args:
        plan: by stage, in their order.
        interval_s: the least time between two plain lines of update(); say() always prints.
    """

    def __init__(
        self,
        plan: Mapping[str, StagePlan],
        console: Console | None = None,
        interval_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = plan
        self.console = console or Console()
        self.interval_s = interval_s
        self.clock = clock
        self.pace = Pace(plan)
        self.began = clock()
        self.printed = float("-inf")
        self.unprinted = ""
        self.live: RichProgress | None = None
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.live = _live(self.console, clock)

    def __enter__(self) -> Self:
        self.began = self.clock()
        if self.live:
            total = sum(each.steps for each in self.plan.values())
            self.task = self.live.add_task("", total=total, line="starting", left="")
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.live.stop()
        elif self.unprinted:
            self._print(self.unprinted)

    def update(
        self,
        *,
        stage: str,
        step: int,
        reward: float | None = None,
        tokens_per_s: float | None = None,
    ) -> None:
        """Shows a finished step, the ``step``-th of its stage."""
        now = self.clock()
        self.pace.observe(stage, step, now)
        left = self.pace.left(stage, step)
        line = f"{stage}  step {step}/{self.plan[stage].steps}"
        line += "" if reward is None else f"  reward {reward:.2f}"
        line += "" if tokens_per_s is None else f"  {tokens_per_s:,.0f} tokens/s"
        if self.live:
            order = list(self.plan)
            before = sum(self.plan[name].steps for name in order[: order.index(stage)])
            self.live.update(self.task, completed=before + step, line=line, left=f"left {left}")
            return
        self.unprinted = f"{line}  elapsed {clock_time(now - self.began)}  left {left}"
        if now - self.printed >= self.interval_s:
            self._print(self.unprinted)
            self.printed, self.unprinted = now, ""

    def forget_pace(self) -> None:
        """Called when steps that were shown are made again: their times do not fit together."""
        self.pace = Pace(self.plan)

    def doing(self, text: str) -> None:
        """Shows what goes on between steps: in place of the live line, or as a line of its own."""
        if self.live:
            self.live.update(self.task, line=text, left="")
        else:
            self.say(text)

    def say(self, text: str) -> None:
        """Prints a line of its own, above the live line if there is one."""
        if not self.live and self.unprinted:
            # Otherwise the last step of a stage would appear after the first line of the next.
            self._print(self.unprinted)
            self.unprinted = ""
        self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


def _live(console: Console, clock: Callable[[], float]) -> RichProgress:
    return RichProgress(
        TextColumn("{task.fields[line]}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}", style="dim"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=console,
        refresh_per_second=2,
        get_time=clock,
    )


def clock_time(seconds: float) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def line_printer(console: Console) -> Callable[[str], None]:
    """A function that prints a line as it is."""
    return lambda text: console.print(text, highlight=False, soft_wrap=True)
