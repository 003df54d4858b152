"""Run directories as the report sees them: what they hold, and what is missing."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from qwenlong.report.accuracy import Stage, stages_of
from qwenlong.types import InputError

T = TypeVar("T")

FILES = ("config.yaml", "summary.json", "metrics.jsonl", "rollouts")
ROLLOUTS_SHOWN = 300
"""Most rollouts of a run that a report embeds."""
RESPONSE_SHOWN = 12_000
"""Most characters of a response that a report embeds; the middle of a longer one is cut out."""


@dataclass(frozen=True)
class LoggedRun:
    """A run directory of a finished or unfinished run."""

    name: str
    config: str
    stages: tuple[Stage, ...]
    planned: tuple[str, ...]
    summary: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    rollouts: tuple[Mapping[str, Any], ...]
    """Those to show."""
    rollouts_written: int
    missing: tuple[str, ...]
    """What the directory lacks, in words."""

    @property
    def rl_steps(self) -> list[Mapping[str, Any]]:
        return [step for step in self.steps if step.get("kind") == "rl"]

    @property
    def rl_stages(self) -> list[str]:
        """The stage of each RL step."""
        return [str(step.get("stage")) for step in self.rl_steps]

    def metric(self, key: str) -> list[float]:
        """A metric of each RL step; NaN where it was not logged."""
        values = (step.get(key) for step in self.rl_steps)
        return [math.nan if value is None else float(value) for value in values]


def read_runs(folders: Sequence[Path], with_rollouts: bool = True) -> list[LoggedRun]:
    """Reads run directories, finished or not.

    Raises:
        InputError: a folder that is no run directory, or a file in it that cannot be read.
    """
    if not folders:
        raise InputError("run_dirs=[]: name at least one run directory")
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


def _read_run(folder: Path, name: str, with_rollouts: bool) -> LoggedRun:
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
        # A resumed run may write a step again; it went on from the later one.
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
    return LoggedRun(
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
    """A JSON object. NaN and infinities become None, because a browser's JSON has neither."""
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
                # The run is still writing the line, or was stopped while it did.
                missing.append(f"{path.name}: line {number} is cut off and left out")
                return
            if line.strip():
                text = line.decode("utf-8", errors="replace")
                yield offset, _object(text, f"{path}:{number}")
            offset += len(line)


def logged_rollouts(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rollouts of one file of a run: ``sft-eval``, ``phase1-00003``; none if it is missing."""
    path = folder / "rollouts" / f"{name}.jsonl"
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
    """The rollouts to show, in the order of the run, and the number of all rollouts.

    Only the shown ones are held in memory: they are found in a first pass and read in a second.
    """
    paths = sorted(folder.glob("*.jsonl"), key=lambda path: _order(path, stages))
    places: dict[tuple[str, bool, str], list[tuple[int, int]]] = defaultdict(list)
    written = 0
    for index, path in enumerate(paths):
        for offset, record in _lines(path, missing):
            evaluation = record.get("step") is None
            # A bucket for each verdict, so that rare ones are shown too.
            bucket = (str(record["stage"]), evaluation, verdict(record["score"]["value"]))
            places[bucket].append((index, offset))
            written += 1
    chosen = spread(list(places.values()), ROLLOUTS_SHOWN)
    return [_rollout_at(paths[index], offset) for index, offset in sorted(chosen)], written


def _order(path: Path, stages: Sequence[str]) -> tuple[int, str, bool, str]:
    stage, _, step = path.stem.rpartition("-")
    place = stages.index(stage) if stage in stages else len(stages)
    return place, stage, not re.fullmatch(r"\d+", step), step


def _rollout_at(path: Path, offset: int) -> dict[str, Any]:
    with path.open("rb") as file:
        file.seek(offset)
        record = _object(file.readline().decode("utf-8", errors="replace"), str(path))
    return {**record, "response": cut_middle(str(record.get("response", "")), RESPONSE_SHOWN)}


def cut_middle(text: str, most: int) -> str:
    """``text``, or its two ends and a note of how much was cut out between them."""
    if len(text) <= most:
        return text
    head, tail = text[: 2 * most // 3], text[-(most // 3) :]
    left_out = len(text) - len(head) - len(tail)
    return f"{head}\n\n[… {left_out:,} characters are left out here …]\n\n{tail}"


def spread(buckets: Sequence[Sequence[T]], most: int) -> list[T]:
    """Picks at most ``most`` items, evenly spaced within each bucket.

    Every bucket gives the same number, or all that it has if it has fewer.
    """
    shares = [0] * len(buckets)
    for _ in range(most):
        unfinished = [i for i, bucket in enumerate(buckets) if shares[i] < len(bucket)]
        if not unfinished:
            break
        shares[min(unfinished, key=lambda i: shares[i])] += 1
    return [
        bucket[k * len(bucket) // share]
        for bucket, share in zip(buckets, shares, strict=True)
        for k in range(share)
    ]
