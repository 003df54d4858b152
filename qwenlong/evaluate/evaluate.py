"""Strict accuracy on held-out questions, by context length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qwenlong.types import Group


def accuracies(evaluated: Mapping[int, Sequence[Group]]) -> dict[str, dict[str, float]]:
    """Context in tokens to ``value`` and ``n``, as summary.json has it.

    ``value`` is the share of all responses that are right: a score of 1, nothing less.

    Raises:
        ValueError: a response has no score, so that it is neither right nor wrong.
    """
    result: dict[str, dict[str, float]] = {}
    for context, groups in evaluated.items():
        if not all(score.judged for group in groups for score in group.scores):
            raise ValueError(f"context {context}: unjudged responses cannot be counted")
        right = [score.value == 1.0 for group in groups for score in group.scores]
        result[str(context)] = {"value": sum(right) / len(right), "n": len(right)}
    return result
