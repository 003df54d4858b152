"""Responses that training paid for although they are wrong: whether a policy learns to cheat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qwenlong.report.runs import evaluation_rollouts, training_rollouts

Strict = Callable[[Mapping[str, Any], str], float | None]
"""A rollout's value by the verifier of that name; null where that cannot be said."""


def paid_though_wrong(
    folder: Path, steps: Iterable[Mapping[str, Any]], kinds: Mapping[str, str], strict: Strict
) -> float | None:
    """Share of the steps' responses that were rewarded in full and are wrong by their own verifier.

    ``kinds`` has each source's verifier. Null where there is no response that can be told of.
    """
    paid = told = 0
    known: dict[tuple[Any, ...], float | None] = {}
    for step in steps:
        for record in training_rollouts(folder, str(step.get("stage")), int(step["step"])):
            reward, kind = record["score"]["value"], kinds.get(str(record["source"]))
            if reward is None or kind is None:
                continue
            key = (record["question"], tuple(record["answers"]), record["response"])
            if key not in known:
                known[key] = strict(record, kind)
            value = known[key]
            if value is not None:
                told += 1
                paid += reward == 1.0 and value < 1.0
    return paid / told if told else None


def strict_kinds(folder: Path, stages: Sequence[str]) -> dict[str, str]:
    """Each source's own verifier, as the evaluations after ``stages`` had it: these are strict."""
    records = (record for stage in stages for record in evaluation_rollouts(folder, stage))
    return {str(record["source"]): str(record["score"]["verifier"]) for record in records}
