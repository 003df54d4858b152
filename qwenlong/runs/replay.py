"""A step's rollouts made again, beside the run, and compared with those that it has kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from qwenlong.config import Config, RlStage
from qwenlong.runs.checkpoints import Checkpoint, whole_checkpoints
from qwenlong.runs.directory import RunDir
from qwenlong.types import InputError

SHOWN = 40
"""Characters of a text around the place where it differs."""


@dataclass(frozen=True)
class Compared:
    """A step as the run has it, and as it was made again."""

    stage: str
    step: int
    rollouts: int
    differing: int
    first: str
    """Where the first of them differs; empty if none does."""


def target(config: Config, run: RunDir, stage: str | None, step: int) -> tuple[str, int]:
    """
    Raises:
        InputError: the run has no such step.
    """
    phases = [name for name, each in config.stages.items() if isinstance(each, RlStage)]
    if stage is not None and stage not in phases:
        raise InputError(f"--stage={stage}: must be one of {', '.join(phases)}")
    asked = [stage] if stage else phases
    having = [name for name in asked if (run.rollouts / f"{name}-{step:05d}.jsonl").is_file()]
    if not having:
        have = ", ".join(f"{len(run.rollout_files(name))} steps of {name}" for name in asked)
        raise InputError(f"--step={step}: {run.root} has rollouts of {have}")
    if len(having) > 1:
        raise InputError(f"--step={step}: {' and '.join(having)} have one; say which by --stage")
    return having[0], step


def checkpoint_before(
    config: Config, run: RunDir, stage: str, step: int, say: Callable[[str], None]
) -> Checkpoint | None:
    """The nearest one that the step comes after."""
    order = list(config.stages)
    before = (order.index(stage), step)
    known = [each for each in whole_checkpoints(run.checkpoints, say) if each.stage in order]
    earlier = [each for each in known if (order.index(each.stage), each.step) < before]
    return max(earlier, key=lambda each: (order.index(each.stage), each.step), default=None)


def from_where(last: Checkpoint | None, stage: str, step: int) -> str:
    """What will be done, in one line."""
    told = f"step {step} of {stage} is made again"
    if last and (last.stage, last.step) == (stage, step - 1):
        return f"{told} from the checkpoint just before"
    start = f"step {last.step} of {last.stage}" if last else "the beginning"
    nearest = "the nearest checkpoint before it" if last else "for no checkpoint precedes it"
    return f"{told} from {start}, {nearest}; all steps between are trained again"


def beside(run: RunDir, folder: Path) -> RunDir:
    """A run directory of its own, with what of ``run`` later steps depend on: nothing is written
    into ``run``."""
    again = RunDir(folder)
    for each in (again.draws, again.checkpoints, again.logs):
        each.mkdir(parents=True)
    # SFT on own rollouts takes those of the phases before.
    shutil.copytree(run.rollouts, again.rollouts)
    for store in run.root.glob("judge.sqlite*"):
        shutil.copy(store, folder)  # its verdicts hold
    again.write_summary({"stages": [], "engine_learner_kl_max": 0.0})
    return again


def compare(run: RunDir, again: RunDir, stage: str, step: int) -> Compared:
    """Rollouts of a step; what it drew, first, where the run has noted it."""
    name = f"{stage}-{step:05d}"
    if not (again.rollouts / f"{name}.jsonl").is_file():
        return Compared(stage, step, 0, 0, "it was not reached: the phase ended before")
    ours, theirs = (_lines(each.rollouts / f"{name}.jsonl") for each in (run, again))
    drew = [each.draws / f"{name}.json" for each in (run, again)]
    first = ""
    if drew[0].is_file():
        first = _difference("", *(json.loads(path.read_text()) for path in drew))
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
    return Compared(stage, step, len(ours), differing, first)


def told(compared: Compared) -> str:
    where = f"step {compared.step} of {compared.stage}"
    if not compared.first:
        return f"{where}: all {compared.rollouts} rollouts are equal"
    if not compared.rollouts:
        return f"{where}: {compared.first}"
    differing = f"{compared.differing} of {compared.rollouts} rollouts differ"
    return f"{where}: {differing}; first {compared.first}"


def _difference(where: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The first key whose values differ; empty if none does."""
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
    return f"{was} was kept, {now} was made, from character {at} on"


def _lines(path: Path) -> list[dict[str, Any]]:
    # Not splitlines: a response may hold any of Unicode's line ends.
    return [json.loads(line) for line in path.read_text().split("\n") if line]
