"""What corrects a step: weights for the engine's other probabilities, the KL to a reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from qwenlong.config import LearnerConfig
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.logprobs import TokenStats
from qwenlong.model.pretrained import load_policy
from qwenlong.types import Batch, Row

StatsOf = Callable[[GrpoLearner, tuple[Row, ...], Batch], TokenStats]
CONFIG = LearnerConfig(beta2=0.95, max_grad_norm=0.5)


# The engine's other probabilities.


def engine_off_by(
    stats_of: StatsOf, learner: GrpoLearner, batch: Batch, logs: tuple[float, ...]
) -> Batch:
    """The batch with an engine whose responses are less likely than the learner's by that much."""
    rows = []
    for row in batch.rows:
        stats = stats_of(learner, (row,), batch)
        engine = (stats.logprobs - stats.nucleus_logmass).split(list(map(len, row.responses)))
        # In fp64: the engine must agree to the bit.
        shifted = tuple((each - log).numpy() for each, log in zip(engine, logs, strict=True))
        rows.append(replace(row, logprobs=shifted))
    return replace(batch, rows=tuple(rows))


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({"importance_cap": 1.5}, (1.0, 1.5, 0.25)),
        ({"mask_ratio": 2.0}, (1.0, 0.0, 0.0)),
        ({"importance_cap": 5.0, "mask_ratio": 3.5}, (1.0, 3.0, 0.0)),
    ],
)
def test_an_engine_that_differs_changes_the_update_and_one_that_agrees_does_not(
    policies,
    exactly,
    batch_of,
    parameters_of,
    stats_of,
    options: dict[str, Any],
    weights: tuple[float, ...],
) -> None:
    """A weight on every token of a response is a factor of its advantage."""
    plain, optioned, weighted, agreeing = (
        GrpoLearner(policies["tied"], "float64", config)
        for config in (CONFIG, replace(CONFIG, **options), CONFIG, replace(CONFIG, **options))
    )
    for learner in (plain, optioned, weighted, agreeing):
        exactly(learner.model)
    batch = replace(batch_of(5), top_p=0.8)
    off = engine_off_by(stats_of, plain, batch, (0.0, math.log(3), math.log(0.25)))
    scaled = tuple(
        replace(row, advantages=tuple(a * b for a, b in zip(row.advantages, weights, strict=True)))
        for row in off.rows
    )
    agreed = agreeing.step(engine_off_by(stats_of, plain, batch, (0.0, 0.0, 0.0))).metrics
    metrics = optioned.step(off).metrics
    plain.step(off)
    weighted.step(replace(off, rows=scaled))
    for name, tensor in parameters_of(optioned).items():
        torch.testing.assert_close(tensor, parameters_of(weighted)[name], rtol=0, atol=1e-9)
        assert (tensor - parameters_of(plain)[name]).abs().max() > 1e-4, name
        torch.testing.assert_close(
            parameters_of(agreeing)[name], parameters_of(plain)[name], rtol=0, atol=1e-9
        )
    tokens = [sum(len(row.responses[i]) for row in batch.rows) for i in range(3)]
    masked = sum(n for n, weight in zip(tokens, weights, strict=True) if not weight) / sum(tokens)
    assert metrics["masked_share"] == pytest.approx(masked)
    assert agreed["masked_share"] == 0.0
    if "importance_cap" in options:
        mean = sum(n * weight for n, weight in zip(tokens, weights, strict=True)) / sum(tokens)
        assert metrics["importance_weight"] == pytest.approx(mean, rel=1e-9)
        assert agreed["importance_weight"] == pytest.approx(1.0, rel=1e-9)


# The KL to a reference.


def test_the_kl_is_zero_before_the_first_update_and_then_that_to_the_first_policy(
    policies, plain_logprobs, exactly, batch_of
) -> None:
    learner = GrpoLearner(policies["tied"], "float64", replace(CONFIG, kl_coefficient=0.1))
    learner.keep_reference()
    assert learner.reference is not None
    first, now = (load_policy(policies["tied"], "float64") for _ in range(2))
    for model in (learner.model, learner.reference.model, first, now):
        exactly(model)
    assert learner.step(batch_of(5)).metrics["kl"] == 0.0
    now.load_state_dict(learner.model.state_dict())
    batch = batch_of(5, seed=1)
    with torch.no_grad():
        ours, theirs = (
            torch.cat([x for row in batch.rows for x in plain_logprobs(model, row, 0.7)])
            for model in (now, first)
        )
    gap = theirs - ours
    expected = (gap.expm1() - gap).mean().item()
    assert expected > 1e-4
    assert learner.step(batch).metrics["kl"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("objective", "held"), [("grpo", True), ("dapo", False)])
def test_a_group_without_variance_is_held_to_the_reference_unless_it_is_dropped(
    policies, batch_of, objective: str, held: bool
) -> None:
    config = replace(CONFIG, objective=objective, kl_coefficient=1.0)
    learner = GrpoLearner(policies["tied"], "float32", config)
    learner.keep_reference()
    learner.step(batch_of(5))
    rows = tuple(replace(row, advantages=(0.0,) * 3) for row in batch_of(5).rows)
    metrics = [learner.step(replace(batch_of(5, 1e-3), rows=rows)).metrics for _ in range(3)]
    assert (metrics[0]["grad_norm"] > 0) is held
    assert ("kl" in metrics[0]) is held
    if held:
        assert metrics[0]["kl"] > metrics[1]["kl"] > metrics[2]["kl"] > 0


def test_a_step_with_kl_asks_for_a_reference(policies, batch_of) -> None:
    learner = GrpoLearner(policies["tied"], "float32", replace(CONFIG, kl_coefficient=0.1))
    with pytest.raises(RuntimeError, match="keep_reference"):
        learner.step(batch_of(5))
