"""What a step is told by: the gap between engine and learner, and its sums made means."""

from __future__ import annotations

import math

from torch import Tensor

from qwenlong.learner.layout import MicroBatch
from qwenlong.learner.logprobs import TokenStats
from qwenlong.types import Batch

MEANS = {"clipped": "clip_share", "masked": "masked_share", "truncated": "truncated_weight_share"}
"""What a sum over tokens is called when it is divided by them."""


def engine_logprobs(pieces: MicroBatch, stats: TokenStats) -> Tensor:
    """[R], as long as the log-probabilities of ``stats``."""
    each = [x for piece in pieces for each in piece.logprobs for x in each]
    return stats.logprobs.new_tensor(each)


def engine_kl(stats: TokenStats, engine_logprobs_R: Tensor) -> Tensor:
    """KL between engine and learner, estimated at each sampled token [R], in nats.

    The engine samples, so with d = log p_learner - log p_engine the unbiased, non-negative
    estimate of KL(engine || learner) is exp(d) - 1 - d (Schulman, "Approximating KL divergence").
    The engine's top-p renormalises its probabilities, which the learner's nucleus mass undoes.
    """
    gap = stats.logprobs.detach() - stats.nucleus_logmass - engine_logprobs_R
    gap = gap.double()  # exp(d) - 1 - d of a tiny d is all cancellation in fp32
    return gap.expm1() - gap


def step_summary(
    sums: dict[str, float], norms: list[float], left_out: int, batch: Batch, seconds: float
) -> dict[str, float]:
    tokens = max(sums.pop("tokens"), 1)
    trained_tokens = max(sums.pop("trained_tokens"), 1)
    fresh_tokens = max(sums.pop("fresh_tokens"), 1)
    loss = sums.pop("loss") / len(norms)
    row_tokens = sum(len(row.prompt_ids) + sum(map(len, row.responses)) for row in batch.rows)
    summary = {MEANS.get(name, name): value / tokens for name, value in sums.items()}
    summary["engine_learner_kl"] = sums["engine_learner_kl"] / fresh_tokens
    if "kl" in sums:
        summary["kl"] = sums["kl"] / trained_tokens
    return {
        "loss": loss,
        **summary,
        "grad_norm": math.fsum(norms) / len(norms),
        "updates_left_out": left_out,
        "learner_tokens_per_s": row_tokens / seconds,
    }
