"""A prompt computed once for its group gives what one row a response gives."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch

from qwenlong.config import LearnerConfig
from qwenlong.learner.attention import Layout
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.logprobs import token_stats
from qwenlong.learner.loss import grpo_loss
from qwenlong.model.policy import load_policy, stretch
from qwenlong.types import Rope, Row

NATIVE = Rope(theta=10_000.0, window=64)
YARN = replace(NATIVE, factor=4.0)
VOCABULARY = 97
TEMPERATURE = 0.7
LENGTHS = {
    "unequal": (40, (9, 3, 17, 5)),
    "one token and none": (23, (1, 0, 12, 1)),
    "a prompt of one token": (1, (4, 2)),
    "empty ends": (30, (0, 7, 0)),
}
"""Tokens of prompt and responses."""


def row_of(prompt: int, responses: tuple[int, ...], seed: int = 0) -> Row:
    rng = Random(seed)

    def tokens(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(VOCABULARY) for _ in range(n))

    return Row(
        prompt_ids=tokens(prompt),
        responses=tuple(tokens(n) for n in responses),
        logprobs=tuple((-1.0,) * n for n in responses),
        advantages=tuple(rng.gauss(0, 1) for _ in responses),
    )


def test_layout_by_hand() -> None:
    layout = Layout(prompt=3, responses=(2, 0, 1))
    assert layout.positions().tolist() == [[0, 1, 2, 3, 4, 3]]
    assert layout.predictors().tolist() == [2, 3, 2]
    assert layout.response_mask().int().tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 1],
    ]


@pytest.mark.parametrize("rope", [NATIVE, YARN], ids=["native", "YaRN"])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("policy", ["tied", "untied"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-9)])
def test_logprobs_and_gradients_are_those_of_one_row_a_response(
    policies,
    plain_logits,
    exactly,
    policy: str,
    lengths: str,
    rope: Rope,
    dtype: str,
    tolerance: float,
) -> None:
    prompt, responses = LENGTHS[lengths]
    # On YaRN the row goes beyond the native window, where a native RoPE would do otherwise.
    row = row_of(prompt + 60 * (rope is YARN), responses)
    learner = GrpoLearner(policies[policy], dtype, LearnerConfig())
    learner.stretch(rope)
    if dtype == "float64":
        exactly(learner.model)
    stats = learner.stats(row, TEMPERATURE, top_p=1.0)
    old = stats.logprobs.detach() + 0.3 * torch.randn(
        len(stats.logprobs), generator=torch.Generator().manual_seed(1), dtype=stats.logprobs.dtype
    )
    loss, _ = grpo_loss(stats.logprobs, old, row.advantages, responses, 0.2, 0.2)
    loss.backward()

    plain = load_policy(policies[policy], dtype)
    stretch(plain, rope)
    if dtype == "float64":
        exactly(plain)
    each = []
    for response in row.responses:
        logits = plain_logits(plain, row.prompt_ids, response) / TEMPERATURE
        each.append(logits.log_softmax(-1).gather(-1, torch.tensor(response).long()[:, None])[:, 0])
    expected = torch.zeros((), dtype=each[0].dtype)
    befores = old.split(list(responses))
    for logprobs, before, advantage in zip(each, befores, row.advantages, strict=True):
        ratio = (logprobs - before).exp()
        clipped = ratio.clamp(0.8, 1.2)
        surrogate = torch.minimum(ratio * advantage, clipped * advantage)
        expected = expected - surrogate.sum() / max(len(logprobs), 1) / len(each)
    expected.backward()

    assert stats.logprobs.dtype == each[0].dtype
    assert torch.allclose(stats.logprobs, torch.cat(each), rtol=tolerance, atol=tolerance)
    assert loss.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    ours, theirs = (dict(model.named_parameters()) for model in (learner.model, plain))
    assert ours.keys() == theirs.keys()
    for name, parameter in theirs.items():
        assert parameter.grad is not None and ours[name].grad is not None, name
        gap = (ours[name].grad - parameter.grad).norm() / parameter.grad.norm()
        assert gap < tolerance, f"{name}: {gap:.2e}"


def test_a_response_sees_no_other(policies) -> None:
    learner = GrpoLearner(policies["tied"], "float32", LearnerConfig())
    row = row_of(20, (6, 8, 4))
    other = replace(row, responses=(row.responses[0], row_of(1, (8,), 9).responses[0], (5,) * 4))
    first, second = (learner.stats(each, 1.0, 1.0).logprobs for each in (row, other))
    assert torch.equal(first[:6], second[:6])
    assert not torch.allclose(first[6:], second[6:])


def test_yarn_is_not_the_native_rope(policies) -> None:
    learner = GrpoLearner(policies["tied"], "float32", LearnerConfig())
    row = row_of(100, (6, 8))
    native = learner.stats(row, 1.0, 1.0).logprobs
    learner.stretch(YARN)
    stretched = learner.stats(row, 1.0, 1.0).logprobs
    learner.stretch(NATIVE)
    assert (native - stretched).abs().max() > 1e-3
    assert torch.equal(native, learner.stats(row, 1.0, 1.0).logprobs)


@pytest.mark.parametrize("chunk", [1, 7, 33, 34, 1000])
def test_chunk_size_changes_nothing(policies, chunk: int) -> None:
    row = row_of(15, (20, 0, 14))
    whole = GrpoLearner(policies["untied"], "float64", LearnerConfig(logprob_chunk=10_000))
    chunked = GrpoLearner(policies["untied"], "float64", LearnerConfig(logprob_chunk=chunk))
    for learner in (whole, chunked):
        learner.stats(row, TEMPERATURE, 1.0).logprobs.square().mean().backward()
    expected, got = (learner.stats(row, TEMPERATURE, 0.9) for learner in (whole, chunked))
    assert torch.allclose(got.logprobs, expected.logprobs, rtol=1e-6)
    assert torch.allclose(got.entropy, expected.entropy, rtol=1e-6)
    assert torch.allclose(got.nucleus_logmass, expected.nucleus_logmass, rtol=1e-6)
    for ours, theirs in zip(chunked.model.parameters(), whole.model.parameters(), strict=True):
        assert (ours.grad - theirs.grad).norm() <= 1e-6 * theirs.grad.norm()


@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.95, 1.0])
def test_entropy_and_nucleus_mass_are_the_direct_sums(top_p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    head = torch.randn(VOCABULARY, 8, generator=generator, dtype=torch.float64)
    tokens = torch.randint(VOCABULARY, (50,), generator=generator)
    stats = token_stats(hidden, head, tokens, TEMPERATURE, top_p, chunk=16)
    for r, probs in enumerate((hidden @ head.T / TEMPERATURE).softmax(-1)):
        assert stats.logprobs[r].item() == pytest.approx(probs[tokens[r]].log().item(), rel=1e-5)
        entropy = sum(-p * p.log() for p in probs)
        assert stats.entropy[r].item() == pytest.approx(float(entropy), rel=1e-5)
        mass = 0.0
        # The nucleus: the fewest likeliest tokens whose probabilities reach top_p.
        for p in sorted(probs.tolist(), reverse=True):
            mass += p
            if mass >= top_p:
                break
        assert stats.nucleus_logmass[r].exp().item() == pytest.approx(mass, rel=1e-5)
