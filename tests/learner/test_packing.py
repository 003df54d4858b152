"""The order of groups and the budget of tokens change nothing beyond rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from torch import Tensor

from qwenlong.config import LearnerConfig
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.objectives import OBJECTIVES
from qwenlong.types import Batch, Row

LIMIT = 20
LENGTHS = [(9, [3, 0, 8, 9]), (1, [1, 4]), (25, [6]), (14, [2, 2, 9]), (4, [1, 0]), (11, [7, 9, 9])]
"""Tokens of prompts and responses; three rows an update."""
SMALLEST = 31
"""The third prompt and its response."""


def changed_by(
    learner: GrpoLearner, order: Sequence[int], rows_of: Callable[..., tuple[Row, ...]]
) -> tuple[list[dict[str, float]], dict[str, Tensor], list[int]]:
    """Metrics and weights after two steps of two updates each, and how long rows were."""
    computed: list[int] = []
    learner.model.model.embed_tokens.register_forward_pre_hook(
        lambda _, ids: computed.append(ids[0].numel())
    )
    metrics = []
    for seed in (1, 2):
        rows = list(rows_of(LENGTHS, seed))
        rows[1] = replace(rows[1], advantages=(0.0, 0.0))
        batch = Batch(tuple(rows[i] for i in order), 3, 2e-3, LIMIT, 0.7, 0.9)
        metrics.append(learner.step(batch).metrics)
        assert metrics[-1].pop("learner_tokens_per_s") > 0
    return metrics, dict(learner.weights()), computed


@pytest.mark.parametrize(
    ("policy", "objective"), [*(("tied", name) for name in OBJECTIVES), ("moe", "grpo")]
)
def test_order_packing_and_budget_change_nothing(
    policies, exactly, rows_of, policy: str, objective: str
) -> None:
    """Neither metrics nor weights."""

    def learner_with(budget: int | None) -> GrpoLearner:
        config = LearnerConfig(
            objective=objective, kl_coefficient=0.05, importance_cap=1.5, mask_ratio=4.0,
            weight_decay=0.01, max_tokens=budget,
        )  # fmt: skip
        learner = GrpoLearner(policies[policy], "float64", config)
        learner.keep_reference()
        exactly(learner.model)
        assert learner.reference is not None
        exactly(learner.reference.model)
        return learner

    before = {name: each.clone() for name, each in learner_with(None).weights()}
    metrics, weights, computed = changed_by(learner_with(None), range(6), rows_of)
    assert metrics[1]["kl"] > 0 and 0 < metrics[1]["masked_share"] < 1
    for order, budget in (
        ((2, 0, 1, 5, 4, 3), None), (range(6), 10_000), (range(6), SMALLEST),
        ((1, 2, 0, 3, 5, 4), SMALLEST + 2),
    ):  # fmt: skip
        again, moved, recomputed = changed_by(learner_with(budget), order, rows_of)
        assert again == [pytest.approx(each, rel=1e-9, abs=1e-12) for each in metrics]
        for name, expected in weights.items():
            gap = (moved[name] - expected).norm() / (expected - before[name]).norm()
            assert gap < 1e-8, f"{name}: {gap:.1e}"
        if budget:
            assert recomputed != computed and max(recomputed) <= budget
