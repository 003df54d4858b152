"""Attention computed block by block, and the blocks merged by their log-sum-exp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qwenlong.learner.attention.kernels import zeros_for_sum

Attend = Callable[[Tensor, Tensor, Tensor, float, bool], Tensor]
"""What all layers of a forward pass share. Takes query [1, heads, T, head_dim], key and value
[1, kv_heads, T, head_dim], the scale of the scores, and whether this is the last layer, where only
the outputs that predict response tokens are read. Returns [1, heads, T, head_dim]; outputs that
are not read may hold any finite value."""


def block_attention(blocks: Sequence[Any], last_layer: Sequence[Any], kernel: Any) -> Attend:
    """Attention over ``blocks``, and over ``last_layer``'s blocks in the last layer.

    Args:
        kernel: ``kernels.Cpu`` with ``layout.Block``, or ``kernels.Flash`` with ``Segments``.
    """

    def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, last: bool) -> Tensor:
        return _Merged.apply(query, key, value, last_layer if last else blocks, scale, kernel)

    return attend


class _Merged(torch.autograd.Function):
    """Merges the softmax over several blocks of keys into the softmax over all of them.

    A response's query has two blocks, its prompt and the response up to itself. Each block gives
    the softmax over its own keys and their log-sum-exp; weighted with exp(lse of the block - lse
    of both), the outputs add up to the softmax over both (online softmax: Milakov and Gimelshein,
    arXiv 1805.02867).

    The backward pass needs no merging. A flash kernel recomputes the probabilities of a block from
    the log-sum-exp that it is given; given the merged one, it finds those of the whole softmax and
    returns the block's share of the true gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: Sequence[Any], scale: float,
        kernel: Any,
    ) -> Tensor:  # fmt: skip
        out = torch.zeros_like(query)
        lse = query.new_full(
            query.shape[:3], -torch.inf, dtype=torch.promote_types(query.dtype, torch.float)
        )
        for block in blocks:
            rows, keys = block.queries, block.keys
            new, new_lse = kernel.forward(
                query[:, :, rows], key[:, :, keys], value[:, :, keys], block, scale
            )
            both = torch.logaddexp(lse[:, :, rows], new_lse)
            old = out[:, :, rows] * (lse[:, :, rows] - both).exp()[..., None]
            out[:, :, rows] = (old + new * (new_lse - both).exp()[..., None]).to(out.dtype)
            lse[:, :, rows] = both
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.blocks, ctx.scale, ctx.kernel = blocks, scale, kernel
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        grads = [zeros_for_sum(x) for x in (query, key, value)]
        for block in ctx.blocks:
            rows, keys = block.queries, block.keys
            shares = ctx.kernel.backward(
                grad[:, :, rows], query[:, :, rows], key[:, :, keys], value[:, :, keys],
                out[:, :, rows], lse[:, :, rows], block, ctx.scale,
            )  # fmt: skip
            for total, share, where in zip(grads, shares, (rows, keys, keys), strict=True):
                total[:, :, where] += share
        return *(grad.to(query.dtype) for grad in grads), None, None, None
