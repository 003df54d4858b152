"""The objective, as a pure function of log-probabilities and advantages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grpo_loss(
    logprobs_R: Tensor,
    old_logprobs_R: Tensor,
    advantages_G: Sequence[float],
    lengths_G: Sequence[int],
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, dict[str, float]]:
    """GRPO of one group (DeepSeekMath, arXiv 2402.03300, eq. 3), without the KL term.

    The clipped surrogate is averaged over the tokens of each response, then over the G responses;
    an empty response counts as zero. As in QwenLong-L1 there is no KL to a reference policy.

    Args:
        logprobs_R: of the G responses' tokens one after another, by the policy that is trained.
        old_logprobs_R: the same tokens by the policy as it was at the step's beginning.
        lengths_G: tokens of each response; they add up to R.

    Returns:
        The loss, and ``clip_share``: the share of tokens whose gradient the clip removed.
    """
    device = logprobs_R.device
    lengths = torch.tensor(lengths_G, device=device)
    advantages = torch.tensor(advantages_G, device=device, dtype=logprobs_R.dtype)
    advantages_R = advantages.repeat_interleave(lengths)
    ratio = (logprobs_R - old_logprobs_R).exp()
    plain = ratio * advantages_R
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high) * advantages_R
    per_token = torch.minimum(plain, clipped)
    share = 1 / (lengths.clamp(min=1) * len(lengths_G)).to(logprobs_R.dtype)
    weight = share.repeat_interleave(lengths)
    clip_share = (clipped < plain).float().mean().item() if len(plain) else 0.0
    return -(per_token * weight).sum(), {"clip_share": clip_share}
