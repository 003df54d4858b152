"""A user's objective and advantage, from a file, in a real step of a small policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qwenlong.config import LearnerConfig, RlStage
from qwenlong.learner.advantages import group_advantages, step_advantages
from qwenlong.learner.learner import GrpoLearner
from qwenlong.train.batch import advantages_of
from qwenlong.types import Example, Group, InputError, Prompt, Rollout, Score, token_ids

OWN = """
import torch

def reinforce(responses, totals, clip_low, clip_high):
    advantages_R = responses.at_tokens(responses.advantages_N)
    weight_R = torch.full_like(advantages_R, 1 / totals.tokens)
    return responses.logprobs_R * advantages_R, weight_R

def grpo(responses, totals, clip_low, clip_high):
    advantages_R = responses.at_tokens(responses.advantages_N)
    ratio_R = (responses.logprobs_R - responses.old_logprobs_R).exp()
    clipped_R = ratio_R.clamp(1 - clip_low, 1 + clip_high)
    value_R = torch.minimum(ratio_R * advantages_R, clipped_R * advantages_R)
    return value_R, 1 / (responses.at_tokens(responses.lengths_N) * totals.responses)

def one_a_response(responses, totals, clip_low, clip_high):
    return responses.advantages_N, responses.advantages_N

def centred(rewards):
    mean = sum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]

def forgetful(rewards):
    return rewards[1:]
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("own") / "own_objectives.py"
    file.write_text(OWN)
    return file


def test_an_objective_of_ones_own_trains_as_its_equation_says(
    own, policies, batch_of, plain_logprobs, parameters_of
) -> None:
    """REINFORCE by hand: the gradient of -Σ A log π / tokens, one row a response."""
    batch = replace(batch_of(), temperature=1.0)
    config = LearnerConfig(objective=f"{own}:reinforce", max_grad_norm=1e9)
    learner = GrpoLearner(policies["tied"], "float64", config)
    plain = GrpoLearner(policies["tied"], "float64", LearnerConfig()).model
    plain.set_attn_implementation("sdpa")
    tokens = sum(len(ids) for row in batch.rows for ids in row.responses)
    loss = torch.zeros((), dtype=torch.float64)
    for row in batch.rows:
        each = zip(plain_logprobs(plain, row, 1.0), row.advantages, strict=True)
        loss = loss - sum(advantage * logprobs.sum() for logprobs, advantage in each) / tokens
    loss.backward()
    norm = torch.stack([p.grad.square().sum() for p in plain.parameters()]).sum().sqrt().item()
    metrics = learner.step(batch).metrics
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-6)
    assert metrics["clip_share"] == 0.0


def test_a_built_in_objective_rewritten_by_hand_is_the_same(own, policies, batch_of, parameters_of):
    batch = batch_of(mini_batch=2)
    trained = []
    for name in ("grpo", f"{own}:grpo"):
        learner = GrpoLearner(policies["tied"], "float32", LearnerConfig(objective=name))
        learner.step(batch)
        trained.append(parameters_of(learner))
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_an_objective_must_return_a_value_a_token(own, policies, batch_of) -> None:
    config = LearnerConfig(objective=f"{own}:one_a_response")
    learner = GrpoLearner(policies["tied"], "float32", config)
    with pytest.raises(InputError, match=r"one_a_response: returned tensors of shape \(\d+,\) and"):
        learner.step(batch_of())


def test_an_advantage_of_ones_own(own) -> None:
    groups = [[1.0, 0.0, 0.5], [1.0, 1.0]]
    found = step_advantages(f"{own}:centred", groups, ["list", "date"])
    assert found == [group_advantages(rewards, scaled=False) for rewards in groups]
    with pytest.raises(InputError, match=r"forgetful: returned \(0.0, 0.5\) for the rewards \(1.0"):
        step_advantages(f"{own}:forgetful", groups, ["list", "date"])


def test_a_step_uses_both(own) -> None:
    """With an objective of ones own advantages are scaled as usual, unless they are own, too."""
    example = Example("a", "mine", "Who?", ("Ann.",), ("Ann",))
    rollouts = tuple(
        Rollout(token_ids([5]), np.array([-1.0], np.float32), "stop", 0, "") for _ in range(2)
    )
    scores = (Score(1.0, "exact"), Score(0.0, "exact"))
    groups = [Group(Prompt(example, (1,)), rollouts, scores)]
    stage = RlStage(context=8, response=4, steps=1, batch=2, group=2)
    reinforce = LearnerConfig(objective=f"{own}:reinforce")
    assert advantages_of(groups, stage, reinforce) == [(1.0, -1.0)]
    both = replace(reinforce, advantage=f"{own}:centred")
    assert advantages_of(groups, stage, both) == [(0.5, -0.5)]
