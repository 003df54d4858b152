"""Attention over packed groups: each prompt computed once for all of its responses.

Registered with transformers' attention registry, so the model code stays as it is. A backend
makes, from a row's layout, the function ``attend`` that all layers of a forward pass share.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from qwenlong.learner.layout import Layout, Part

SHARED_PROMPT = "qwenlong_shared_prompt"
CAUSAL_BLOCK = 256
"""Queries at once of causal attention's backward pass on the CPU; measured fastest there."""
Attend = Callable[[Tensor, Tensor, Tensor, float, bool], Tensor]
"""Query [1, heads, T, head_dim], key and value [1, kv_heads, T, head_dim], the scale of the
scores, and whether this is the last layer, where only what predicts response tokens is read;
returns [1, heads, T, head_dim]; rows that nobody reads may hold anything finite."""


def shared_prompt_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    attend: Attend,
    **_: object,
) -> tuple[Tensor, None]:
    """What transformers calls; ``attend`` reaches it through the model's keyword arguments."""
    # Under autocast the norms leave query and key in fp32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    last_layer = module.layer_idx == module.config.num_hidden_layers - 1
    out = attend(query, key, value, scaling, last_layer)
    return out.transpose(1, 2), None


AttentionInterface.register(SHARED_PROMPT, shared_prompt_attention)


def backend_for(name: str, device: str, dtype: torch.dtype) -> Callable[[Layout], Attend]:
    """The backend of that name; ``auto`` takes the fastest for the device and the dtype.

    Raises:
        ValueError: a backend that is not there or cannot work on these.
    """
    half = dtype in (torch.bfloat16, torch.float16)
    if name == "auto":
        on_gpu = "flash" if half and find_spec("flash_attn") else "flex"
        name = "sdpa" if device == "cpu" else on_gpu
    if name == "flash" and not find_spec("flash_attn"):
        raise ValueError("learner.attention=flash: flash-attn is not installed; take flex or sdpa")
    if name == "flash" and not half:
        raise ValueError(f"learner.attention=flash: takes bfloat16, not {dtype}; take flex or sdpa")
    if name in ("flex", "flash") and device == "cpu":
        raise ValueError(f"learner.attention={name}: trains on a GPU only; take sdpa on the CPU")
    return lambda layout: BACKENDS[name](layout, device)


def sdpa(layout: Layout, device: str) -> Attend:
    """PyTorch's fused CPU kernel over the layout's parts; elsewhere plain SDPA calls."""
    if device != "cpu":
        return plain(layout, device)
    return _in_parts(layout, _CPU)


def plain(layout: Layout, device: str) -> Attend:
    """One call a prompt and one a response, over prompt and response: no kernel of our own."""

    def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, _last: bool) -> Tensor:
        def call(queries: slice, keys: list[slice]) -> Tensor:
            k, v = (torch.cat([x[:, :, s] for s in keys], dim=2) for x in (key, value))
            q = query[:, :, queries]
            if len(keys) == 1:
                return scaled_dot_product_attention(
                    q, k, v, is_causal=True, scale=scale, enable_gqa=True
                )
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
            mask = mask.tril(k.shape[2] - q.shape[2])
            return scaled_dot_product_attention(
                q, k, v, attn_mask=mask, scale=scale, enable_gqa=True
            )

        outs = []
        for (prompt, responses), (start, begins) in zip(
            layout.groups, layout.starts(), strict=True
        ):
            own = slice(start, start + prompt)
            outs.append(call(own, [own]))
            for begin, n in zip(begins, responses, strict=True):
                itself = slice(begin, begin + n)
                outs.append(call(itself, [own, itself]))
        return torch.cat(outs, dim=2)

    return attend


def flex(layout: Layout, device: str) -> Attend:
    """FlexAttention: one kernel that skips the blocks of the mask that nobody sees."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    group, response = (owner.to(device) for owner in layout.owners())

    def sees(_b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        related = (response[key] == 0) | (response[key] == response[query])
        return (query >= key) & (group[query] == group[key]) & related

    # Compiled, neither the mask nor the scores ever stand whole.
    compiled = _compiled if device != "cpu" else lambda function: function
    make: Any = compiled(create_block_mask)
    kernel: Any = compiled(flex_attention)
    mask = make(sees, None, None, layout.tokens, layout.tokens, device=device)

    def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, _last: bool) -> Tensor:
        return kernel(query, key, value, block_mask=mask, scale=scale, enable_gqa=True)

    return attend


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)


def flash(layout: Layout, device: str) -> Attend:
    """flash-attn (Dao, arXiv 2307.08691) over the layout's parts."""
    return _in_parts(layout, _FLASH)


BACKENDS: dict[str, Callable[[Layout, str], Attend]] = {"sdpa": sdpa, "flex": flex, "flash": flash}


def _in_parts(layout: Layout, kernel: Any) -> Attend:
    parts, parts_last = layout.parts(), layout.parts(last_layer=True)

    def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, last: bool) -> Tensor:
        return _Merged.apply(query, key, value, parts_last if last else parts, scale, kernel)

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
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: list[Part], scale: float,
        kernel: Any,
    ) -> Tensor:  # fmt: skip
        out = torch.zeros_like(query)
        lse = query.new_empty(query.shape[:3], dtype=torch.promote_types(query.dtype, torch.float))
        written = 0
        for part in parts:
            q, k, v = _taken(part, query, key, value)
            new, new_lse = kernel.forward(q, k, v, part.causal, scale)
            where = part.queries
            if where.stop <= written:  # the prompt's share is there already
                both = torch.logaddexp(lse[:, :, where], new_lse)
                old = out[:, :, where] * (lse[:, :, where] - both).exp()[..., None]
                new = old + new * (new_lse - both).exp()[..., None]
                new_lse = both
            out[:, :, where], lse[:, :, where] = new, new_lse
            written = max(written, where.stop)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.parts, ctx.scale, ctx.kernel = parts, scale, kernel
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        grads = [_total(x) for x in (query, key, value)]
        for part in ctx.parts:
            q, k, v = _taken(part, query, key, value)
            where = part.queries
            partial = ctx.kernel.backward(
                grad[:, :, where], q, k, v, out[:, :, where], lse[:, :, where], part.causal,
                ctx.scale,
            )  # fmt: skip
            for total, share, place in zip(
                grads, partial, (where, part.keys, part.keys), strict=True
            ):
                total[:, :, place] += share
        return *(grad.to(query.dtype) for grad in grads), None, None, None


def _total(x: Tensor) -> Tensor:
    """Zeros in fp32 at least: many shares are added up in them."""
    return torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))


def _taken(part: Part, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return query[:, :, part.queries], key[:, :, part.keys], value[:, :, part.keys]


class _CPU:
    """The fused kernels behind SDPA on the CPU; grouped heads read their keys without a copy."""

    @staticmethod
    def _grouped(x: Tensor, kv_heads: int) -> Tensor:
        """[1, heads, T, …] as [kv_heads, heads per KV head, T, …]."""
        return x[0].unflatten(0, (kv_heads, -1))

    @classmethod
    def forward(
        cls, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor]:
        kv_heads, repeats = k.shape[1], q.shape[1] // k.shape[1]
        k, v = (x[0, :, None].expand(-1, repeats, -1, -1) for x in (k, v))
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            cls._grouped(q, kv_heads), k, v, 0.0, causal, scale=scale
        )
        return out.flatten(0, 1)[None], lse.flatten(0, 1)[None]

    @classmethod
    def backward(
        cls, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
        causal: bool, scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Causal attention goes in blocks of queries: the kernel itself skips too little."""
        if not causal:
            return cls._backward(grad, q, k, v, out, lse, False, scale)
        grads = [_total(x) for x in (q, k, v)]
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


class _FLASH:
    """flash-attn's own kernels, [1, T, heads, head_dim]."""

    @staticmethod
    def forward(
        q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor]:
        from flash_attn.flash_attn_interface import _wrapped_flash_attn_forward

        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out, lse, *_ = _wrapped_flash_attn_forward(
            q, k, v, 0.0, scale, causal=causal, window_size_left=-1, window_size_right=-1,
            softcap=0.0, alibi_slopes=None, return_softmax=False,
        )  # fmt: skip
        return out.transpose(1, 2), lse

    @staticmethod
    def backward(
        grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool,
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        from flash_attn.flash_attn_interface import _wrapped_flash_attn_backward

        grad, q, k, v, out = (x.transpose(1, 2).contiguous() for x in (grad, q, k, v, out))
        grads = [torch.empty_like(x) for x in (q, k, v)]
        _wrapped_flash_attn_backward(
            grad, q, k, v, out, lse.contiguous(), *grads, 0.0, scale, causal=causal,
            window_size_left=-1, window_size_right=-1, softcap=0.0, alibi_slopes=None,
            deterministic=False,
        )  # fmt: skip
        of_q, of_k, of_v = (x.transpose(1, 2) for x in grads)
        return of_q, of_k, of_v
