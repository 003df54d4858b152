"""Replay: sampling a step's rollouts again and comparing them with those that the run has kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from qwenlong.config import Config, RlStage
from qwenlong.runs.checkpoints import Checkpoint, complete_checkpoints
from qwenlong.runs.directory import RunDir
from qwenlong.types import InputError

SHOWN = 40
"""Characters of a text around the place where it differs."""


@dataclass(frozen=True)
class Comparison:
    """A step's rollouts as the run has kept them, against those that were sampled again."""

    stage: str
    step: int
    rollouts: int
    differing: int
    first: str
    """The first difference; empty if there is none."""

    def __str__(self) -> str:
        where = f"step {self.step} of {self.stage}"
        if not self.first:
            return f"{where}: all {self.rollouts} rollouts are equal"
        if not self.rollouts:
            return f"{where}: {self.first}"
        return f"{where}: {self.differing} of {self.rollouts} rollouts differ; first {self.first}"


def find_phase(config: Config, run: RunDir, stage: str | None, step: int) -> str:
    """The phase whose step is meant: ``stage``, or the only phase that has such a step.

    Raises:
        InputError: the run has no such step.
    """
    phases = [name for name, each in config.stages.items() if isinstance(each, RlStage)]
    if stage is not None and stage not in phases:
        raise InputError(f"--stage={stage}: must be one of {', '.join(phases)}")
    candidates = [stage] if stage else phases
    found = [name for name in candidates if (run.rollouts / f"{name}-{step:05d}.jsonl").is_file()]
    if not found:
        have = ", ".join(f"{len(run.rollout_files(name))} steps of {name}" for name in candidates)
        raise InputError(f"--step={step}: {run.root} has rollouts of {have}")
    if len(found) > 1:
        raise InputError(f"--step={step}: {' and '.join(found)} have one; say which by --stage")
    return found[0]


def checkpoint_before(
    config: Config, run: RunDir, stage: str, step: int, say: Callable[[str], None]
) -> Checkpoint | None:
    """The nearest checkpoint before the step."""
    order = list(config.stages)

    def place(checkpoint: Checkpoint) -> tuple[int, int]:
        return order.index(checkpoint.state.stage), checkpoint.state.step

    known = complete_checkpoints(run.checkpoints, say)
    before = [
        each
        for each in known
        if each.state.stage in order and place(each) < (order.index(stage), step)
    ]
    return max(before, key=place, default=None)


def replay_plan(last: Checkpoint | None, stage: str, step: int) -> str:
    """What a replay will do, in one line."""
    what = f"samples step {step} of {stage} again"
    if last and (last.state.stage, last.state.step) == (stage, step - 1):
        return f"{what} from the checkpoint just before it"
    start = f"step {last.state.step} of {last.state.stage}" if last else "the beginning"
    nearest = "the nearest checkpoint before it" if last else "because no checkpoint precedes it"
    return f"{what} from {start}, {nearest}; all steps between are trained again"


def copy_for_replay(run: RunDir, folder: Path) -> RunDir:
    """A second run directory with what later steps depend on, so that ``run`` stays unchanged."""
    again = RunDir(folder)
    for each in (again.draws, again.checkpoints, again.logs):
        each.mkdir(parents=True)
    # SFT on own rollouts reads those of the phases before.
    shutil.copytree(run.rollouts, again.rollouts)
    for store in run.root.glob("judge.sqlite*"):
        shutil.copy(store, folder)  # a judge is not asked again for verdicts that it has given
    again.write_summary({"stages": [], "engine_learner_kl_max": 0.0})
    return again


def compare(run: RunDir, again: RunDir, stage: str, step: int) -> Comparison:
    """Compares a step's draws, where the run has noted them, and then its rollouts."""
    name = f"{stage}-{step:05d}"
    if not (again.rollouts / f"{name}.jsonl").is_file():
        return Comparison(stage, step, 0, 0, "it was not reached: the phase ended before")
    ours, theirs = (_lines(each.rollouts / f"{name}.jsonl") for each in (run, again))
    draws = [each.draws / f"{name}.json" for each in (run, again)]
    first = ""
    if draws[0].is_file():
        first = _difference("", *(json.loads(path.read_text()) for path in draws))
    differing = 0
    for i, (one, other) in enumerate(zip_longest(ours, theirs)):
        if one == other:
            continue
        differing += 1
        where = f"rollout {i + 1}"
        if one is None or other is None:
            first = first or f"{where} is {'new' if one is None else 'missing'}"
        else:
            first = first or _difference(f"{where} (example {one['id']}): ", one, other)
    return Comparison(stage, step, len(ours), differing, first)


def _difference(where: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The first key whose values differ; empty if there is none."""
    for key in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(key), theirs.get(key)
        if one != other:
            return f"{where}{key}: {_values(one, other)}"
    return ""


def _values(one: Any, other: Any) -> str:
    texts = [each if isinstance(each, str) else json.dumps(each) for each in (one, other)]
    at = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), None)
    at = min(map(len, texts)) if at is None else at
    start = max(0, at - SHOWN // 2)
    was, now = (json.dumps(text[start : start + SHOWN], ensure_ascii=False) for text in texts)
    return f"{was} was kept, {now} was sampled, from character {at} on"


def _lines(path: Path) -> list[dict[str, Any]]:
    # splitlines would also split at Unicode's line ends, which a response may hold.
    return [json.loads(line) for line in path.read_text().split("\n") if line]
