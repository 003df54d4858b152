"""The learner's step metrics: the gap between engine and learner, and sums reduced to means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qwenlong.learner.distributed.mesh import Mesh, sum_over_data_ranks
from qwenlong.learner.logprobs import TokenStats
from qwenlong.learner.micro_batches import Slices, joined
from qwenlong.types import Batch, Row, RowMetrics

MEANS = {"clipped": "clip_share", "masked": "masked_share", "truncated": "truncated_weight_share"}
"""The name of a metric's mean over tokens, where it differs from the name of its sum."""


def engine_logprobs(slices: Slices, stats: TokenStats) -> Tensor:
    """The engine's log-probabilities [R], in the dtype and on the device of ``stats``."""
    each = [of_response for part in slices for of_response in part.logprobs]
    return joined(each, stats.logprobs.dtype).to(stats.logprobs.device)


def engine_kl(stats: TokenStats, engine_logprobs_R: Tensor) -> Tensor:
    """KL between engine and learner, estimated at each sampled token [R], in nats.

    The engine samples, so with d = log p_learner - log p_engine the unbiased, non-negative
    estimate of KL(engine || learner) is exp(d) - 1 - d (Schulman, "Approximating KL divergence").
    The engine's top-p renormalises its probabilities over the nucleus; subtracting the learner's
    nucleus mass renormalises the learner's in the same way.
    """
    gap = stats.logprobs.detach() - stats.nucleus_logmass - engine_logprobs_R
    gap = gap.double()  # exp(d) - 1 - d of a tiny d is all cancellation in fp32
    return gap.expm1() - gap


class EngineKl:
    """Collects a batch's engine-learner KL by row, on this process.

    Values stay on the device until they are summed: a transfer after each micro-batch would make
    the GPU wait.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._recorded: list[tuple[Slices, Tensor, bool]] = []

    def record(self, slices: Slices, kl_R: Tensor, before_updates: bool) -> None:
        """Adds each token's KL [R], in nats.

        Args:
            before_updates: computed with the weights from before the batch's first update. Only
                these count in the means; the others are checked for numbers that are not finite.
        """
        self._recorded.append((slices, kl_R, before_updates))

    def mean(self, mesh: Mesh) -> float:
        """Nats a token over all rows that are not stale. A collective: every process calls it."""
        kl, tokens, _ = self._sums(mesh).sum(0).tolist()
        return kl / max(tokens, 1.0)

    def by_row(self, mesh: Mesh) -> list[RowMetrics]:
        """One entry a row, in the batch's order. A collective: every process calls it."""
        return [
            RowMetrics(engine_kl=kl / max(tokens, 1.0), finite=odd == 0)
            for kl, tokens, odd in self._sums(mesh).tolist()
        ]

    def _sums(self, mesh: Mesh) -> Tensor:
        """KL, tokens and tokens whose KL is not finite [rows, 3], over all processes."""
        sums = {id(row): [0.0, 0.0, 0.0] for row in self.rows}
        for slices, kl_R, before_updates in self._recorded:
            kls = kl_R.split([sum(map(len, part.responses)) for part in slices])
            for part, kl in zip(slices, kls, strict=True):
                of_row = sums[id(part.row)]
                if before_updates and not part.row.stale:
                    of_row[0] += kl.sum().item()
                    of_row[1] += len(kl)
                # After every update: weights that have blown up show only then.
                of_row[2] += (~torch.isfinite(kl)).sum().item()
        each = [sums[id(row)] for row in self.rows]
        return sum_over_data_ranks(torch.tensor(each, dtype=torch.float64), mesh)


def step_summary(
    sums: dict[str, float], norms: list[float], left_out: int, batch: Batch, seconds: float
) -> dict[str, float]:
    """The metrics of one step.

    Args:
        sums: over all of the step's tokens; ``loss`` over its updates.
        norms: the gradient norm of each update.
        left_out: updates that the optimizer did not make.
    """
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
