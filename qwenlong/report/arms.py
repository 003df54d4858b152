"""Runs gathered into arms, and what each run came to: the figures of docs/findings.md."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from qwenlong.report.paid import Strict, paid_though_wrong, strict_kinds
from qwenlong.report.runs import Accuracy, Run, read_runs
from qwenlong.types import InputError

BASELINE = "baseline"
LAST = 5
"""RL steps that a figure of a run's beginning or end is the mean of."""
_OWN = ("seed", "run_dir")
_SEED = re.compile(r"[-_.]?seed[-_.=]?\d+", re.IGNORECASE)
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Outcome:
    """One run's figures. Accuracy is strict, by context in tokens.

    ``before`` is of the stage before the first RL phase, ``end`` of the last stage; either is
    empty where the run has not come so far. ``track`` has (tokens generated in RL, accuracy)
    after each stage from ``before`` on. ``figures`` are by the names in ``FIGURES``.
    """

    run: Run
    folder: Path
    seed: int
    waiting: tuple[str, ...]
    before_stage: str
    before: Mapping[int, Accuracy]
    end_stage: str
    end: Mapping[int, Accuracy]
    track: tuple[tuple[float, Mapping[int, Accuracy]], ...]
    figures: Mapping[str, float]

    def value(self, name: str) -> float | None:
        """A figure, or an accuracy by ``before CONTEXT`` or ``end CONTEXT``."""
        when, _, context = name.partition(" ")
        if context:
            cell = (self.before if when == "before" else self.end).get(int(context))
            return cell.value if cell else None
        return self.figures.get(name)


@dataclass(frozen=True)
class Arm:
    """Runs of one configuration, ascending by seed; no two have the same seed."""

    name: str
    config: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]

    def values(self, name: str) -> dict[int, float]:
        """By seed, of the runs that have it."""
        found = {each.seed: each.value(name) for each in self.outcomes}
        return {seed: value for seed, value in found.items() if value is not None}


# name: (label, format)
FIGURES: dict[str, tuple[str, str]] = {
    "reward": (f"mean reward, last {LAST} RL steps", ".3f"),
    "strict": ("strict accuracy at that phase's context", ".3f"),
    "gap": ("reward in training less strict accuracy", "+.3f"),
    "paid_first": (f"paid though wrong, share of the first {LAST} RL steps", ".3f"),
    "paid_last": (f"paid though wrong, share of the last {LAST} RL steps", ".3f"),
    "paid_more": ("growth of the share that is paid though wrong", "+.3f"),
    "entropy_first": (f"entropy, first {LAST} RL steps, nats a token", ".3f"),
    "entropy_last": (f"entropy, last {LAST} RL steps, nats a token", ".3f"),
    "kl_sft": (f"KL to the policy before RL, last {LAST} steps, nats", ".4f"),
    "kl_engine": ("engine–learner KL, highest, nats", ".1e"),
    "grad_mean": ("gradient norm, mean", ".3f"),
    "grad_max": ("gradient norm, highest", ".3f"),
    "steps": ("RL steps", ",.0f"),
    "tokens": ("tokens generated in RL", ",.0f"),
    "seconds": ("seconds of training", ",.0f"),
    "evaluation": ("seconds of evaluation", ",.0f"),
}


def gather(folders: Sequence[Path], strict: Strict) -> list[Arm]:
    """The arms of the runs, the baseline first, the others as they come.

    An arm is the runs whose configuration is the same but for seed and run_dir; a seed that comes
    twice in it parts it by name. Its name is its first directory's without the seed. The baseline
    is the arm of that name, else the first. ``strict`` scores logged rollouts again.

    Raises:
        InputError: a folder that is no run or has no configuration; two runs of an arm and seed.
    """
    folders = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    alike: dict[str, list[Outcome]] = {}
    configs: dict[str, Mapping[str, Any]] = {}
    for folder, run in zip(folders, read_runs(folders, with_rollouts=False), strict=True):
        config = _config(folder, run)
        shared = {key: value for key, value in config.items() if key not in _OWN}
        key = json.dumps(shared, default=str)
        configs[key] = shared
        alike.setdefault(key, []).append(_outcome(folder, run, config, strict))
    arms: list[Arm] = []
    for key, outcomes in alike.items():
        for name, members in _parted(outcomes):
            ordered = tuple(sorted(members, key=lambda each: each.seed))
            taken = sum(re.sub(r" \(\d+\)$", "", arm.name) == name for arm in arms)
            arms.append(Arm(f"{name} ({taken + 1})" if taken else name, configs[key], ordered))
    first = next((arm for arm in arms if arm.name == BASELINE), arms[0])
    return [first, *(arm for arm in arms if arm is not first)]


def _config(folder: Path, run: Run) -> dict[str, Any]:
    tree = yaml.safe_load(run.config)
    if not isinstance(tree, dict) or not isinstance(tree.get("stages"), dict):
        raise InputError(
            f"{folder / 'config.yaml'}: must be the configuration of a run, with its stages"
        )
    return tree


def _parted(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, list[Outcome]]]:
    """Runs of one configuration by the name of their arm: one, unless seeds come twice."""
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
    """``baseline`` of ``baseline-seed2``, ``baseline_seed=2`` and ``baseline/2``."""
    name = _SEED.sub("", folder.name).strip("-_. ")
    return folder.parent.name if not name or name.isdigit() else name


def _outcome(folder: Path, run: Run, config: Mapping[str, Any], strict: Strict) -> Outcome:
    planned = [str(name) for name in config["stages"]]
    kinds = [(stage or {}).get("kind") for stage in config["stages"].values()]
    first_rl = kinds.index("rl") if "rl" in kinds else len(planned)
    order = [UNTRAINED, *planned]
    before = order[first_rl]
    done = {stage.name: stage.accuracy for stage in run.stages}
    generated: dict[str, float] = dict.fromkeys(order, 0.0)
    for step in run.rl_steps:
        name = str(step.get("stage"))
        generated[name] = generated.get(name, 0.0) + _number(step, "response_tokens")
    track, so_far = [], 0.0
    for name in order[first_rl:]:
        so_far += generated[name]
        if name in done:
            track.append((so_far, done[name]))
    return Outcome(
        run=run,
        folder=folder,
        seed=int(config.get("seed") or 0),
        waiting=tuple(name for name in planned if name not in done),
        before_stage=before,
        before=done.get(before, {}),
        end_stage=order[-1],
        end=done.get(order[-1], {}),
        track=tuple(track),
        figures=_figures(run, config, sum(generated.values())) | _paid(folder, run, strict),
    )


def _paid(folder: Path, run: Run, strict: Strict) -> dict[str, float]:
    kinds = strict_kinds(folder, [stage.name for stage in run.stages[-1:]])
    first = paid_though_wrong(folder, run.rl_steps[:LAST], kinds, strict)
    last = paid_though_wrong(folder, run.rl_steps[-LAST:], kinds, strict)
    if first is None or last is None:
        return {}
    return {"paid_first": first, "paid_last": last, "paid_more": round(last - first, 9)}


def _figures(run: Run, config: Mapping[str, Any], tokens: float) -> dict[str, float]:
    steps = run.rl_steps
    entropy = _column(steps, "entropy")
    norms = _column(steps, "grad_norm")
    found = {
        "entropy_first": fmean(entropy[:LAST]) if entropy else None,
        "entropy_last": fmean(entropy[-LAST:]) if entropy else None,
        "kl_engine": max(_column(steps, "engine_learner_kl"), default=None),
        "grad_mean": fmean(norms) if norms else None,
        "grad_max": max(norms, default=None),
        "steps": float(len(steps)),
        "tokens": tokens,
        "seconds": sum(stage.seconds or 0.0 for stage in run.stages),
    }
    # Earlier runs did not say how long they were evaluated.
    evaluation = [each.evaluation_seconds for each in run.stages if each.evaluation_seconds]
    found["evaluation"] = sum(evaluation) if evaluation else None
    if kl := _column(steps, "kl"):
        found["kl_sft"] = fmean(kl[-LAST:])
    if reward := rewards_beside_accuracy(run, config):
        _, found["reward"], found["strict"] = reward[-1]
        found["gap"] = round(reward[-1][1] - reward[-1][2], 9)
    return {name: value for name, value in found.items() if value is not None}


def rewards_beside_accuracy(run: Run, config: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """(phase, mean reward of its last steps, strict accuracy after it) of every finished phase.

    The accuracy is at the longest evaluated context that is not beyond the phase's.
    """
    found = []
    for stage in run.stages:
        limit = ((config["stages"].get(stage.name) or {}).get("context")) or math.inf
        within = [context for context in stage.accuracy if context <= limit]
        own = [step for step in run.rl_steps if step.get("stage") == stage.name]
        rewards = _column(own, "reward_mean")
        if rewards and within:
            accuracy = stage.accuracy[max(within)].value
            found.append((stage.name, fmean(rewards[-LAST:]), accuracy))
    return found


def _column(steps: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [_number(step, key) for step in steps if step.get(key) is not None]


def _number(step: Mapping[str, Any], key: str) -> float:
    return float(step.get(key) or 0.0)


def differences(arm: Arm, baseline: Arm, name: str) -> dict[int, float]:
    """Arm less baseline, by the seeds that both have the figure of; rounding errors are 0."""
    own, other = arm.values(name), baseline.values(name)
    return {
        seed: 0.0 if math.isclose(own[seed], other[seed]) else own[seed] - other[seed]
        for seed in own
        if seed in other
    }


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the sample standard deviation (n - 1) where there are two or more."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def finished(arm: Arm) -> Arm:
    """The arm without the runs that have not come to their end."""
    return replace(arm, outcomes=tuple(each for each in arm.outcomes if not each.waiting))


def changes(arm: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(key, the baseline's value, the arm's) of all that differs; ``–`` where there is none."""
    return list(_changes(baseline, arm, ""))


def _changes(old: Any, new: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            full = f"{prefix}.{key}" if prefix else str(key)
            if key not in new or key not in old:
                before, after = (_flow(of[key]) if key in of else "–" for of in (old, new))
                yield full, before, after
            else:
                yield from _changes(old[key], new[key], full)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _changes(before, after, f"{prefix}.{i}")
    elif old != new:
        yield prefix, _flow(old), _flow(new)


def _flow(value: Any) -> str:
    """YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
