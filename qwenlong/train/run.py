"""A run and what it does between steps: logs, guards, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qwenlong.cluster.placement import Workers
from qwenlong.config import Config
from qwenlong.rewards.hybrid import Rewards
from qwenlong.runs.checkpoints import RunState, Saver, newest_folder
from qwenlong.runs.directory import RunDir
from qwenlong.runs.loggers import Log
from qwenlong.train.guards import MACHINE, Breach, Guards, folder_bytes
from qwenlong.train.inputs import Inputs
from qwenlong.train.progress import Progress
from qwenlong.types import StoppedError


@dataclass(frozen=True)
class Run:
    """The parts of a run. Where it is between two steps is a ``RunState``."""

    inputs: Inputs
    directory: RunDir
    workers: Workers
    progress: Progress
    log: Log
    rewards: Rewards
    guards: Guards
    saver: Saver

    @property
    def config(self) -> Config:
        return self.inputs.config


def log_step(
    run: Run, stage: str, kind: str, step: int, version: int, metrics: Mapping[str, float]
) -> None:
    where = {"stage": stage, "kind": kind, "phase": run.inputs.phase_number(stage)}
    run.log({**where, "step": step, "version": version, **metrics})
    reward, tokens = metrics.get("reward_mean"), metrics.get("tokens_per_s")
    run.progress.update(stage=stage, step=step, reward=reward, tokens_per_s=tokens)


def save(run: Run, state: RunState) -> None:
    """Begins a checkpoint, which is written while the run goes on."""
    size = folder_bytes(newest_folder(run.directory.checkpoints))
    where = f"step {state.step} of {state.stage}"
    enforce(run, where, run.guards.of_disk(run.directory.root, size))
    run.saver.begin(state)


def enforce(run: Run, where: str, breaches: Sequence[Breach]) -> None:
    """Says what is wrong.

    Args:
        where: stage and step, for the message.

    Raises:
        StoppedError: the action of a breach is stop.
    """
    for breach in sorted(breaches, key=lambda breach: breach.action == "stop"):
        if breach.action != "stop":
            run.progress.say(f"{where}: {breach}")
            continue
        run.saver.confirm()  # a pending checkpoint is the one to resume from
        again = "; fix config.yaml before resuming, or the run will stop again"
        raise StoppedError(f"{where}: {breach}{'' if breach.guard in MACHINE else again}")
