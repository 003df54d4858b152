"""Log-probabilities of the response tokens, in chunks, so that logits never stand whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qwenlong.learner.linear import product

CHUNK_LOGITS = 2**25
"""Logits held at once: 128 MiB in fp32, whatever the vocabulary."""


@dataclass(frozen=True)
class TokenStats:
    """One value a response token, each [R], in nats."""

    logprobs: Tensor
    """Of the sampled tokens, at the sampling temperature; carries the gradient."""
    entropy: Tensor
    nucleus_logmass: Tensor
    """Log of the probability that top-p keeps: what the engine's logprobs are renormalised by."""
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
    """Logits of ``chunk`` tokens are held at a time and made anew in the backward pass.

    The head may be the fp32 master of a policy whose hidden states are bf16.
    """
    chunk = chunk or max(1, CHUNK_LOGITS // len(head_VD))
    return TokenStats(*_Chunked.apply(hidden_RD, head_VD, tokens_R, temperature, top_p, chunk))


class _Chunked(torch.autograd.Function):
    """Written out, since autograd would keep several tensors of the logits' size for each chunk."""

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
            logprobs = logits.sub_(norm[:, None])
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
        of_hidden = torch.empty_like(hidden)
        of_head = torch.zeros_like(head) if ctx.needs_input_grad[1] else None
        weight = head.to(hidden.dtype)
        for first in range(0, len(hidden), ctx.chunk):
            some = slice(first, first + ctx.chunk)
            scaled = grad[some, None] / ctx.temperature
            logits = _logits(hidden[some], weight, ctx.temperature)
            of_logits = logits.sub_(norm[some, None]).exp_().mul_(-scaled)
            of_logits.scatter_add_(-1, tokens[some, None], scaled.to(of_logits.dtype))
            of_logits = of_logits.to(hidden.dtype)
            of_hidden[some] = of_logits @ weight
            if of_head is None:
                continue
            if of_head.dtype == hidden.dtype:
                of_head.addmm_(of_logits.T, hidden[some])
            else:
                of_head += of_logits.T @ hidden[some]
        return of_hidden, of_head, None, None, None, None


def _logits(hidden: Tensor, head: Tensor, temperature: float) -> Tensor:
    """[chunk, V], in fp32 at least."""
    logits = product(hidden, head)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).div_(temperature)


def _nucleus_logmass(probs: Tensor, top_p: float) -> Tensor:
    if top_p == 1.0:
        return probs.new_zeros(len(probs))
    descending = probs.sort(dim=-1, descending=True).values
    before = descending.cumsum(-1) - descending
    return (descending * (before < top_p)).sum(-1).log()
