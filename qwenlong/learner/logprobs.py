"""Log-probabilities of the response tokens, computed in chunks.

The logits of 100,000 tokens over a vocabulary of 152,000 would take 60 GB in fp32, and autograd
would keep several tensors of that size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qwenlong.learner.linear import product

CHUNK_LOGITS = 2**25
"""Logits in memory at once: 128 MiB in fp32, whatever the vocabulary."""


@dataclass(frozen=True)
class TokenStats:
    """One value for each response token, each [R], in nats."""

    logprobs: Tensor
    """Of the sampled tokens, at the sampling temperature; carries the gradient."""
    entropy: Tensor
    nucleus_logmass: Tensor
    """Log of the probability that top-p keeps. The engine renormalises its logprobs by its own."""
    most_likely: Tensor
    """1 where no other token was more likely than the sampled one, else 0."""


def token_stats(
    hidden_RD: Tensor,
    head_VD: Tensor,
    tokens_R: Tensor,
    temperature: float,
    top_p: float,
    chunk: int | None = None,
) -> TokenStats:
    """Statistics of the sampled tokens; the backward pass computes the logits again.

    Args:
        hidden_RD: the hidden states that predict the tokens.
        head_VD: the vocabulary head; fp32 even if the hidden states are bf16.
        chunk: tokens whose logits are in memory at a time.
    """
    chunk = chunk or max(1, CHUNK_LOGITS // len(head_VD))
    return TokenStats(*_Chunked.apply(hidden_RD, head_VD, tokens_R, temperature, top_p, chunk))


class _Chunked(torch.autograd.Function):
    """Keeps one number a token for the backward pass, the log-sum-exp of its logits."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, tokens: Tensor, temperature: float, top_p: float,
        chunk: int,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        found: list[tuple[Tensor, ...]] = []
        weight = head.to(hidden.dtype)
        for some, sampled in zip(hidden.split(chunk), tokens.split(chunk), strict=True):
            logits = _logits(some, weight, temperature)
            norm = logits.logsumexp(-1)
            logprobs = logits.sub_(norm[:, None])  # in place: a second [chunk, V] costs as much
            largest = logprobs.amax(-1)
            probs = logprobs.exp()
            entropy = -torch.linalg.vecdot(probs, logprobs)
            chosen = logprobs.gather(-1, sampled[:, None])[:, 0]
            logmass = _nucleus_logmass(probs, top_p)
            found.append((chosen, entropy, logmass, (chosen >= largest).to(chosen.dtype), norm))
        *stats, norm = (torch.cat(each) for each in zip(*found, strict=True))
        ctx.save_for_backward(hidden, head, tokens, norm)
        ctx.temperature, ctx.chunk = temperature, chunk
        ctx.mark_non_differentiable(*stats[1:])
        return tuple(stats)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """d logprob / d logit_v = ([v was sampled] - p_v) / temperature."""
        hidden, head, tokens, norm = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_head = torch.zeros_like(head) if ctx.needs_input_grad[1] else None
        weight = head.to(hidden.dtype)
        for first in range(0, len(hidden), ctx.chunk):
            some = slice(first, first + ctx.chunk)
            scaled = grad[some, None] / ctx.temperature
            logits = _logits(hidden[some], weight, ctx.temperature)
            grad_logits = logits.sub_(norm[some, None]).exp_().mul_(-scaled)
            grad_logits.scatter_add_(-1, tokens[some, None], scaled.to(grad_logits.dtype))
            grad_logits = grad_logits.to(hidden.dtype)
            grad_hidden[some] = grad_logits @ weight
            if grad_head is None:
                continue
            if grad_head.dtype == hidden.dtype:
                grad_head.addmm_(grad_logits.T, hidden[some])
            else:  # bf16 products, added up in the head's fp32
                grad_head += grad_logits.T @ hidden[some]
        return grad_hidden, grad_head, None, None, None, None


def _logits(hidden: Tensor, head: Tensor, temperature: float) -> Tensor:
    """[chunk, V], at least in fp32."""
    logits = product(hidden, head)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).div_(temperature)


def _nucleus_logmass(probs: Tensor, top_p: float) -> Tensor:
    """Log of the mass [chunk] of the fewest tokens that have probability ``top_p`` together."""
    if top_p == 1.0:
        return probs.new_zeros(len(probs))
    descending = probs.sort(dim=-1, descending=True).values
    before = descending.cumsum(-1) - descending  # a token is kept if those before it are too few
    return (descending * (before < top_p)).sum(-1).log()
