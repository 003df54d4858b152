"""How far a run has come: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

UNKNOWN = "…"


@dataclass
class Pace:
    """Seconds a step, by stage, from updates within the stage alone.

    What happens between stages (evaluation, a restart) therefore counts in none of them.
    """

    first: dict[str, tuple[float, int]] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)

    def observe(self, stage: str, step: int, now: float) -> None:
        began, first_step = self.first.setdefault(stage, (now, step))
        if step > first_step:
            self.known[stage] = (now - began) / (step - first_step)

    def left(self, stage: str, in_stage: int, later: int) -> str:
        """Time for the steps left in this stage and those of later ones.

        Later stages are taken to be as fast as the slowest so far; since contexts grow, that is
        a lower bound and shown as ``3:10+``.
        """
        pace = self.known.get(stage)
        if pace is None:
            return UNKNOWN
        seconds = in_stage * pace + later * max(self.known.values())
        return clock_time(seconds) + ("+" if later else "")


class Progress:
    """``with Progress(total_steps) as progress``: update() after each step, say() for the rest.

    ``interval_s`` is the least time between two plain lines of update(); say() always prints.
    """

    def __init__(
        self,
        total_steps: int,
        console: Console | None = None,
        interval_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_steps = total_steps
        self.console = console or Console()
        self.interval_s = interval_s
        self.clock = clock
        self.pace = Pace()
        self.began = clock()
        self.printed = float("-inf")
        self.unprinted = ""
        self.live: RichProgress | None = None
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.live = _live(self.console, clock)

    def __enter__(self) -> Self:
        self.began = self.clock()
        if self.live:
            self.task = self.live.add_task("", total=self.total_steps, line="starting", left="")
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
        of: int,
        reward: float | None = None,
        tokens_per_s: float | None = None,
        done: int,
    ) -> None:
        """Shows a finished step: the ``step``-th of ``of`` in its stage, ``done``-th of all."""
        now = self.clock()
        self.pace.observe(stage, step, now)
        in_stage = max(of - step, 0)
        left = self.pace.left(stage, in_stage, max(self.total_steps - done - in_stage, 0))
        line = f"{stage}  step {step}/{of}"
        line += "" if reward is None else f"  reward {reward:.2f}"
        line += "" if tokens_per_s is None else f"  {tokens_per_s:,.0f} tokens/s"
        if self.live:
            self.live.update(self.task, completed=done, line=line, left=f"left {left}")
            return
        self.unprinted = f"{line}  elapsed {clock_time(now - self.began)}  left {left}"
        if now - self.printed >= self.interval_s:
            self._print(self.unprinted)
            self.printed, self.unprinted = now, ""

    def say(self, text: str) -> None:
        """Prints a line of its own, above the live line if there is one."""
        if not self.live and self.unprinted:
            # Otherwise a stage's last step would appear after the news of the next one.
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
