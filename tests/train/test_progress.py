"""Progress, in a terminal and out of it."""

from io import StringIO

import pytest
from rich.console import Console

from qwenlong.train.progress import Progress, StagePlan, clock_time


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def plain(interval_s: float = 5.0, **plan: StagePlan) -> tuple[Progress, Console, Clock]:
    clock, console = Clock(), Console(file=StringIO(), width=60)
    return Progress(plan, console=console, interval_s=interval_s, clock=clock), console, clock


def test_plain_lines_are_few() -> None:
    progress, console, clock = plain(phase1=StagePlan(20, 100))
    with progress:
        for step in range(1, 21):
            clock.now += 1
            progress.update(stage="phase1", step=step, reward=0.41)
    lines = written(console).splitlines()
    assert [line.split()[2] for line in lines] == ["1/20", "6/20", "11/20", "16/20", "20/20"]


def test_a_plain_line_tells_everything() -> None:
    progress, console, clock = plain(0, sft=StagePlan(17, 50), phase2=StagePlan(40, 100))
    with progress:
        clock.now += 2
        progress.update(stage="phase2", step=2, reward=None, tokens_per_s=None)
        clock.now += 3
        progress.update(stage="phase2", step=3, reward=0.414, tokens_per_s=5312.4)
    first, second = written(console).splitlines()
    assert first == "phase2  step 2/40  elapsed 0:02  left …"
    assert second == ("phase2  step 3/40  reward 0.41  5,312 tokens/s  elapsed 0:05  left 1:51")


def test_said_lines_always_appear_and_in_order() -> None:
    progress, console, clock = plain(60, sft=StagePlan(2, 10))
    with progress:
        progress.say("sft begins [bold]as it is[/bold]")
        for step in (1, 2):
            clock.now += 1
            progress.update(stage="sft", step=step)
        progress.doing("sft: evaluating")
        progress.say("accuracy at 2,048: 0.31")
    lines = written(console).splitlines()
    assert lines[0] == "sft begins [bold]as it is[/bold]"
    assert lines[1].startswith("sft  step 1/2")
    assert lines[2].startswith("sft  step 2/2")
    assert lines[3:] == ["sft: evaluating", "accuracy at 2,048: 0.31"]


def test_time_left_follows_each_stage() -> None:
    """A later stage is guessed from its tokens: 10 steps of 25 s, where 100 tokens take 10 s."""
    progress, console, clock = plain(0, phase1=StagePlan(3, 100), phase2=StagePlan(10, 250))
    with progress:
        for step in (1, 2, 3):
            clock.now += 10
            progress.update(stage="phase1", step=step)
        clock.now += 500  # evaluation, which is no stage's pace
        for step in (1, 2):
            clock.now += 30
            progress.update(stage="phase2", step=step)
    left = [line.split()[-1] for line in written(console).splitlines()]
    assert left == ["…", "~4:20", "~4:10", "…", "4:00"]


def test_in_a_terminal_there_is_one_live_line() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=120, _environ={"TERM": "xterm"})
    clock = Clock()
    with Progress({"phase1": StagePlan(10, 9)}, console=console, clock=clock) as progress:
        progress.say("phase1 begins")
        progress.update(stage="phase1", step=1, reward=0.25, tokens_per_s=900.0)
        clock.now += 4
        progress.update(stage="phase1", step=2, reward=0.5, tokens_per_s=1000.0)
    text = written(console)
    last = text.splitlines()[-1]
    assert "phase1 begins" in text
    for part in ("phase1  step 2/10  reward 0.50  1,000 tokens/s", "2/10", "0:00:04", "left 0:32"):
        assert part in text
    assert "step 1/10" not in last


def test_errors_pass_through() -> None:
    progress, console, _ = plain(sft=StagePlan(1, 1))
    with pytest.raises(KeyboardInterrupt), progress:
        raise KeyboardInterrupt
    assert written(console) == ""


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3723, "1:02:03")]
)
def test_clock_time(seconds: float, shown: str) -> None:
    assert clock_time(seconds) == shown
