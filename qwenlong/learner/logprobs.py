"""Log-probabilities of the response tokens, in chunks, so that logits never stand whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class TokenStats:
    """One value a response token, each [R], in nats."""

    logprobs: Tensor
    """Of the sampled tokens, at the sampling temperature; carries the gradient."""
    entropy: Tensor
    nucleus_logmass: Tensor
    """Log of the probability that top-p keeps: what the engine's logprobs are renormalised by."""


def token_stats(
    hidden_RD: Tensor,
    head_VD: Tensor,
    tokens_R: Tensor,
    temperature: float,
    top_p: float,
    chunk: int,
) -> TokenStats:
    """Logits of ``chunk`` tokens are held at a time and made anew in the backward pass."""
    parts = [
        checkpoint(_chunk_stats, hidden, head_VD, tokens, temperature, top_p, use_reentrant=False)
        for hidden, tokens in zip(hidden_RD.split(chunk), tokens_R.split(chunk), strict=True)
    ]
    logprobs, entropy, logmass = (torch.cat(part) for part in zip(*parts, strict=True))
    return TokenStats(logprobs, entropy, logmass)


def _chunk_stats(
    hidden: Tensor, head: Tensor, tokens: Tensor, temperature: float, top_p: float
) -> tuple[Tensor, Tensor, Tensor]:
    logits = hidden @ head.T
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    logprobs = logits.log_softmax(-1)
    with torch.no_grad():
        probs = logprobs.exp()
        entropy = -(probs * logprobs).sum(-1)
        if top_p < 1.0:
            descending = probs.sort(dim=-1, descending=True).values
            before = descending.cumsum(-1) - descending
            logmass = (descending * (before < top_p)).sum(-1).log()
        else:
            logmass = torch.zeros_like(entropy)
    return logprobs.gather(-1, tokens[:, None])[:, 0], entropy, logmass
