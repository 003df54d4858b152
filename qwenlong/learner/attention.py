"""Attention over a group packed as one row: the prompt once, its G responses after it.

The row reads ``prompt | response 1 | … | response G``; every response's positions go on from the
prompt's end, and each response sees the prompt and itself. Registered with transformers'
attention registry, so the model code stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

SHARED_PROMPT = "qwenlong_shared_prompt"


@dataclass(frozen=True)
class Layout:
    """Where prompt and responses lie in a row, in tokens."""

    prompt: int
    responses: tuple[int, ...]

    def positions(self) -> Tensor:
        """Position ids [1, T] of the row."""
        parts = [torch.arange(self.prompt)]
        parts += [torch.arange(self.prompt, self.prompt + n) for n in self.responses]
        return torch.cat(parts)[None]

    def response_mask(self) -> Tensor:
        """Which keys [T] each response token [R] sees: the prompt, and itself so far."""
        owner = torch.repeat_interleave(
            torch.arange(len(self.responses)), torch.tensor(self.responses)
        )
        own = (owner[:, None] == owner[None, :]).tril()
        return torch.cat([own.new_ones(len(owner), self.prompt), own], dim=1)

    def predictors(self) -> Tensor:
        """Index [R] of the row's token whose hidden state predicts each response token.

        The first token of every response is predicted by the prompt's last token.
        """
        index, start = [], self.prompt
        for n in self.responses:
            index += [self.prompt - 1, *range(start, start + n - 1)][:n]
            start += n
        return torch.tensor(index, dtype=torch.long)


def shared_prompt_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    response_mask: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Two SDPA calls: the prompt causally over itself, the responses over prompt and themselves.

    Args:
        query: [1, heads, T, head_dim]; key and value: [1, kv_heads, T, head_dim].
        response_mask: ``layout.response_mask()``, made once a row and shared by all layers.

    Returns:
        [1, T, heads, head_dim]
    """
    assert layout is not None
    prompt = layout.prompt
    repeats = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    of_prompt = scaled_dot_product_attention(
        query[:, :, :prompt],
        key[:, :, :prompt],
        value[:, :, :prompt],
        is_causal=True,
        scale=scaling,
    )
    of_responses = scaled_dot_product_attention(
        query[:, :, prompt:], key, value, attn_mask=response_mask, scale=scaling
    )
    return torch.cat([of_prompt, of_responses], dim=2).transpose(1, 2), None


AttentionInterface.register(SHARED_PROMPT, shared_prompt_attention)
