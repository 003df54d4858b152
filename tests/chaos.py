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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

from qwenlong.disk.files import PARTIAL
from qwenlong.disk.manifest import MANIFEST
from tests.command import Command
from tests.small import assert_same, write_experiment

KILLED, FAULTY = 20, 10
"""Runs of which any process is killed; runs of which a rollout actor is killed or stopped."""
TWO_AT_A_TIME = 2
RESUMES = 3
"""Times that a run may have to be gone on with by hand."""
TRIES = 4
"""A stroke that comes too late to be felt is dealt again, half as far into the run."""
AT_START = 0.2
"""Share of the strokes that come before the first step, which takes so small a run most time."""

ACTORS = {"learner": r"^ray::LearnerActor", "rollout": r"^ray::VllmEngine"}
"""By the titles of their processes; a run goes on by itself without one."""
OTHERS = {"driver": "", "Ray's raylet": r"^\S+/raylet ", "Ray's GCS": r"^\S+/gcs_server "}
"""Without one of these it is gone on with by hand."""
SETTINGS = (
    "rollout.kv_cache_gb=0.2", "evaluation.examples=2", "failures.timeout_s=30",
    "failures.restarts=9", "stages.sft.epochs=1", "stages.sft.checkpoint_every=10",
    "stages.phase1.steps=12", "stages.phase2.steps=12",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Who is struck, and when: once a share of the run's steps is logged, and then some."""

    number: int
    victim: str
    number_of_signal: signal.Signals
    share: float
    pause_s: float
    while_saving: bool = False
    """At the first checkpoint after that, as it is begun."""


@dataclass(frozen=True)
class Struck:
    when: str
    """The last step logged by then; empty if the run had ended before."""
    checkpoints: int
    """That were whole by then."""


@dataclass(frozen=True)
class Outcome:
    case: Case
    when: str
    went_on: str


def cases() -> Iterator[Case]:
    rng = Random("chaos")
    victims = [*ACTORS, *OTHERS] * (KILLED // 5)
    rng.shuffle(victims)
    saving = {victims.index("learner"), victims.index("driver")}
    for place, victim in enumerate(victims):
        yield Case(place + 1, victim, signal.SIGKILL, *_moment(rng), place in saving)
    for number in range(KILLED + 1, KILLED + FAULTY + 1):
        how = rng.choice([signal.SIGKILL, signal.SIGSTOP])
        yield Case(number, "rollout", how, *_moment(rng))


def _moment(rng: Random) -> tuple[float, float]:
    if rng.random() < AT_START:
        return 0.0, rng.uniform(0, 25)
    return rng.uniform(0.02, 1), rng.uniform(0, 0.5)


def play(case: Case, folder: Path, experiment: Path, undisturbed: Path) -> Outcome:
    """One case to its end.

    Raises:
        AssertionError: the run did not end, or not as the undisturbed one.
    """
    run = folder / f"run-{case.number}"
    for halved in range(TRIES):
        commands: list[Command] = []

        def start(*arguments: str, commands: list[Command] = commands) -> Command:
            commands.append(Command(folder, *arguments))
            return commands[-1]

        try:
            train = ("train", str(experiment), f"run_dir={run}", *SETTINGS)
            steps = round(len(logged(undisturbed)) * case.share / 2**halved)
            struck = strike(start(*train), case, run, steps)
            went_on = struck.when and finish(case, commands[0], run, train, start)
            if went_on:
                anew = any("from the beginning" in each.output.read_text() for each in commands)
                assert not (anew and struck.checkpoints), "it began anew, checkpoints or not"
                assert_same(run, undisturbed)
                return Outcome(case, struck.when, went_on)
        finally:
            for command in commands:
                command.clean_up()
        shutil.rmtree(run)
    raise AssertionError("it ended before the stroke was felt, however early that was")


def strike(command: Command, case: Case, run: Path, steps: int) -> Struck:
    """A process that is not there yet is struck as soon as it is."""
    while command.process.poll() is None and len(logged(run)) < steps:
        time.sleep(0.02)
    time.sleep(case.pause_s)
    while command.process.poll() is None:
        if not case.while_saving or saving(run):
            struck = Struck(reached(run), checkpoints(run))
            if case.victim == "driver":
                os.kill(command.process.pid, case.number_of_signal)
                return struck
            if command.strike({**ACTORS, **OTHERS}[case.victim], case.number_of_signal):
                return struck
        time.sleep(0.002 if case.while_saving else 0.05)
    assert command.process.returncode == 0, command.output.read_text()
    return Struck("", 0)


def finish(
    case: Case, command: Command, run: Path, train: Sequence[str], start: Callable[..., Command]
) -> str:
    """How a run that was struck came to its end; empty if it did not feel it."""
    code, said = command.process.wait(900), command.output.read_text()
    if case.victim in ACTORS:
        assert code == 0, said
        return "by itself" if f"{case.victim}-0 on " in said and "restarted" in said else ""
    if code == 0:
        return ""
    for resumed in range(1, RESUMES + 1):
        assert "Traceback" not in said, said
        again = ("resume", str(run)) if (run / "config.yaml").is_file() else train
        command = start(*again)
        code, said = command.process.wait(900), command.output.read_text()
        if code == 0:
            return f"{again[0]} again" if again is train else f"resumed {resumed}×"
    raise AssertionError(said)


def saving(run: Path) -> bool:
    """A checkpoint is being written: the run's, or an SFT trainer's own."""
    own = (run / "checkpoints").glob("trainer-*/checkpoint-*")
    return any((run / "checkpoints").glob("[0-9]*.partial")) or any(
        not (each / MANIFEST).is_file() for each in own
    )


def checkpoints(run: Path) -> int:
    """From which it could go on."""
    sealed = (run / "checkpoints").rglob(MANIFEST)
    return sum(not file.parent.name.endswith(PARTIAL) for file in sealed)


def logged(run: Path) -> list[str]:
    metrics = run / "metrics.jsonl"
    return metrics.read_text().split("\n")[:-1] if metrics.is_file() else []  # the last may be torn


def reached(run: Path) -> str:
    told = logged(run)
    last = json.loads(told[-1]) if told else None
    where = f"after step {last['step']} of {last['stage']}" if last else "before the first step"
    return f"{where}, saving" if saving(run) else where


def undisturbed(folder: Path, experiment: Path) -> Path:
    """One of two runs that nothing disturbs, which must be the same."""
    runs = [folder / name for name in ("undisturbed", "again")]
    commands = [
        Command(folder, "train", str(experiment), f"run_dir={run}", *SETTINGS) for run in runs
    ]
    for command in commands:
        assert command.process.wait(900) == 0, command.output.read_text()
    assert_same(runs[1], runs[0])
    return runs[0]


def main(chosen: list[int]) -> int:
    signals = {signal.SIGKILL: "kill -9", signal.SIGSTOP: "SIGSTOP"}
    print(f"{'':>3} {'struck':13} {'by':8} {'when':30} {'went on':12} beside the undisturbed run")
    wanted = [case for case in cases() if not chosen or case.number in chosen]
    assert wanted, f"cases are numbered from 1 to {KILLED + FAULTY}"
    same = 0
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(TWO_AT_A_TIME) as pool:
        folder = Path(scratch)
        experiment = write_experiment(folder)
        whole = undisturbed(folder, experiment)
        steps = len(logged(whole))
        print(f"two undisturbed runs, of {steps} logged steps each, are identical", flush=True)

        def played(case: Case) -> Outcome | Exception:
            try:
                return play(case, folder, experiment, whole)
            except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
                return error

        for case, outcome in zip(wanted, pool.map(played, wanted), strict=True):
            told = f"{case.number:>3} {case.victim:13} {signals[case.number_of_signal]:8} "
            if isinstance(outcome, Outcome):
                same += 1
                told += f"{outcome.when:30} {outcome.went_on:12} identical"
            else:
                told += f"DIFFERS OR DID NOT END: {outcome}"
            print(told, flush=True)
    print(f"{same} of {len(wanted)} identical to the undisturbed run")
    return 0 if same == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main([int(argument) for argument in sys.argv[1:]]))
