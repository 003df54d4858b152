"""One packed sequence over several processes: DeepSpeed Ulysses (Jacobs et al., arXiv 2309.14509).

Of n sequence ranks each holds every n-th token with all heads. Only attention mixes tokens, so
around it the ranks exchange tokens for heads: each then attends over all tokens with 1/n of the
heads. Everything else needs no communication.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad

from qwenlong.learner.attention.merge import Attend
from qwenlong.learner.distributed.mesh import Mesh


def own_tokens(sequence: Tensor, mesh: Mesh) -> Tensor:
    """Every n-th token [1, T/n] of a sequence [1, T], padded so that all ranks have as many.

    Strided, not in blocks: that spreads prompts and responses evenly over the ranks, and with the
    response tokens the work of the vocabulary head.
    """
    missing = -sequence.shape[1] % mesh.sequence_ranks
    return pad(sequence, (0, missing))[:, mesh.sequence_rank :: mesh.sequence_ranks]


def sharded_attention(attend: Attend, mesh: Mesh, tokens: int) -> Attend:
    """``attend`` for queries, keys and values [1, heads, T/n, head_dim] spread over the ranks.

    Args:
        attend: attention over whole sequences.
        tokens: T, without padding.
    """
    n, group = mesh.sequence_ranks, mesh.sequence_group
    if n == 1:
        return attend

    def sharded(query: Tensor, key: Tensor, value: Tensor, scale: float, last: bool) -> Tensor:
        heads, kv_heads = query.shape[1], key.shape[1]
        # KV heads are repeated until n ranks can share them; grouped queries still find theirs.
        repeats = math.lcm(n, kv_heads) // kv_heads
        key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
        q, k, v = (_tokens_for_heads(x, n, group)[:, :, :tokens] for x in (query, key, value))
        out = attend(q, k, v, scale, last)
        padded = pad(out, (0, 0, 0, query.shape[2] * n - tokens))
        return _heads_for_tokens(padded, n, group, heads)

    return sharded


def gathered(values: Tensor, own: Tensor, mesh: Mesh) -> Tensor:
    """Values [R] of all ranks, from this rank's; ``own`` [R] marks which are this rank's.

    Every rank then computes the same loss and takes the gradient of its own values alone.
    """
    return _Gather.apply(values, own, mesh.sequence_group) if mesh.sequence_ranks > 1 else values


def _tokens_for_heads(x: Tensor, n: int, group: Any) -> Tensor:
    """[1, heads, T/n, d] with every n-th token to [1, heads/n, T, d] with all tokens."""
    _, heads, short, dim = x.shape
    blocks = x.reshape(n, heads // n, short, dim)
    blocks = _Exchange.apply(blocks, group)
    return blocks.permute(1, 2, 0, 3).reshape(1, heads // n, short * n, dim)


def _heads_for_tokens(x: Tensor, n: int, group: Any, heads: int) -> Tensor:
    """[1, heads/n, T, d] with all tokens to [1, heads, T/n, d] with every n-th token."""
    _, some, tokens, dim = x.shape
    blocks = x.reshape(some, tokens // n, n, dim).permute(2, 0, 1, 3)
    return _Exchange.apply(blocks, group).reshape(1, heads, tokens // n, dim)


class _Exchange(torch.autograd.Function):
    """Sends block i of dimension 0 to rank i; the backward pass sends its gradient back."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, group: Any) -> Tensor:
        ctx.group = group
        blocks = blocks.contiguous()
        out = torch.empty_like(blocks)
        dist.all_to_all_single(out, blocks, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Exchange.apply(grad, ctx.group), None


class _Gather(torch.autograd.Function):
    """Its gradient is not summed over the ranks: each computes the same loss, not a share of it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, own: Tensor, group: Any) -> Tensor:
        ctx.save_for_backward(own)
        out = values.new_zeros(len(own))
        out[own] = values
        dist.all_reduce(out, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (own,) = ctx.saved_tensors
        return grad[own], None, None
