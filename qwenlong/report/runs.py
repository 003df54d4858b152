"""Run directories as the report sees them: what is there, and what is not."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from qwenlong.types import InputError

T = TypeVar("T")

FILES = ("config.yaml", "summary.json", "metrics.jsonl", "rollouts")
ROLLOUTS_SHOWN = 300
"""Rollouts of a run that a report embeds, at most."""
RESPONSE_SHOWN = 12_000
"""Characters of a response that a report embeds, at most; its middle goes first."""


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers in [0, 1] over ``n`` questions."""

    value: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval; the whole of [0, 1] where nothing was asked."""
        if not self.n:
            return 0.0, 1.0
        z2 = 1.96**2
        middle = (self.value + z2 / (2 * self.n)) / (1 + z2 / self.n)
        variance = self.value * (1 - self.value) / self.n + z2 / (4 * self.n**2)
        half = (z2 * variance) ** 0.5 / (1 + z2 / self.n)
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Stage:
    """A finished stage: seconds of its steps and of its evaluation, null where unknown.

    Accuracy is by context in tokens.
    """

    name: str
    kind: str
    seconds: float | None
    evaluation_seconds: float | None
    accuracy: Mapping[int, Accuracy]


@dataclass(frozen=True)
class Run:
    """A run directory, as far as it has come. ``missing`` says in words what is not there."""

    name: str
    config: str
    stages: tuple[Stage, ...]
    planned: tuple[str, ...]
    summary: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    rollouts: tuple[Mapping[str, Any], ...]
    rollouts_written: int
    missing: tuple[str, ...]

    @property
    def rl_steps(self) -> list[Mapping[str, Any]]:
        return [step for step in self.steps if step.get("kind") == "rl"]


def stages_of(summary: Mapping[str, Any]) -> tuple[Stage, ...]:
    return tuple(
        Stage(
            name=str(stage["name"]),
            kind=str(stage.get("kind", "")),
            seconds=stage.get("seconds"),
            evaluation_seconds=stage.get("evaluation_seconds"),
            accuracy={
                int(context): Accuracy(float(cell["value"]), int(cell["n"]))
                for context, cell in (stage.get("accuracy") or {}).items()
            },
        )
        for stage in summary.get("stages", ())
    )


def contexts_of(stages: Sequence[Stage]) -> list[int]:
    """Every context length, in tokens, at which some stage was evaluated."""
    return sorted({context for stage in stages for context in stage.accuracy})


def asked(stages: Sequence[Stage], context: int) -> int | None:
    """The number of questions at a context, if it is the same in every stage."""
    numbers = {stage.accuracy[context].n for stage in stages if context in stage.accuracy}
    return numbers.pop() if len(numbers) == 1 else None


def read_runs(folders: Sequence[Path], with_rollouts: bool = True) -> list[Run]:
    """Reads run directories, finished or not.

    Raises:
        InputError: a folder that is no run directory, or a file in it that cannot be read.
    """
    if not folders:
        raise InputError("run_dirs=[]: a report needs at least one run directory")
    folders = [Path(folder).resolve() for folder in folders]
    for folder in folders:
        if not any((folder / name).exists() for name in FILES):
            what = f"holds none of {', '.join(FILES)}" if folder.is_dir() else "no such directory"
            raise InputError(f"{folder}: not a run directory: {what}")
    names = [folder.name for folder in folders]
    distinct = len(set(names)) == len(names)
    return [
        _read_run(folder, folder.name if distinct else str(folder), with_rollouts)
        for folder in folders
    ]


def _read_run(folder: Path, name: str, with_rollouts: bool) -> Run:
    missing: list[str] = []
    config = _text(folder / "config.yaml", missing)
    summary_text = _text(folder / "summary.json", missing)
    summary = _object(summary_text, f"{folder / 'summary.json'}") if summary_text else {}
    stages = stages_of(summary)
    planned = _planned(config, folder / "config.yaml")
    waiting = [stage for stage in planned if stage not in {done.name for done in stages}]
    if stages and waiting:
        missing.append(f"not finished yet: {', '.join(waiting)}")

    metrics = folder / "metrics.jsonl"
    steps: dict[tuple[Any, Any], Mapping[str, Any]] = {}
    if metrics.is_file():
        # A resumed run may write a step again: the later line is the one that counted.
        for _, step in _lines(metrics, missing):
            steps[step.get("stage"), step.get("step")] = step
    if not steps:
        missing.append("metrics.jsonl: no steps yet")

    shown: list[Mapping[str, Any]] = []
    written = 0
    if with_rollouts:
        order = list(dict.fromkeys([*(done.name for done in stages), *planned]))
        shown, written = _read_rollouts(folder / "rollouts", order, missing)
        if not written:
            missing.append("rollouts/: none yet")
    return Run(
        name=name,
        config=config,
        stages=stages,
        planned=planned,
        summary=summary,
        steps=tuple(steps.values()),
        rollouts=tuple(shown),
        rollouts_written=written,
        missing=tuple(missing),
    )


def _text(path: Path, missing: list[str]) -> str:
    if path.is_file():
        return path.read_text(encoding="utf-8")
    missing.append(f"{path.name}: not there")
    return ""


def _object(text: str, where: str) -> dict[str, Any]:
    """NaN and infinities become null: a browser's JSON has neither."""
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: must be a JSON object, is a {type(value).__name__}")
    return value


def _planned(config: str, path: Path) -> tuple[str, ...]:
    try:
        tree = yaml.safe_load(config)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    stages = tree.get("stages") if isinstance(tree, dict) else None
    return tuple(str(name) for name in stages) if isinstance(stages, dict) else ()


def _lines(path: Path, missing: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (byte offset, object) of each line."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") and not line.rstrip().endswith(b"}"):
                # The run is being written, or was stopped while it was.
                missing.append(f"{path.name}: line {number} is cut off and left out")
                return
            if line.strip():
                text = line.decode("utf-8", errors="replace")
                yield offset, _object(text, f"{path}:{number}")
            offset += len(line)


def evaluation_rollouts(folder: Path, stage: str) -> list[dict[str, Any]]:
    """What the policy answered in the evaluation after ``stage``; nothing where it had none."""
    path = folder / "rollouts" / f"{stage}-eval.jsonl"
    return [record for _, record in _lines(path, [])] if path.is_file() else []


def training_rollouts(folder: Path, stage: str, step: int) -> list[dict[str, Any]]:
    """What was sampled in a step; nothing where that is not there."""
    path = folder / "rollouts" / f"{stage}-{step:05d}.jsonl"
    return [record for _, record in _lines(path, [])] if path.is_file() else []


def verdict(score: float | None) -> str:
    if score is None:
        return "unjudged"
    if score >= 1:
        return "right"
    return "partial" if score > 0 else "wrong"


def _read_rollouts(
    folder: Path, stages: Sequence[str], missing: list[str]
) -> tuple[list[Mapping[str, Any]], int]:
    """The rollouts to show, in the order of the run, and how many there are."""
    paths = sorted(folder.glob("*.jsonl"), key=lambda path: _place(path, stages))
    places: dict[tuple[str, bool, str], list[tuple[int, int]]] = defaultdict(list)
    written = 0
    for index, path in enumerate(paths):
        for offset, record in _lines(path, missing):
            evaluation = record.get("step") is None
            bucket = (str(record["stage"]), evaluation, verdict(record["score"]["value"]))
            places[bucket].append((index, offset))
            written += 1
    chosen = spread(list(places.values()), ROLLOUTS_SHOWN)
    return [_rollout_at(paths[index], offset) for index, offset in sorted(chosen)], written


def _place(path: Path, stages: Sequence[str]) -> tuple[int, str, bool, str]:
    stage, _, step = path.stem.rpartition("-")
    place = stages.index(stage) if stage in stages else len(stages)
    return place, stage, not re.fullmatch(r"\d+", step), step


def _rollout_at(path: Path, offset: int) -> dict[str, Any]:
    with path.open("rb") as file:
        file.seek(offset)
        record = _object(file.readline().decode("utf-8", errors="replace"), str(path))
    response = str(record.get("response", ""))
    if len(response) > RESPONSE_SHOWN:
        head, tail = response[: 2 * RESPONSE_SHOWN // 3], response[-RESPONSE_SHOWN // 3 :]
        left_out = len(response) - len(head) - len(tail)
        response = f"{head}\n\n[… {left_out:,} characters are left out here …]\n\n{tail}"
    return {**record, "response": response}


def spread(buckets: Sequence[Sequence[T]], most: int) -> list[T]:
    """At most ``most`` items: as equal a number from each bucket as it has, evenly spaced in it."""
    shares = [0] * len(buckets)
    left = most
    while left > 0:
        open_buckets = [i for i, bucket in enumerate(buckets) if shares[i] < len(bucket)]
        if not open_buckets:
            break
        for i in open_buckets[:left]:
            more = min(max(1, left // len(open_buckets)), len(buckets[i]) - shares[i])
            shares[i] += more
        left = most - sum(shares)
    return [
        bucket[k * len(bucket) // share]
        for bucket, share in zip(buckets, shares, strict=True)
        for k in range(share)
    ]
