"""Statistics of sampled tokens, in chunks of logits, against direct sums and autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qwenlong.learner.logprobs import token_stats

VOCABULARY = 97
TEMPERATURE = 0.7
CHUNKS = [1, 7, 33, 34, 1000, None]


def drawn(tokens: int, width: int = 8, vocabulary: int = VOCABULARY) -> tuple[Tensor, ...]:
    """Hidden states, head, and what was sampled: the last tokens what the first ones were."""
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, width, generator=generator, dtype=torch.float64)
    head = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    sampled = torch.randint(vocabulary, (tokens,), generator=generator)
    return hidden.requires_grad_(), head.requires_grad_(), sampled


@pytest.mark.parametrize("chunk", CHUNKS)
def test_logprobs_and_gradients_in_any_chunks_are_those_of_log_softmax(chunk: int | None) -> None:
    hidden, head, sampled = drawn(34)
    weights = torch.randn(34, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    stats = token_stats(hidden, head, sampled, TEMPERATURE, 1.0, chunk)
    got = torch.autograd.grad((stats.logprobs * weights).sum(), (hidden, head))
    logprobs = (hidden @ head.T / TEMPERATURE).log_softmax(-1)[range(34), sampled]
    expected = torch.autograd.grad((logprobs * weights).sum(), (hidden, head))
    torch.testing.assert_close(stats.logprobs, logprobs, rtol=1e-12, atol=0)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunk_size_changes_no_statistic(chunk: int | None) -> None:
    hidden, head, sampled = drawn(34)
    whole = token_stats(hidden, head, sampled, TEMPERATURE, 0.9, chunk=34)
    got = token_stats(hidden, head, sampled, TEMPERATURE, 0.9, chunk)
    for name in ("logprobs", "entropy", "nucleus_logmass"):
        ours, theirs = getattr(got, name), getattr(whole, name)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14, msg=name)


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_gradients_are_finite_differences(chunk: int) -> None:
    hidden, head, sampled = drawn(7, width=3, vocabulary=5)

    def logprobs(hidden: Tensor, head: Tensor) -> Tensor:
        return token_stats(hidden, head, sampled, TEMPERATURE, 1.0, chunk).logprobs

    assert torch.autograd.gradcheck(logprobs, (hidden, head))


def test_only_logprobs_carry_a_gradient() -> None:
    hidden, head, sampled = drawn(5)
    stats = token_stats(hidden, head, sampled, TEMPERATURE, 0.9)
    assert stats.logprobs.requires_grad
    assert not stats.entropy.requires_grad and not stats.nucleus_logmass.requires_grad


@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.95, 1.0])
def test_entropy_and_nucleus_mass_are_the_direct_sums(top_p: float) -> None:
    hidden, head, sampled = (x.detach() for x in drawn(50))
    stats = token_stats(hidden, head, sampled, TEMPERATURE, top_p, chunk=16)
    for r, probs in enumerate((hidden @ head.T / TEMPERATURE).softmax(-1)):
        entropy = sum(-p * p.log() for p in probs)
        assert stats.entropy[r].item() == pytest.approx(float(entropy), rel=1e-12)
        mass = 0.0
        # The nucleus: the fewest likeliest tokens whose probabilities reach top_p.
        for p in sorted(probs.tolist(), reverse=True):
            mass += p
            if mass >= top_p:
                break
        assert stats.nucleus_logmass[r].exp().item() == pytest.approx(mass, rel=1e-12)


def test_no_tokens_have_no_statistics_and_no_gradient() -> None:
    hidden, head, sampled = drawn(0)
    stats = token_stats(hidden, head, sampled, TEMPERATURE, 0.9)
    assert [len(x) for x in (stats.logprobs, stats.entropy, stats.nucleus_logmass)] == [0, 0, 0]
    stats.logprobs.sum().backward()
    assert hidden.grad is not None and hidden.grad.shape == hidden.shape
    assert head.grad is not None and not head.grad.any()


def test_a_bf16_hidden_state_and_an_fp32_head() -> None:
    """Logits are of bf16 factors, all after them is in fp32; the head's gradient is fp32."""
    hidden, head, sampled = drawn(34)
    low = hidden.detach().bfloat16().requires_grad_()
    master = head.detach().float().requires_grad_()
    stats = token_stats(low, master, sampled, TEMPERATURE, 0.9, chunk=7)
    assert {x.dtype for x in (stats.logprobs, stats.entropy, stats.nucleus_logmass)} == {
        torch.float32
    }
    stats.logprobs.mean().backward()
    logprobs = (hidden @ head.T / TEMPERATURE).log_softmax(-1)[range(34), sampled]
    logprobs.mean().backward()
    torch.testing.assert_close(stats.logprobs.double(), logprobs, rtol=0.05, atol=0.05)
    assert low.grad is not None and low.grad.dtype == torch.bfloat16
    assert master.grad is not None and master.grad.dtype == torch.float32
    for ours, theirs in ((low.grad, hidden.grad), (master.grad, head.grad)):
        assert theirs is not None
        assert (ours.double() - theirs).norm() < 0.02 * theirs.norm()


def test_the_gradient_of_an_fp32_head_is_added_up_in_fp32() -> None:
    """In bf16 a sum does not grow any more by what is a thousandth of it."""
    hidden = torch.ones(1000, 2, dtype=torch.bfloat16)
    head = torch.zeros(4, 2, requires_grad=True)
    sampled = torch.ones(1000, dtype=torch.long)
    token_stats(hidden, head, sampled, 1.0, 1.0, chunk=1).logprobs.sum().backward()
    assert head.grad is not None
    assert head.grad[:, 0].tolist() == [-250.0, 750.0, -250.0, -250.0]
