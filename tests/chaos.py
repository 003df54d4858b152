"""Runs that are struck at random moments, each to its end, beside one that was left alone.

``make chaos`` runs all of them, two at a time, and prints a line a run; ``python -m tests.chaos 3
17`` those alone. A case is given by its number, so that it can be struck again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from tests.command import Command
from tests.small import assert_same, write_experiment

KILLED, FAULTY = 20, 10
"""Runs of which any process is killed; runs of which a rollout actor is killed or stopped."""
WHILE_SAVING = (6, 13)
"""Of the first, those that are struck while a checkpoint is written."""
TWO_AT_A_TIME = 2
RESUMES = 3
"""Times that a run may have to be gone on with by hand."""

VICTIMS = {
    "driver": "",
    "learner": r"^ray::LearnerActor",
    "rollout": r"^ray::RolloutActor",
    "Ray's raylet": r"^\S+/raylet ",
    "Ray's GCS": r"^\S+/gcs_server ",
}
"""By the titles of their processes."""
SETTINGS = (
    "rollout.kv_cache_gb=0.2", "evaluation.examples=2", "checkpoint.every=1",
    "stages.sft.checkpoint_every=10", "failures.timeout_s=30", "failures.restarts=9",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Who is struck, and when: at a share of the time that a run takes."""

    number: int
    victim: str
    number_of_signal: signal.Signals
    moment: float
    while_saving: bool = False


@dataclass(frozen=True)
class Outcome:
    case: Case
    struck: str
    """Seconds, and the last step logged by then."""
    went_on: str


def cases() -> Iterator[Case]:
    rng = Random("chaos")
    for number in range(1, KILLED + 1):
        saving = number in WHILE_SAVING
        victim = "learner" if number == WHILE_SAVING[0] else rng.choice(list(VICTIMS))
        victim = "driver" if number == WHILE_SAVING[1] else victim
        yield Case(number, victim, signal.SIGKILL, rng.uniform(0.05, 0.9), saving)
    for number in range(KILLED + 1, KILLED + FAULTY + 1):
        how = rng.choice([signal.SIGKILL, signal.SIGSTOP])
        yield Case(number, "rollout", how, rng.uniform(0.2, 0.9))


def strike(command: Command, case: Case) -> bool:
    """Whether there was one to strike."""
    if case.victim == "driver":
        os.kill(command.process.pid, case.number_of_signal)
        return True
    return command.strike(VICTIMS[case.victim], case.number_of_signal)


def due(case: Case, run: Path, begun: float, takes: float) -> bool:
    elapsed = time.monotonic() - begun
    if not case.while_saving:
        return elapsed >= case.moment * takes
    # The second half's first checkpoint, or whichever comes: some are there for milliseconds.
    return elapsed >= case.moment * takes / 2 and any((run / "checkpoints").glob("[0-9]*.partial"))


def play(case: Case, folder: Path, experiment: Path, undisturbed: Path, takes: float) -> Outcome:
    """One case to its end.

    Raises:
        AssertionError: the run did not end, or not as the undisturbed one.
    """
    run = folder / f"run-{case.number}"
    commands: list[Command] = []

    def start(*arguments: str) -> Command:
        commands.append(Command(folder, *arguments))
        return commands[-1]

    try:
        begun = time.monotonic()
        command = start("train", str(experiment), f"run_dir={run}", *SETTINGS)
        # A process that is struck before it is there is struck as soon as it is.
        while not due(case, run, begun, takes) or not strike(command, case):
            if command.process.poll() is not None:  # it was faster, and is struck earlier
                assert command.process.returncode == 0, command.output.read_text()
                shutil.rmtree(run)
                earlier = replace(case, moment=case.moment / 2)
                return play(earlier, folder, experiment, undisturbed, takes)
            time.sleep(0.002 if case.while_saving else 0.05)
        struck = f"{time.monotonic() - begun:.0f} s, {reached(run)}"
        went_on = finish(command, run, experiment, start)
        assert_same(run, undisturbed)
    finally:
        for command in commands:
            command.clean_up()
    return Outcome(case, struck, went_on)


def finish(command: Command, run: Path, experiment: Path, start: Callable[..., Command]) -> str:
    """Goes on with a run by hand until it ends; how."""
    resumed = 0
    while command.process.wait(900) != 0:
        said = command.output.read_text()
        assert "Traceback" not in said and resumed < RESUMES, said
        resumed += 1
        there = (run / "config.yaml").is_file()
        arguments = ["resume", str(run)] if there else ["train", str(experiment), f"run_dir={run}"]
        command = start(*arguments, *([] if there else SETTINGS))
    return f"resumed {resumed}×" if resumed else "by itself"


def reached(run: Path) -> str:
    metrics = run / "metrics.jsonl"
    told = metrics.read_text().split("\n")[:-1] if metrics.is_file() else []  # the last may be torn
    saving = next((run / "checkpoints").glob("[0-9]*.partial"), None)
    last = json.loads(told[-1]) if told else None
    where = f"after step {last['step']} of {last['stage']}" if last else "no step yet"
    return f"{where}, saving" if saving else where


def undisturbed(folder: Path, experiment: Path) -> tuple[Path, float]:
    """Two runs that nothing disturbs, which must be the same; one, and the seconds that it took."""
    begun = time.monotonic()
    runs = [folder / name for name in ("undisturbed", "again")]
    commands = [
        Command(folder, "train", str(experiment), f"run_dir={run}", *SETTINGS) for run in runs
    ]
    for command in commands:
        assert command.process.wait(900) == 0, command.output.read_text()
    assert_same(runs[1], runs[0])
    return runs[0], time.monotonic() - begun


def main(chosen: list[int]) -> int:
    signals = {signal.SIGKILL: "kill -9", signal.SIGSTOP: "SIGSTOP"}
    print(f"{'':>3} {'struck':13} {'by':8} {'after':44} {'went on':12} beside the undisturbed run")
    wanted = [case for case in cases() if not chosen or case.number in chosen]
    same = 0
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(TWO_AT_A_TIME) as pool:
        folder = Path(scratch)
        experiment = write_experiment(folder)
        whole, takes = undisturbed(folder, experiment)
        print(f"two undisturbed runs are identical; {takes:.0f} s each, two at a time", flush=True)

        def played(case: Case) -> Outcome | Exception:
            try:
                return play(case, folder, experiment, whole, takes)
            except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
                return error

        for case, outcome in zip(wanted, pool.map(played, wanted), strict=True):
            told = f"{case.number:>3} {case.victim:13} {signals[case.number_of_signal]:8} "
            if isinstance(outcome, Outcome):
                same += 1
                told += f"{outcome.struck:44} {outcome.went_on:12} identical"
            else:
                told += f"DIFFERS OR DID NOT END: {outcome}"
            print(told, flush=True)
    print(f"{same} of {len(wanted)} identical to the undisturbed run")
    return 0 if same == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main([int(argument) for argument in sys.argv[1:]]))
