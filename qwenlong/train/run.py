"""A run under way: its parts, and what is told, guarded and kept between its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwenlong.cluster.placement import Workers
from qwenlong.disk.manifest import Written
from qwenlong.rewards.hybrid import Rewards
from qwenlong.runs.checkpoints import Saver, newest_folder
from qwenlong.runs.directory import RunDir
from qwenlong.runs.loggers import Log
from qwenlong.train.guards import (
    BY_EXAMPLES,
    OF_MACHINE,
    Breach,
    Guards,
    concerned,
    folder_bytes,
    line,
)
from qwenlong.train.inputs import Prepared
from qwenlong.train.progress import Progress
from qwenlong.types import Group, Rope, StoppedError


@dataclass
class Run:
    """A run under way: its parts, and the RoPE and weights it is at."""

    prepared: Prepared
    directory: RunDir
    workers: Workers
    progress: Progress
    log: Log
    rewards: Rewards
    guards: Guards
    rope: Rope
    version: int = 0
    curriculum: Mapping[str, Any] = field(default_factory=dict)
    """State of the last phase's curriculum."""
    unjudged: bool = False
    """Whether the last step had responses without the judge's verdict."""
    until: tuple[str, int] | None = None
    """Phase and step whose rollouts are the end of it, when steps are made again: nothing is
    evaluated or saved then."""
    saver: Saver = field(init=False)

    def __post_init__(self) -> None:
        def start(folder: Path) -> None:
            self.workers.learn("save_state", folder)

        def saved(wait: bool) -> list[Written | None]:
            learners = self.workers.learners
            return learners.answers(learners.ask("saved", wait))

        keep = self.prepared.config.checkpoint.keep
        self.saver = Saver(self.directory.checkpoints, keep, start, saved)


def judge_metrics(run: Run, where: str, groups: list[Group]) -> dict[str, float]:
    """What the judge has cost the run so far; tells when verdicts begin to be missing."""
    judge = run.rewards.judge
    if not judge:
        return {}
    told = [score.breakdown for group in groups for score in group.scores]
    left = [breakdown["judge_why"] for breakdown in told if "unjudged" in breakdown]
    if left and not run.unjudged:
        run.progress.say(
            f"{where}: {len(left)} responses got no verdict of the judge: {left[0]};"
            f" rewards.unjudged={run.rewards.unjudged} holds"
        )
    run.unjudged = bool(left)
    return {"judge_calls": judge.budget.calls, "judge_tokens": judge.budget.tokens}


def publish(run: Run, version: int) -> None:
    run.version = version
    run.workers.publish(version)


def report(run: Run, name: str, kind: str, step: int, metrics: dict[str, float]) -> None:
    where = {"stage": name, "kind": kind, "phase": run.prepared.phase_number(name)}
    run.log({**where, "step": step, "version": run.version, **metrics})
    reward, tokens = metrics.get("reward_mean"), metrics.get("tokens_per_s")
    run.progress.update(stage=name, step=step, reward=reward, tokens_per_s=tokens)


def save(run: Run, name: str, step: int) -> None:
    if run.until:
        return
    size = folder_bytes(newest_folder(run.directory.checkpoints))
    heed(run, f"step {step} of {name}", run.guards.of_disk(run.directory.root, size))
    run.saver.begin(name, step, run.version, run.rope, run.curriculum)


def guard(
    run: Run, name: str, step: int, metrics: Mapping[str, float], groups: Sequence[Group]
) -> None:
    """Says what is wrong with a step, once its metrics are logged.

    Raises:
        StoppedError: the run is not to go on.
    """
    where = f"step {step} of {name}"
    ids = [group.prompt.example.id for group in groups]
    breaches = run.guards.of_step(metrics)
    figures = {}
    if any(breach.guard in BY_EXAMPLES for breach in breaches):
        of_rows = run.workers.learn("row_figures")
        figures = {key: concerned(key, of_rows, ids) for key in BY_EXAMPLES}
    heed(run, where, breaches, figures, int(metrics["updates_left_out"]))
    heed(run, where, run.guards.of_memory())


def heed(
    run: Run,
    where: str,
    breaches: Sequence[Breach],
    examples: Mapping[str, str] | None = None,
    left_out: int = 0,
) -> None:
    """
    Raises:
        StoppedError: one of them stops the run.
    """
    for breach in sorted(breaches, key=lambda breach: breach.action == "stop"):
        concerns = breach.guard in BY_EXAMPLES
        told = (examples or {}).get(breach.guard, ""), left_out if concerns else 0
        if breach.action == "stop":
            run.saver.confirm()  # what is under way is what the run goes on from
            again = "" if breach.guard in OF_MACHINE else "; mend config.yaml, or it happens again"
            raise StoppedError(f"{line(breach, where, *told)}{again}")
        run.progress.say(line(breach, where, *told))
