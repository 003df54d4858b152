"""Attention computed block by block, and the blocks merged by their log-sum-exp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qwenlong.learner.attention.kernels import zeros_to_add_to

Attend = Callable[[Tensor, Tensor, Tensor, float, bool], Tensor]
"""Query [1, heads, T, head_dim], key and value [1, kv_heads, T, head_dim], the scale of the
scores, and whether this is the last layer, where only what predicts response tokens is read;
returns [1, heads, T, head_dim]; rows that nobody reads may hold anything finite."""


def merging(whole: Sequence[Any], last_layer: Sequence[Any], kernel: Any) -> Attend:
    def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, last: bool) -> Tensor:
        return _Merged.apply(query, key, value, last_layer if last else whole, scale, kernel)

    return attend


class _Merged(torch.autograd.Function):
    """Attention in parts whose results are merged by their log-sum-exp.

    A query of two parts (its prompt; its response so far) has in each the softmax over that
    part's keys alone; weighted with exp(lse of the part - lse of both) they add up to the
    softmax over both (Milakov and Gimelshein, arXiv 1805.02867). Going back, a flash kernel that
    is given the merged output and log-sum-exp yields each part's share of the true gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Any], scale: float,
        kernel: Any,
    ) -> Tensor:  # fmt: skip
        out = torch.zeros_like(query)
        lse = query.new_full(
            query.shape[:3], -torch.inf, dtype=torch.promote_types(query.dtype, torch.float)
        )
        for part in parts:
            where = part.queries
            q, k, v = query[:, :, where], key[:, :, part.keys], value[:, :, part.keys]
            new, new_lse = kernel.forward(q, k, v, part, scale)
            both = torch.logaddexp(lse[:, :, where], new_lse)
            old = out[:, :, where] * (lse[:, :, where] - both).exp()[..., None]
            out[:, :, where] = (old + new * (new_lse - both).exp()[..., None]).to(out.dtype)
            lse[:, :, where] = both
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.parts, ctx.scale, ctx.kernel = parts, scale, kernel
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        grads = [zeros_to_add_to(x) for x in (query, key, value)]
        for part in ctx.parts:
            where = part.queries
            shares = ctx.kernel.backward(
                grad[:, :, where], query[:, :, where], key[:, :, part.keys],
                value[:, :, part.keys], out[:, :, where], lse[:, :, where], part, ctx.scale,
            )  # fmt: skip
            for total, share, place in zip(
                grads, shares, (where, part.keys, part.keys), strict=True
            ):
                total[:, :, place] += share
        return *(grad.to(query.dtype) for grad in grads), None, None, None
