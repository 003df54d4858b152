"""GRPO steps against a plain reference; the objective and advantages by hand; saved state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from qwenlong.config import LearnerConfig
from qwenlong.learner.advantage import group_advantages
from qwenlong.learner.learner import GrpoLearner, engine_kl
from qwenlong.learner.logprobs import TokenStats
from qwenlong.learner.loss import grpo_loss
from qwenlong.model.policy import load_policy
from qwenlong.types import Batch, Row

VOCABULARY = 97
CONFIG = LearnerConfig(
    clip_low=0.1, clip_high=0.3, weight_decay=0.02, beta1=0.8, beta2=0.95, max_grad_norm=0.5
)
LENGTHS = [(20, (5, 9, 1)), (7, (3, 0, 4)), (30, (8, 8, 2)), (12, (1, 1, 1)), (9, (0, 0, 0))]
"""Tokens of prompt and responses, a row each."""

PlainLogits = Callable[[PreTrainedModel, tuple[int, ...], tuple[int, ...]], Tensor]


def batch_of(mini_batch: int, learning_rate: float = 3e-3, seed: int = 0) -> Batch:
    rng = Random(seed)

    def tokens(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(VOCABULARY) for _ in range(n))

    rows = tuple(
        Row(
            tokens(prompt),
            tuple(tokens(n) for n in responses),
            tuple(tuple(-rng.random() for _ in range(n)) for n in responses),
            tuple(rng.gauss(0, 1) for _ in responses),
        )
        for prompt, responses in LENGTHS
    )
    return Batch(rows, mini_batch, learning_rate, temperature=0.7)


def plain_logprobs(
    plain_logits: PlainLogits, model: PreTrainedModel, row: Row, temperature: float
) -> list[Tensor]:
    each = []
    for response in row.responses:
        logprobs = (plain_logits(model, row.prompt_ids, response) / temperature).log_softmax(-1)
        each.append(logprobs[range(len(response)), list(response)])
    return each


def plain_step(plain_logits: PlainLogits, model: PreTrainedModel, batch: Batch) -> None:
    """GRPO as it is written in a textbook: one row a response, AdamW, clipped gradients."""
    optimizer = torch.optim.AdamW(
        model.parameters(), batch.learning_rate, (CONFIG.beta1, CONFIG.beta2),
        weight_decay=CONFIG.weight_decay,
    )  # fmt: skip
    with torch.no_grad():
        old = [plain_logprobs(plain_logits, model, row, batch.temperature) for row in batch.rows]
    for first in range(0, len(batch.rows), batch.mini_batch):
        rows = batch.rows[first : first + batch.mini_batch]
        loss = sum(parameter.sum() for parameter in model.parameters()) * 0.0
        for row, before in zip(rows, old[first:], strict=False):
            now = plain_logprobs(plain_logits, model, row, batch.temperature)
            for new, was, advantage in zip(now, before, row.advantages, strict=True):
                if not len(new):
                    continue
                ratio = (new - was).exp()
                clipped = ratio.clamp(1 - CONFIG.clip_low, 1 + CONFIG.clip_high)
                surrogate = torch.minimum(ratio * advantage, clipped * advantage).mean()
                loss = loss - surrogate / len(now) / len(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()


def weights_of(learner: GrpoLearner) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in learner.weights()}


@pytest.mark.parametrize("policy", ["tied", "untied"])
@pytest.mark.parametrize("mini_batch", [5, 2, 1])
def test_a_step_is_the_plain_references(
    policies, plain_logits: PlainLogits, exactly, mini_batch: int, policy: str
) -> None:
    batch = batch_of(mini_batch)
    learner = GrpoLearner(policies[policy], "float64", CONFIG)
    plain = load_policy(policies[policy], "float64")
    exactly(learner.model)
    exactly(plain)
    before = weights_of(learner)
    learner.step(batch)
    plain_step(plain_logits, plain, batch)
    expected = plain.state_dict()
    for name, tensor in weights_of(learner).items():
        # AdamW's first updates are about the learning rate, whatever the gradient's size.
        moved = (expected[name] - before[name]).abs().max()
        assert moved > 1e-4, name
        assert (tensor - expected[name]).abs().max() < 1e-6 * moved + 1e-9, name


def test_activation_checkpointing_changes_nothing(policies) -> None:
    config = replace(CONFIG, activation_checkpointing=True)
    learners = [GrpoLearner(policies["tied"], "float32", each) for each in (CONFIG, config)]
    metrics = [learner.step(batch_of(2)) for learner in learners]
    assert metrics[0]["grad_norm"] == pytest.approx(metrics[1]["grad_norm"], rel=1e-6)
    first, second = (weights_of(learner) for learner in learners)
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def test_the_next_step_after_a_restore_is_the_same_to_the_bit(policies, tmp_path: Path) -> None:
    learner = GrpoLearner(policies["tied"], "float32", CONFIG)
    for seed in (1, 2):
        learner.step(batch_of(2, seed=seed))
    torch.save(learner.state(), tmp_path / "learner.pt")
    learner.step(batch_of(2, seed=3))
    drawn = torch.rand(3)

    fresh = GrpoLearner(policies["tied"], "float32", CONFIG)
    torch.manual_seed(99)
    fresh.restore(torch.load(tmp_path / "learner.pt", weights_only=True))
    fresh.step(batch_of(2, seed=3))
    assert torch.equal(drawn, torch.rand(3))
    expected, got = weights_of(learner), weights_of(fresh)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert fresh.model.lm_head.weight is fresh.model.model.embed_tokens.weight


@pytest.mark.parametrize(("policy", "head"), [("tied", False), ("untied", True)])
def test_weights_have_hugging_face_names_and_a_tied_head_once(
    policies, policy: str, head: bool
) -> None:
    learner = GrpoLearner(policies[policy], "float32", CONFIG)
    names = dict(learner.weights()).keys()
    assert ("lm_head.weight" in names) is head
    assert names == dict(load_policy(policies[policy], "float32").named_parameters()).keys()


def test_metrics_of_a_step(policies, plain_logits: PlainLogits) -> None:
    batch = batch_of(5, learning_rate=0.0)
    model = load_policy(policies["untied"], "float64")
    entropy, tokens, kl = 0.0, 0, 0.0
    for row in batch.rows:
        for response, engine in zip(row.responses, row.logprobs, strict=True):
            logits = plain_logits(model, row.prompt_ids, response) / batch.temperature
            logprobs = logits.log_softmax(-1)
            entropy -= (logprobs.exp() * logprobs).sum().item()
            for at, token, theirs in zip(logprobs, response, engine, strict=True):
                gap = at[token].item() - theirs
                kl += math.exp(gap) - 1 - gap
                tokens += 1
    metrics = GrpoLearner(policies["untied"], "float64", CONFIG).step(batch)
    assert metrics["entropy"] == pytest.approx(entropy / tokens, rel=1e-5)
    assert metrics["engine_learner_kl"] == pytest.approx(kl / tokens, rel=1e-5)
    assert metrics["clip_share"] == 0.0
    assert metrics["grad_norm"] > 0.0
    assert metrics["learner_tokens_per_s"] > 0.0


def test_engine_kl_is_of_what_top_p_leaves_and_sees_small_gaps() -> None:
    row = Row((1,), ((1, 2, 3),), ((-1.0, -2.0, -3.0),), (1.0,))
    logmass = torch.tensor([-0.05, 0.0, -0.1], dtype=torch.float64)
    gaps = torch.tensor([0.0, 1e-4, -0.5], dtype=torch.float64)
    logprobs = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64) + logmass + gaps
    kl = engine_kl(row, TokenStats(logprobs, logprobs, logmass)).double()
    expected = gaps.expm1() - gaps
    assert (kl >= 0).all()
    assert torch.allclose(kl, expected, rtol=1e-2, atol=1e-12)


def by_hand(ratio: float, advantage: float) -> tuple[float, bool]:
    """The clipped surrogate of one token with clips 0.1 and 0.3; whether the clip took it."""
    if advantage > 0 and ratio > 1.3:
        return 1.3 * advantage, True
    if advantage < 0 and ratio < 0.9:
        return 0.9 * advantage, True
    return ratio * advantage, False


def test_the_objective_by_hand_with_both_clips() -> None:
    ratios = [[0.5, 1.1, 2.0], [0.5, 2.0], [], [1.2]]
    advantages = [1.5, -0.7, 9.0, 0.0]
    total, clipped, clipping = 0.0, 0, []
    for of_response, advantage in zip(ratios, advantages, strict=True):
        tokens = [by_hand(ratio, advantage) for ratio in of_response]
        total += sum(value for value, _ in tokens) / max(len(tokens), 1) / len(ratios)
        clipped += sum(was for _, was in tokens)
        clipping += [was or not advantage for _, was in tokens]
    flat = torch.tensor([ratio for part in ratios for ratio in part], dtype=torch.float64)
    old = torch.full_like(flat, -2.0)
    logprobs = (old + flat.log()).requires_grad_()
    loss, metrics = grpo_loss(logprobs, old, advantages, [len(r) for r in ratios], 0.1, 0.3)
    loss.backward()
    assert loss.item() == pytest.approx(-total, rel=1e-12)
    assert clipped == 2
    assert metrics["clip_share"] == pytest.approx(clipped / 6)
    assert logprobs.grad is not None
    assert [grad == 0.0 for grad in logprobs.grad.tolist()] == clipping


def test_advantages() -> None:
    assert group_advantages([1.0, 0.0, 0.0, 1.0]) == (1.0, -1.0, -1.0, 1.0)
    assert group_advantages([0.0, 0.0, 1.0]) == pytest.approx((-(0.5**0.5), -(0.5**0.5), 2**0.5))
    assert group_advantages([0.3] * 8) == (0.0,) * 8
    assert group_advantages([0.1, 0.1, 0.1]) == (0.0,) * 3


def test_small_updates_of_a_bf16_policy_are_kept(policies: dict[str, str]) -> None:
    # In bf16 a weight of 0.1 has neighbours 5e-4 away: steps of 2e-6 would all round to nothing.
    learner = GrpoLearner(policies["tied"], "bfloat16", CONFIG)
    before = {name: weight.clone() for name, weight in learner.model.named_parameters()}
    for seed in range(5):
        learner.step(batch_of(mini_batch=len(LENGTHS), learning_rate=2e-6, seed=seed))
    after = dict(learner.model.named_parameters())
    still = [bool((after[name] == weight).all()) for name, weight in before.items()]
    assert not any(still)
    assert all(weight.dtype == torch.float32 for weight in after.values())
    assert all(tensor.dtype == torch.bfloat16 for _, tensor in learner.weights())


def test_a_group_without_variance_gives_no_gradient(policies: dict[str, str]) -> None:
    """It is passed through without a backward pass, so nothing may depend on that."""
    batch = batch_of(mini_batch=1)
    flat = replace(batch.rows[0], advantages=(0.0, 0.0, 0.0))
    learner = GrpoLearner(policies["tied"], "float32", CONFIG)
    alone = GrpoLearner(policies["tied"], "float32", CONFIG)
    with_flat = learner.step(replace(batch, rows=(flat, batch.rows[2]), mini_batch=2))
    row = replace(batch.rows[2], advantages=tuple(a / 2 for a in batch.rows[2].advantages))
    alone.step(replace(batch, rows=(row,)))
    for (name, ours), theirs in zip(
        learner.model.named_parameters(), alone.model.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6, msg=name)
    assert with_flat["entropy"] > 0
