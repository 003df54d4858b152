"""Kills or stops a process of a run at a random moment, and compares how the run ends.

Each run must end with the same metrics, rollouts and weights as an undisturbed one. ``make chaos``
runs all 30 cases, two at a time, and prints a line for each; ``python -m tests.chaos 3 17`` runs
cases 3 and 17 alone. A case's number fixes what is killed and when, so it can be repeated.
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
"""Number of runs where any process is killed, and where a rollout actor is killed or stopped."""
TWO_AT_A_TIME = 2
RESUMES = 3
"""How often a run may need ``qwenlong resume``."""
TRIES = 4
"""A signal that comes too late to have an effect is sent again, half as far into a new run."""
AT_START = 0.2
"""Share of the signals sent before the first step, since so small a run mostly starts up."""

ACTORS = {"learner": r"^ray::LearnerActor", "rollout": r"^ray::VllmEngine"}
"""Titles of their processes. The run restarts these by itself."""
OTHERS = {"driver": "", "Ray's raylet": r"^\S+/raylet ", "Ray's GCS": r"^\S+/gcs_server "}
"""When one of these dies, the run stops and needs ``qwenlong resume``."""
SETTINGS = (
    "rollout.kv_cache_gb=0.2", "evaluation.examples=2", "failures.timeout_s=30",
    "failures.restarts=9", "stages.sft.epochs=1", "stages.sft.checkpoint_every=10",
    "stages.phase1.steps=12", "stages.phase2.steps=12",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Which process gets a signal, and when: ``pause_s`` after a share of the steps is logged."""

    number: int
    victim: str
    number_of_signal: signal.Signals
    share: float
    pause_s: float
    while_saving: bool = False
    """Waits for the next checkpoint and sends the signal while it is being written."""


@dataclass(frozen=True)
class Struck:
    """The state of the run when the signal was sent."""

    when: str
    """The last logged step; empty if the run had already ended."""
    checkpoints: int
    """How many checkpoints were complete."""


@dataclass(frozen=True)
class Outcome:
    """A run that ended as the undisturbed one did."""

    case: Case
    when: str
    continued: str
    """By itself, or after how many resumes."""


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
    """Runs one case to its end.

    Raises:
        AssertionError: the run did not end, or ended differently from the undisturbed one.
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
            continued = struck.when and finish(case, commands[0], run, train, start)
            if continued:
                again = any("from the beginning" in each.output.read_text() for each in commands)
                assert not (again and struck.checkpoints), "it ignored its checkpoints"
                assert_same(run, undisturbed)
                return Outcome(case, struck.when, continued)
        finally:
            for command in commands:
                command.clean_up()
        shutil.rmtree(run)
    raise AssertionError("it ended before the signal had an effect, however early it was sent")


def strike(command: Command, case: Case, run: Path, steps: int) -> Struck:
    """Sends the case's signal; waits for a process that has not started yet."""
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
    """Sees the run to its end and says how it got there; empty if the signal had no effect."""
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
    """Whether a checkpoint is being written, of the run or of an SFT trainer."""
    own = (run / "checkpoints").glob("trainer-*/checkpoint-*")
    return any((run / "checkpoints").glob("[0-9]*.partial")) or any(
        not (each / MANIFEST).is_file() for each in own
    )


def checkpoints(run: Path) -> int:
    """How many checkpoints the run could resume from."""
    sealed = (run / "checkpoints").rglob(MANIFEST)
    return sum(not file.parent.name.endswith(PARTIAL) for file in sealed)


def logged(run: Path) -> list[str]:
    metrics = run / "metrics.jsonl"
    return metrics.read_text().split("\n")[:-1] if metrics.is_file() else []  # the last may be torn


def reached(run: Path) -> str:
    steps = logged(run)
    last = json.loads(steps[-1]) if steps else None
    where = f"after step {last['step']} of {last['stage']}" if last else "before the first step"
    return f"{where}, saving" if saving(run) else where


def undisturbed(folder: Path, experiment: Path) -> Path:
    """Runs the experiment twice without any signal; both runs must be the same."""
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
    print(f"{'':>3} {'process':13} {'signal':8} {'when':30} {'continued':12} result")
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
            line = f"{case.number:>3} {case.victim:13} {signals[case.number_of_signal]:8} "
            if isinstance(outcome, Outcome):
                same += 1
                line += f"{outcome.when:30} {outcome.continued:12} identical"
            else:
                line += f"DIFFERS OR DID NOT END: {outcome}"
            print(line, flush=True)
    print(f"{same} of {len(wanted)} identical to the undisturbed run")
    return 0 if same == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main([int(argument) for argument in sys.argv[1:]]))
