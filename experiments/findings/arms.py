"""Runs grouped into arms: runs of one configuration that differ only in their seed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from experiments.findings.measures import column, measure
from qwenlong.report.accuracy import Accuracy
from qwenlong.report.runs import LoggedRun, read_runs
from qwenlong.types import InputError

BASELINE = "baseline"
UNTRAINED = "untrained"
_PER_RUN = ("seed", "run_dir")
"""Keys in which runs of one arm may differ."""
_SEED = re.compile(r"[-_.]?seed[-_.=]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Outcome:
    """What one run has reached. Accuracies are strict, by context in tokens."""

    run: LoggedRun
    folder: Path
    seed: int
    waiting: tuple[str, ...]
    """Planned stages that are not finished."""
    before_stage: str
    """The last stage before the first RL phase."""
    before: Mapping[int, Accuracy]
    end_stage: str
    end: Mapping[int, Accuracy]
    """Accuracy after the last planned stage; empty if the run is not finished."""
    track: tuple[tuple[float, Mapping[int, Accuracy]], ...]
    """(tokens generated in RL so far, accuracy) after each stage from ``before_stage`` on."""
    measures: Mapping[str, float]
    """Measures by their names in ``MEASURES``."""

    def value(self, name: str) -> float | None:
        """A measure, or an accuracy named ``before CONTEXT`` or ``end CONTEXT``."""
        when, _, context = name.partition(" ")
        if context:
            cell = (self.before if when == "before" else self.end).get(int(context))
            return cell.value if cell else None
        return self.measures.get(name)


@dataclass(frozen=True)
class Arm:
    """Runs of one configuration, ordered by seed; each seed occurs once."""

    name: str
    config: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]

    def values(self, name: str) -> dict[int, float]:
        """A measure or an accuracy by seed, from the runs that have it."""
        found = {each.seed: each.value(name) for each in self.outcomes}
        return {seed: value for seed, value in found.items() if value is not None}


def gather(folders: Sequence[Path]) -> list[Arm]:
    """Groups runs into arms. The baseline comes first, the others follow in the order given.

    An arm takes its name from its first folder, without the seed. The baseline is the arm of that
    name, or else the first arm.

    Raises:
        InputError: a folder is not a run or has no configuration, or an arm has two runs of one
            seed.
    """
    folders = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    same: dict[str, list[Outcome]] = {}
    configs: dict[str, Mapping[str, Any]] = {}
    for folder, run in zip(folders, read_runs(folders, with_rollouts=False), strict=True):
        config = _config(folder, run)
        shared = {key: value for key, value in config.items() if key not in _PER_RUN}
        key = json.dumps(shared, default=str)
        configs[key] = shared
        same.setdefault(key, []).append(_outcome(folder, run, config))
    arms: list[Arm] = []
    for key, outcomes in same.items():
        for name, members in _named(outcomes):
            ordered = tuple(sorted(members, key=lambda each: each.seed))
            taken = sum(re.sub(r" \(\d+\)$", "", arm.name) == name for arm in arms)
            arms.append(Arm(f"{name} ({taken + 1})" if taken else name, configs[key], ordered))
    first = next((arm for arm in arms if arm.name == BASELINE), arms[0])
    return [first, *(arm for arm in arms if arm is not first)]


def _config(folder: Path, run: LoggedRun) -> dict[str, Any]:
    tree = yaml.safe_load(run.config)
    if not isinstance(tree, dict) or not isinstance(tree.get("stages"), dict):
        raise InputError(
            f"{folder / 'config.yaml'}: must be the configuration of a run, with its stages"
        )
    return tree


def _named(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, list[Outcome]]]:
    """The arms among runs of one configuration: one, unless a seed occurs twice.

    Two arms can have the same configuration by mistake; then their folders' names separate them.
    """
    if len({each.seed for each in outcomes}) == len(outcomes):
        yield arm_name(outcomes[0].folder), list(outcomes)
        return
    by_name: dict[str, dict[int, Outcome]] = {}
    for each in outcomes:
        members = by_name.setdefault(arm_name(each.folder), {})
        if each.seed in members:
            twin = members[each.seed].folder
            raise InputError(
                f"seed={each.seed}: {twin} and {each.folder} are the same experiment; leave one out"
            )
        members[each.seed] = each
    for name, members in by_name.items():
        yield name, list(members.values())


def arm_name(folder: Path) -> str:
    """``baseline`` for ``baseline-seed2``, ``baseline_seed=2`` and ``baseline/2``."""
    name = _SEED.sub("", folder.name).strip("-_. ")
    return folder.parent.name if not name or name.isdigit() else name


def _outcome(folder: Path, run: LoggedRun, config: Mapping[str, Any]) -> Outcome:
    planned = [str(name) for name in config["stages"]]
    kinds = [(stage or {}).get("kind") for stage in config["stages"].values()]
    first_rl = kinds.index("rl") if "rl" in kinds else len(planned)
    # An evaluation comes before the first stage and after each, so order[i] is before stage i.
    order = [UNTRAINED, *planned]
    done = {stage.name: stage.accuracy for stage in run.stages}
    track, generated = [], 0.0
    for name in order[first_rl:]:
        own = (step for step in run.rl_steps if step.get("stage") == name)
        generated += sum(column(own, "response_tokens"))
        if name in done:
            track.append((generated, done[name]))
    return Outcome(
        run=run,
        folder=folder,
        seed=int(config.get("seed") or 0),
        waiting=tuple(name for name in planned if name not in done),
        before_stage=order[first_rl],
        before=done.get(order[first_rl], {}),
        end_stage=order[-1],
        end=done.get(order[-1], {}),
        track=tuple(track),
        measures=measure(folder, run, config),
    )


def differences(arm: Arm, baseline: Arm, name: str) -> dict[int, float]:
    """Arm minus baseline for the seeds that both have; rounding errors count as 0."""
    own, other = arm.values(name), baseline.values(name)
    return {
        seed: 0.0 if math.isclose(own[seed], other[seed]) else own[seed] - other[seed]
        for seed in own
        if seed in other
    }


def finished(arm: Arm) -> Arm:
    """The arm without its unfinished runs."""
    return replace(arm, outcomes=tuple(each for each in arm.outcomes if not each.waiting))


def changes(arm: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(key, the baseline's value, the arm's value) for every difference; ``–`` for no value."""
    return list(_changes(baseline, arm, ""))


def _changes(old: Any, new: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            full = f"{prefix}.{key}" if prefix else str(key)
            if key not in new or key not in old:
                before, after = (_one_line(of[key]) if key in of else "–" for of in (old, new))
                yield full, before, after
            else:
                yield from _changes(old[key], new[key], full)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _changes(before, after, f"{prefix}.{i}")
    elif old != new:
        yield prefix, _one_line(old), _one_line(new)


def _one_line(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
