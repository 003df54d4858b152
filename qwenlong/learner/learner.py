"""The RL learner: rollout batches in, optimizer updates done, metrics out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from qwenlong.config import LearnerConfig
from qwenlong.learner.distributed.mesh import Mesh, sum_over_data_ranks, whole
from qwenlong.learner.distributed.storage import StoredTensors, TensorShard
from qwenlong.learner.logprobs import TokenStats
from qwenlong.learner.lora import holding, merged_tensors
from qwenlong.learner.metrics import EngineKl, engine_kl, engine_logprobs, step_summary
from qwenlong.learner.micro_batches import MicroBatch, check_batch, micro_batches_of
from qwenlong.learner.objectives import Responses, Totals, find_objective, objective_loss
from qwenlong.learner.packed_policy import PackedPolicy, open_policy
from qwenlong.model.pretrained import check_policy, hub_tensors, save_policy, stretch
from qwenlong.types import Batch, Rope, Row, RowFigures


class GrpoLearner:
    """Holds the trained weights and their AdamW state; see ``types.Learner``.

    A bf16 policy has fp32 weights and optimizer here and computes under autocast: an update of
    bf16 weights at a learning rate of 1e-6 would mostly round to nothing.

    Args:
        mesh: this process's place among the learner's processes; each gets the same batches.
    """

    def __init__(
        self, path: str, dtype: str, config: LearnerConfig, mesh: Mesh | None = None
    ) -> None:
        self.path, self.config, self.mesh = path, config, mesh or Mesh()
        check_policy(path, config.sequence_ranks)
        mesh = self.mesh
        if (mesh.data_ranks, mesh.sequence_ranks) != (config.data_ranks, config.sequence_ranks):
            raise ValueError(
                f"learner.data_ranks={config.data_ranks}, learner.sequence_ranks="
                f"{config.sequence_ranks}: the mesh has {mesh.data_ranks} and"
                f" {mesh.sequence_ranks}"
            )
        self.dtype = getattr(torch, dtype)
        self.objective = find_objective(config.objective)
        self.policy = open_policy(path, self.dtype, config, self.mesh, trained=True)
        self.reference: PackedPolicy | None = None
        self.reference_adapters: dict[str, Tensor] = {}
        self.parameters = {
            name: each for name, each in self.model.named_parameters() if each.requires_grad
        }
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        )
        self.engine_kl = EngineKl(())

    @property
    def model(self) -> Any:
        return self.policy.model

    def step(self, batch: Batch) -> dict[str, float]:
        """Trains once on every row, ``batch.mini_batch`` rows an optimizer update.

        An update whose rows have no gradient at all, all their groups being flat, moves nothing.
        One beyond ``batch.limits`` is left out on all processes alike, and counted: weights and
        optimizer stay as they were before it.

        Returns:
            Means over the step's response tokens (nats), the KL's over those it is taken off, and
            over its updates; tokens a second count a shared prompt once.

        Raises:
            ValueError: rows whose parts do not fit together, or one beyond learner.max_tokens.
        """
        check_batch(batch)
        started = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = batch.learning_rate
        updates = [
            batch.rows[first : first + batch.mini_batch]
            for first in range(0, len(batch.rows), batch.mini_batch)
        ]
        budget = self.config.max_tokens
        works = [micro_batches_of(rows, self._compared, budget, self.mesh) for rows in updates]
        self.engine_kl = EngineKl(batch.rows)
        before = [[self._before(work, batch, len(updates)) for work in each] for each in works]
        # One update alone has no forward pass before its own.
        apart = len(updates) > 1 and self._apart(batch)
        sums: dict[str, float] = {}
        norms, left_out = [], 0
        for rows, each, befores in zip(updates, works, before, strict=True):
            totals = self._totals(rows, batch)
            loss = 0.0
            for work, (old, reference) in zip(each, befores, strict=True):
                figures = self._backward(work, batch, totals, old, reference)
                loss += figures["loss"] * work.counts
                for name, value in figures.items():
                    sums[name] = sums.get(name, 0.0) + value * work.counts
            if len(updates) == 1:
                apart = self._apart(batch)
            norm, moved = self._update(batch, loss, apart)
            norms.append(norm)
            left_out += not moved
        seconds = time.perf_counter() - started
        totals = torch.tensor(list(sums.values()), dtype=torch.float64)
        sums = dict(zip(sums, sum_over_data_ranks(totals, self.mesh).tolist(), strict=True))
        return step_summary(sums, norms, left_out, batch, seconds)

    def row_figures(self) -> list[RowFigures]:
        """Of the last step's rows; every process has to be asked."""
        return self.engine_kl.by_row(self.mesh)

    def _compared(self, row: Row) -> bool:
        return any(row.advantages) or (
            self.config.kl_coefficient > 0 and not self.objective.drops_flat_groups
        )

    def _totals(self, rows: Sequence[Row], batch: Batch) -> Totals:
        """The normalisers, over all of an update's rows on all processes."""
        kept = [row for row in rows if any(row.advantages) or not self.objective.drops_flat_groups]
        lengths = [len(ids) for row in kept for ids in row.responses]
        return Totals(responses=len(lengths), tokens=sum(lengths), limit=batch.response_limit)

    @torch.no_grad()
    def _before(
        self, work: MicroBatch, batch: Batch, updates: int
    ) -> tuple[TokenStats | None, Tensor | None]:
        """What the update of this work needs of the policies before it: the old, the reference.

        With one update a batch the old policy is the one that is trained.
        """
        stats, reference = None, None
        if updates > 1:
            stats = self.policy(work.pieces, batch.temperature, batch.top_p)
            if work.counts:
                gap = engine_kl(stats, engine_logprobs(work.pieces, stats))
                self.engine_kl.record(work.pieces, gap, before_updates=True)
        if self.config.kl_coefficient and work.trained:
            reference = self._reference_logprobs(work, batch)
        return stats, reference

    def _reference_logprobs(self, work: MicroBatch, batch: Batch) -> Tensor:
        if self.reference_adapters:
            with holding(self.parameters, self.reference_adapters):
                return self.policy(work.pieces, batch.temperature, 1.0).logprobs
        if self.reference is None:
            raise RuntimeError("keep_reference() comes before a step with learner.kl_coefficient")
        return self.reference(work.pieces, batch.temperature, 1.0).logprobs

    def _backward(
        self,
        work: MicroBatch,
        batch: Batch,
        totals: Totals,
        old: TokenStats | None,
        reference: Tensor | None,
    ) -> dict[str, float]:
        """Forward, and backward where the work is trained; returns sums over its tokens."""
        with torch.set_grad_enabled(work.trained):
            stats = self.policy(work.pieces, batch.temperature, batch.top_p)
        start = old or stats
        lengths = [len(ids) for piece in work.pieces for ids in piece.responses]
        engine_logprobs_R = engine_logprobs(work.pieces, stats)
        fresh = [
            not piece.row.stale for piece in work.pieces for ids in piece.responses for _ in ids
        ]
        # Another version of the policy differs from the engine's for a good reason.
        gap = engine_kl(start, engine_logprobs_R)
        kl = gap[torch.tensor(fresh, dtype=torch.bool)]
        if work.counts:
            now = gap if old is None else engine_kl(stats, engine_logprobs_R)
            self.engine_kl.record(work.pieces, now, before_updates=old is None)
        config = self.config
        loss, metrics = objective_loss(
            self.objective,
            Responses(
                logprobs_R=stats.logprobs,
                old_logprobs_R=start.logprobs.detach(),
                advantages_N=stats.logprobs.new_tensor(
                    [x for piece in work.pieces for x in piece.advantages]
                ),
                lengths_N=torch.tensor(lengths, device=stats.logprobs.device),
                engine_logprobs_R=engine_logprobs_R,
                nucleus_logmass_R=start.nucleus_logmass,
                reference_logprobs_R=reference,
            ),
            totals,
            self.objective.clip_low if config.clip_low is None else config.clip_low,
            self.objective.clip_high if config.clip_high is None else config.clip_high,
            config.kl_coefficient if work.trained else 0.0,
            config.importance_cap,
            config.mask_ratio,
        )
        if work.trained:
            (loss * work.counts).backward()
        return {
            **metrics,
            "loss": loss.item(),
            "tokens": len(fresh),
            "trained_tokens": len(fresh) * work.trained,
            "entropy": start.entropy.sum().item(),
            "fresh_tokens": sum(fresh),
            "engine_learner_kl": kl.sum().item(),
        }

    def _apart(self, batch: Batch) -> bool:
        """Whether engine and learner are further apart than the batch may have them."""
        limit = batch.limits.engine_kl
        return math.isfinite(limit) and self.engine_kl.mean(self.mesh) > limit

    def _update(self, batch: Batch, loss: float, apart: bool) -> tuple[float, bool]:
        """One optimizer step, unless it is to be left out.

        Returns:
            The norm of the gradient before it is clipped, and whether the optimizer moved.
        """
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm)
        norm_now, moves = whole(norm).item(), not apart
        if batch.limits.finite:
            of_all = sum_over_data_ranks(torch.tensor(loss, dtype=torch.float64), self.mesh).item()
            moves = moves and math.isfinite(norm_now) and math.isfinite(of_all)
        if moves:
            self.optimizer.step()
        self.optimizer.zero_grad()
        return norm_now, moves

    def stretch(self, rope: Rope) -> None:
        for policy in filter(None, (self.policy, self.reference)):
            stretch(policy.model, rope)

    def keep_reference(self) -> None:
        """Takes the weights as they are for the KL's reference; its RoPE is the next stretch's."""
        if not self.config.kl_coefficient:
            return
        if self.config.lora_rank:
            self.reference_adapters = {n: p.detach().clone() for n, p in self.parameters.items()}
        else:
            self.reference = open_policy(
                self.path, self.dtype, self.config, self.mesh, trained=False
            )
            held = dict(self.reference.model.named_parameters())
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    held[name].copy_(parameter)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Whole tensors of the policy's dtype in Hugging Face names, one at a time."""
        for name, tensor in merged_tensors(self.model):
            yield from hub_tensors(name, tensor.to(self.dtype))

    def save_policy(self, folder: Path, write: bool = True) -> None:
        """For transformers and vLLM; every process gathers, those that ``write`` keep."""
        tensors = merged_tensors(self.model)
        kept = [(name, each.cpu()) for name, each in tensors if write]
        if write:
            save_policy(self.model, kept, self.dtype, folder)

    def state(self) -> dict[str, TensorShard]:
        """Copies of what this process holds: with the others', all that ``restore`` needs.

        What is not sharded is the first process's to keep, but for the random generator's state.
        """
        tensors = {f"model/{name}": each for name, each in self.parameters.items()}
        for name, parameter in self.parameters.items():
            for key, each in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{key}/{name}"] = each
        tensors |= {f"reference/{name}": each for name, each in self._reference().items()}
        rank = self.mesh.rank
        pieces = {
            name: TensorShard.of(each)
            for name, each in tensors.items()
            if rank == 0 or isinstance(each, DTensor)
        }
        return {**pieces, f"random/{rank}": TensorShard.of(torch.get_rng_state())}

    def restore(self, stored: StoredTensors) -> None:
        """Takes what any number of processes have written of their ``state``.

        Raises:
            InputError: it is another policy's.
        """
        stored.fill("model", self.parameters)
        self.optimizer.state.clear()
        for full in stored.names("optimizer"):
            key, name = full.split("/", 1)
            parameter = self.parameters[name]
            self.optimizer.state[parameter][key] = stored.like(f"optimizer/{full}", parameter)
        if stored.names("reference"):
            self.keep_reference()
            stored.fill("reference", self._reference())
        rank = self.mesh.rank
        same = stored.processes == self.config.processes
        torch.set_rng_state(stored.whole(f"random/{rank if same else 0}"))

    def _reference(self) -> dict[str, Tensor]:
        if self.reference:
            return dict(self.reference.model.named_parameters())
        return self.reference_adapters
