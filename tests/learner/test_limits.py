"""What holds the optimizer back, with causes that are real: weights that blow up, rows apart."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite, isnan

import pytest
import torch

from qwenlong.config import LearnerConfig
from qwenlong.learner.learner import GrpoLearner
from qwenlong.types import Limits

CONFIG = LearnerConfig()
FINITE = Limits(finite=True)


def bits(parameters: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """NaN is not equal to itself, but its bits are."""
    return {name: each.numpy().tobytes() for name, each in parameters.items()}


def broken(learner: GrpoLearner, token: int) -> None:
    """One token's embedding overflows; without a tied head only its own row can see it."""
    with torch.no_grad():
        learner.model.model.embed_tokens.weight[token] = torch.inf


@pytest.mark.parametrize("max_tokens", [None, 38])
def test_an_update_that_is_not_finite_is_left_out_and_its_row_is_named(
    policies, batch_of, parameters_of, max_tokens: int | None
) -> None:
    batch = replace(batch_of(), limits=FINITE)
    tokens = [{*row.prompt_ids, *(x for ids in row.responses for x in ids)} for row in batch.rows]
    [own, *_] = sorted(tokens[2] - tokens[0] - tokens[1] - tokens[3] - tokens[4])
    learner = GrpoLearner(policies["untied"], "float32", replace(CONFIG, max_tokens=max_tokens))
    broken(learner, own)
    before = bits(parameters_of(learner))
    result = learner.step(batch)
    metrics = result.metrics
    assert isnan(metrics["loss"]) and isnan(metrics["grad_norm"])
    assert metrics["updates_left_out"] == 1
    assert bits(parameters_of(learner)) == before and not learner.optimizer.state
    assert [row.finite for row in result.rows] == [True, True, False, True, True]


def test_without_limits_the_update_is_made_and_the_weights_are_lost(
    policies, batch_of, parameters_of
) -> None:
    learner = GrpoLearner(policies["tied"], "float32", CONFIG)
    broken(learner, 0)
    assert learner.step(batch_of()).metrics["updates_left_out"] == 0
    assert any(torch.isnan(each).all() for each in parameters_of(learner).values())


def test_a_learning_rate_that_explodes_is_caught_at_the_next_update(
    policies, batch_of, parameters_of
) -> None:
    learner = GrpoLearner(policies["tied"], "float32", CONFIG)
    batch = replace(batch_of(learning_rate=1e30), limits=FINITE)
    first = learner.step(batch).metrics
    assert isfinite(first["loss"]) and first["updates_left_out"] == 0
    before = bits(parameters_of(learner))
    assert learner.step(batch).metrics["updates_left_out"] == 1
    assert bits(parameters_of(learner)) == before


def test_of_several_updates_only_those_that_are_not_finite_are_left_out(
    policies, batch_of, parameters_of
) -> None:
    """The fourth row alone has the token, and is of the second update."""
    batch = replace(batch_of(mini_batch=3), limits=FINITE)
    tokens = [{*row.prompt_ids, *(x for ids in row.responses for x in ids)} for row in batch.rows]
    [own, *_] = sorted(tokens[3] - tokens[0] - tokens[1] - tokens[2])
    learner = GrpoLearner(policies["untied"], "float32", CONFIG)
    broken(learner, own)
    before = parameters_of(learner)
    assert learner.step(batch).metrics["updates_left_out"] == 1
    after = parameters_of(learner)
    head = "lm_head.weight"
    assert isfinite(after[head].sum().item()) and not torch.equal(after[head], before[head])


@pytest.mark.parametrize("mini_batch", [5, 2])
def test_a_batch_that_is_too_far_from_its_engine_moves_nothing(
    policies, batch_of, parameters_of, mini_batch: int
) -> None:
    batch = batch_of(mini_batch)
    free, held, bound = (GrpoLearner(policies["tied"], "float32", CONFIG) for _ in range(3))
    before = bits(parameters_of(free))
    kl = free.step(batch).metrics["engine_learner_kl"]
    metrics = held.step(replace(batch, limits=Limits(engine_kl=kl * 0.99))).metrics
    assert metrics["engine_learner_kl"] == pytest.approx(kl, rel=1e-6)
    assert metrics["updates_left_out"] == -(-5 // mini_batch)
    assert bits(parameters_of(held)) == before
    bounded = replace(batch, limits=Limits(True, kl * 1.01))
    assert bound.step(bounded).metrics["updates_left_out"] == 0
    assert bits(parameters_of(bound)) == bits(parameters_of(free)) != before


@pytest.mark.parametrize(("mini_batch", "max_tokens"), [(5, None), (5, 38), (2, None)])
def test_each_rows_gap_makes_up_the_metric(
    policies, batch_of, mini_batch: int, max_tokens: int | None
) -> None:
    batch = batch_of(mini_batch)
    far = tuple(each - 3 for each in batch.rows[1].logprobs)
    stale = replace(batch.rows[0], stale=True)
    batch = replace(batch, rows=(stale, replace(batch.rows[1], logprobs=far), *batch.rows[2:]))
    learner = GrpoLearner(policies["tied"], "float32", replace(CONFIG, max_tokens=max_tokens))
    result = learner.step(batch)
    kl, found = result.metrics["engine_learner_kl"], result.rows
    tokens = [sum(map(len, row.responses)) for row in batch.rows]
    of_all = sum(n * each.engine_kl for n, each in zip(tokens, found, strict=True))
    assert kl == pytest.approx(of_all / sum(tokens[1:]), rel=1e-6)
    assert found[0].engine_kl == found[4].engine_kl == 0.0
    assert max(found, key=lambda each: each.engine_kl) is found[1]
    assert all(each.finite for each in found)
