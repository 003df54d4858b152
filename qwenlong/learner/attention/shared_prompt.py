"""Attention over packed groups, each prompt computed once for all of its responses.

It is registered with transformers' attention registry, so the model code stays as it is. A backend
makes, from a sequence's layout, the function ``attend`` that all layers of a forward pass share.
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

from qwenlong.learner.attention.kernels import Cpu, Flash, segments
from qwenlong.learner.attention.layout import Layout
from qwenlong.learner.attention.merge import Attend, block_attention

SHARED_PROMPT = "qwenlong_shared_prompt"


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
    """What transformers calls in each layer; model.forward's keyword arguments carry ``attend``."""
    # Under autocast the norms leave query and key in fp32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    last_layer = module.layer_idx == module.config.num_hidden_layers - 1
    out = attend(query, key, value, scaling, last_layer)
    return out.transpose(1, 2), None


AttentionInterface.register(SHARED_PROMPT, shared_prompt_attention)


def backend_for(name: str, device: str, dtype: torch.dtype) -> Callable[[Layout], Attend]:
    """The backend of that name; ``auto`` takes the fastest for the device and the dtype.

    Raises:
        ValueError: the backend is not installed, or does not take this device or dtype.
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
    """PyTorch's fused CPU kernel, block by block; on other devices plain SDPA calls."""
    if device != "cpu":
        return plain(layout, device)
    return block_attention(layout.blocks(), layout.blocks(last_layer=True), Cpu)


def plain(layout: Layout, device: str) -> Attend:
    """One SDPA call for each prompt and each response, which sees prompt and response with a mask.

    The reference that the other backends are tested against.
    """

    def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, _last: bool) -> Tensor:
        def call(queries: slice, keys: list[slice]) -> Tensor:
            k, v = (torch.cat([x[:, :, s] for s in keys], dim=2) for x in (key, value))
            q = query[:, :, queries]
            if len(keys) == 1:
                return scaled_dot_product_attention(
                    q, k, v, is_causal=True, scale=scale, enable_gqa=True
                )
            # is_causal would align the first query with the first key; here the last ones are.
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
            mask = mask.tril(k.shape[2] - q.shape[2])
            return scaled_dot_product_attention(
                q, k, v, attn_mask=mask, scale=scale, enable_gqa=True
            )

        outs = []
        for (prompt, responses), (start, starts) in zip(
            layout.groups, layout.starts(), strict=True
        ):
            own = slice(start, start + prompt)
            outs.append(call(own, [own]))
            for first, n in zip(starts, responses, strict=True):
                itself = slice(first, first + n)
                outs.append(call(itself, [own, itself]))
        return torch.cat(outs, dim=2)

    return attend


def flex(layout: Layout, device: str) -> Attend:
    """FlexAttention: one kernel that skips the blocks in which everything is masked."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    group, response = (owner.to(device) for owner in layout.owners())

    def sees(_b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        related = (response[key] == 0) | (response[key] == response[query])
        return (query >= key) & (group[query] == group[key]) & related

    # Not compiled, both would build the whole [T, T] matrix.
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
    """flash-attn: all blocks in two varlen calls a layer, causal ones and others."""
    return block_attention(
        segments(layout.blocks(), device), segments(layout.blocks(last_layer=True), device), Flash
    )


BACKENDS: dict[str, Callable[[Layout, str], Attend]] = {"sdpa": sdpa, "flex": flex, "flash": flash}
