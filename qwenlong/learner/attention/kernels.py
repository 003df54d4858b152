"""The fused kernels behind attention in parts: one part a call on the CPU, all alike on a GPU.

Each has ``forward``, giving output and log-sum-exp, and ``backward``, which takes both of the
whole softmax and gives a part's share of the gradients; all tensors [1, heads, T, head_dim].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from qwenlong.learner.attention.layout import Block

CAUSAL_BLOCK = 256
"""Queries at once of causal attention's backward pass on the CPU; measured fastest there."""


def zeros_to_add_to(x: Tensor) -> Tensor:
    """Zeros in fp32 at least: many shares are added up in them."""
    return torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))


class Cpu:
    """The fused kernels behind SDPA on the CPU; grouped heads read their keys without a copy."""

    @staticmethod
    def _grouped(x: Tensor, kv_heads: int) -> Tensor:
        """[1, heads, T, …] as [kv_heads, heads per KV head, T, …]."""
        return x[0].unflatten(0, (kv_heads, -1))

    @classmethod
    def forward(
        cls, q: Tensor, k: Tensor, v: Tensor, part: Block, scale: float
    ) -> tuple[Tensor, Tensor]:
        kv_heads, repeats = k.shape[1], q.shape[1] // k.shape[1]
        k, v = (x[0, :, None].expand(-1, repeats, -1, -1) for x in (k, v))
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            cls._grouped(q, kv_heads), k, v, 0.0, part.causal, scale=scale
        )
        return out.flatten(0, 1)[None], lse.flatten(0, 1)[None]

    @classmethod
    def backward(
        cls, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, part: Block,
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Causal attention goes in blocks of queries: the kernel itself skips too little."""
        if not part.causal:
            return cls._backward(grad, q, k, v, out, lse, False, scale)
        grads = [zeros_to_add_to(x) for x in (q, k, v)]
        for first in range(0, q.shape[2], CAUSAL_BLOCK):
            block = slice(first, min(first + CAUSAL_BLOCK, q.shape[2]))
            for keys, masked in ((slice(0, first), False), (block, True)):
                if keys.start == keys.stop:
                    continue
                shares = cls._backward(
                    grad[:, :, block], q[:, :, block], k[:, :, keys], v[:, :, keys],
                    out[:, :, block], lse[:, :, block], masked, scale,
                )  # fmt: skip
                for total, share, place in zip(grads, shares, (block, keys, keys), strict=True):
                    total[:, :, place] += share
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
        return of_q.flatten(0, 1)[None], of_k.sum(1)[None], of_v.sum(1)[None]


@dataclass(frozen=True)
class Segments:
    """Parts that one varlen call computes: tokens taken from the row, part after part."""

    queries: Tensor
    """Index into the row; so are ``keys``. Nothing stands twice in either."""
    keys: Tensor
    query_ends: Tensor
    """int32 [parts + 1], from 0: where each part ends; so are ``key_ends``."""
    key_ends: Tensor
    longest_queries: int
    longest_keys: int
    causal: bool


def segments(parts: Sequence[Block], device: str) -> list[Segments]:
    """The parts as two calls at most: all causal ones, and all responses over their prompts."""
    found = []
    for causal in (True, False):
        alike = [part for part in parts if part.causal == causal]
        if alike:
            queries, keys = ([getattr(p, x) for p in alike] for x in ("queries", "keys"))
            q, q_ends, longest_q = _joined(queries, device)
            k, k_ends, longest_k = _joined(keys, device)
            found.append(Segments(q, k, q_ends, k_ends, longest_q, longest_k, causal))
    return found


def _joined(places: Sequence[slice], device: str) -> tuple[Tensor, Tensor, int]:
    lengths = [place.stop - place.start for place in places]
    index = torch.cat([torch.arange(place.start, place.stop) for place in places])
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
        cls, q: Tensor, k: Tensor, v: Tensor, part: Segments, scale: float
    ) -> tuple[Tensor, Tensor]:
        from flash_attn.flash_attn_interface import _wrapped_flash_attn_varlen_forward

        out, lse, *_ = _wrapped_flash_attn_varlen_forward(
            *map(cls._flat, (q, k, v)), part.query_ends, part.key_ends, part.longest_queries,
            part.longest_keys, 0.0, scale, causal=part.causal,
        )  # fmt: skip
        return cls._back(out), lse[None]

    @classmethod
    def backward(
        cls, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
        part: Segments, scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        from flash_attn.flash_attn_interface import _wrapped_flash_attn_varlen_backward

        grad, q, k, v, out = map(cls._flat, (grad, q, k, v, out))
        grads = [torch.empty_like(x) for x in (q, k, v)]
        _wrapped_flash_attn_varlen_backward(
            grad, q, k, v, out, lse[0].contiguous(), *grads, part.query_ends, part.key_ends,
            part.longest_queries, part.longest_keys, 0.0, scale, part.causal,
            window_size_left=-1, window_size_right=-1, softcap=0.0, alibi_slopes=None,
            deterministic=False,
        )  # fmt: skip
        of_q, of_k, of_v = map(cls._back, grads)
        return of_q, of_k, of_v
