"""The fused kernels of block attention: on the CPU one block a call, on a GPU all alike blocks.

``forward`` returns output [1, heads, T, head_dim] and log-sum-exp [1, heads, T] of the softmax over
a block's keys. ``backward`` takes output and log-sum-exp of the whole softmax, over all blocks, and
returns the block's share of the gradients of query, key and value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from qwenlong.learner.attention.layout import Block

CAUSAL_BLOCK = 256
"""Queries of one call in the backward pass of causal attention on the CPU; the fastest measured."""


def zeros_for_sum(x: Tensor) -> Tensor:
    """Zeros like ``x``, but at least fp32: in bf16 a sum of many shares would lose small ones."""
    return torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))


class Cpu:
    """The fused kernels behind SDPA on the CPU.

    PyTorch's public function returns no log-sum-exp, and copies keys and values for grouped
    queries. Here the KV heads are the batch dimension, and the query heads of a KV head read the
    same keys through ``expand``.
    """

    @staticmethod
    def _grouped(x: Tensor, kv_heads: int) -> Tensor:
        """[1, heads, T, …] as [kv_heads, heads per KV head, T, …]."""
        return x[0].unflatten(0, (kv_heads, -1))

    @classmethod
    def forward(
        cls, q: Tensor, k: Tensor, v: Tensor, block: Block, scale: float
    ) -> tuple[Tensor, Tensor]:
        kv_heads, repeats = k.shape[1], q.shape[1] // k.shape[1]
        k, v = (x[0, :, None].expand(-1, repeats, -1, -1) for x in (k, v))
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            cls._grouped(q, kv_heads), k, v, 0.0, block.causal, scale=scale
        )
        return out.flatten(0, 1)[None], lse.flatten(0, 1)[None]

    @classmethod
    def backward(
        cls, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, block: Block,
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Cuts a causal block into squares on the diagonal and full rectangles left of them.

        The kernel itself computes much of the masked half.
        """
        if not block.causal:
            return cls._backward(grad, q, k, v, out, lse, False, scale)
        grads = [zeros_for_sum(x) for x in (q, k, v)]
        for first in range(0, q.shape[2], CAUSAL_BLOCK):
            rows = slice(first, min(first + CAUSAL_BLOCK, q.shape[2]))
            for keys, masked in ((slice(0, first), False), (rows, True)):
                if keys.start == keys.stop:
                    continue
                shares = cls._backward(
                    grad[:, :, rows], q[:, :, rows], k[:, :, keys], v[:, :, keys],
                    out[:, :, rows], lse[:, :, rows], masked, scale,
                )  # fmt: skip
                for total, share, where in zip(grads, shares, (rows, keys, keys), strict=True):
                    total[:, :, where] += share
        return grads[0], grads[1], grads[2]

    @classmethod
    def _backward(
        cls, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
        causal: bool, scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        kv_heads, repeats = k.shape[1], q.shape[1] // k.shape[1]
        k, v = (x[0, :, None].expand(-1, repeats, -1, -1) for x in (k, v))
        grad, q, out, lse = (cls._grouped(x, kv_heads) for x in (grad, q, out, lse))
        of_q, of_k, of_v = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, lse, 0.0, causal, scale=scale
        )
        # Each query head gave its own gradient of the keys and values that they share.
        return of_q.flatten(0, 1)[None], of_k.sum(1)[None], of_v.sum(1)[None]


@dataclass(frozen=True)
class Segments:
    """Blocks that one varlen call computes, their tokens one block after another."""

    queries: Tensor
    """Indices into the packed sequence, like ``keys``. No index comes twice in either."""
    keys: Tensor
    query_ends: Tensor
    """int32 [blocks + 1], from 0: where each block's queries end; ``key_ends`` likewise."""
    key_ends: Tensor
    longest_queries: int
    longest_keys: int
    causal: bool


def segments(blocks: Sequence[Block], device: str) -> list[Segments]:
    """The blocks as at most two calls: all causal ones, and all responses over their prompts."""
    found = []
    for causal in (True, False):
        alike = [block for block in blocks if block.causal == causal]
        if alike:
            q, q_ends, longest_q = _joined([block.queries for block in alike], device)
            k, k_ends, longest_k = _joined([block.keys for block in alike], device)
            found.append(Segments(q, k, q_ends, k_ends, longest_q, longest_k, causal))
    return found


def _joined(slices: Sequence[slice], device: str) -> tuple[Tensor, Tensor, int]:
    """Indices, ends and longest length of the slices, one after another."""
    lengths = [each.stop - each.start for each in slices]
    index = torch.cat([torch.arange(each.start, each.stop) for each in slices])
    ends = torch.tensor([*accumulate(lengths, initial=0)], dtype=torch.int32)
    return index.to(device), ends.to(device), max(lengths)


class Flash:
    """flash-attn's varlen kernels (Dao, arXiv 2307.08691), on [T, heads, head_dim]."""

    @staticmethod
    def _flat(x: Tensor) -> Tensor:
        return x[0].transpose(0, 1).contiguous()

    @staticmethod
    def _back(x: Tensor) -> Tensor:
        return x.transpose(0, 1)[None]

    @classmethod
    def forward(
        cls, q: Tensor, k: Tensor, v: Tensor, block: Segments, scale: float
    ) -> tuple[Tensor, Tensor]:
        from flash_attn.flash_attn_interface import _wrapped_flash_attn_varlen_forward

        out, lse, *_ = _wrapped_flash_attn_varlen_forward(
            *map(cls._flat, (q, k, v)), block.query_ends, block.key_ends, block.longest_queries,
            block.longest_keys, 0.0, scale, causal=block.causal,
        )  # fmt: skip
        return cls._back(out), lse[None]

    @classmethod
    def backward(
        cls, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
        block: Segments, scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        from flash_attn.flash_attn_interface import _wrapped_flash_attn_varlen_backward

        grad, q, k, v, out = map(cls._flat, (grad, q, k, v, out))
        grads = [torch.empty_like(x) for x in (q, k, v)]
        _wrapped_flash_attn_varlen_backward(
            grad, q, k, v, out, lse[0].contiguous(), *grads, block.query_ends, block.key_ends,
            block.longest_queries, block.longest_keys, 0.0, scale, block.causal,
            window_size_left=-1, window_size_right=-1, softcap=0.0, alibi_slopes=None,
            deterministic=False,
        )  # fmt: skip
        of_q, of_k, of_v = map(cls._back, grads)
        return of_q, of_k, of_v
