"""The RL learner: takes a batch of scored rollouts, updates the policy, returns metrics."""

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
from qwenlong.learner.lora import merged_tensors, with_values
from qwenlong.learner.metrics import EngineKl, engine_kl, engine_logprobs, step_summary
from qwenlong.learner.micro_batches import MicroBatch, check_batch, micro_batches_of
from qwenlong.learner.objectives import Responses, Totals, find_objective, objective_loss
from qwenlong.learner.packed_policy import PackedPolicy, open_policy
from qwenlong.model.pretrained import check_policy, hub_tensors, save_policy, set_rope
from qwenlong.types import Batch, Learner, Rope, Row, StepResult


class GrpoLearner(Learner):
    """Holds the trained weights and their AdamW state, or this process's share of them.

    A bf16 policy's weights and optimizer state are fp32 here, and it computes under autocast: at
    a learning rate of 1e-6 most updates of bf16 weights would be rounded away.

    Args:
        mesh: the learner's processes; each is given the same batches.
    """

    def __init__(
        self, path: str, dtype: str, config: LearnerConfig, mesh: Mesh | None = None
    ) -> None:
        self.path, self.config, self.mesh = path, config, mesh or Mesh()
        check_policy(path, config.sequence_ranks)
        shape = (self.mesh.data_ranks, self.mesh.sequence_ranks)
        if shape != (config.data_ranks, config.sequence_ranks):
            raise ValueError(
                f"learner.data_ranks={config.data_ranks}, learner.sequence_ranks="
                f"{config.sequence_ranks}: the mesh has {shape[0]} and {shape[1]}"
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

    @property
    def model(self) -> Any:
        return self.policy.model

    def step(self, batch: Batch) -> StepResult:
        """Trains once on every row; ``batch.mini_batch`` rows make one optimizer update.

        An update none of whose rows has a gradient (all groups are flat) changes no weight. An
        update beyond ``batch.limits`` is left out on all processes alike, and counted.

        Returns:
            Metrics, and a RowMetrics for each row. The metrics are means over the step's response
            tokens (nats), or over its updates. Tokens a second count a shared prompt once.

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
        packed = [
            micro_batches_of(rows, self._has_gradient, self.config.max_tokens, self.mesh)
            for rows in updates
        ]
        gap = EngineKl(batch.rows)
        # The old policy is the one before the first update, so its passes come before all updates.
        earlier = [
            [self._earlier_policies(each, batch, len(updates), gap) for each in micro_batches]
            for micro_batches in packed
        ]
        # A single update has no earlier pass: its own forward passes show how far the engine is.
        too_far = len(updates) > 1 and self._engine_too_far(batch, gap)
        sums: dict[str, float] = {}
        norms, left_out = [], 0
        for rows, micro_batches, before in zip(updates, packed, earlier, strict=True):
            totals = self._totals(rows, batch)
            loss = 0.0
            for micro_batch, (old, reference) in zip(micro_batches, before, strict=True):
                found = self._backward(micro_batch, batch, totals, old, reference, gap)
                loss += found["loss"] * micro_batch.counts
                for name, value in found.items():
                    sums[name] = sums.get(name, 0.0) + value * micro_batch.counts
            if len(updates) == 1:
                too_far = self._engine_too_far(batch, gap)
            norm, updated = self._update(batch, loss, too_far)
            norms.append(norm)
            left_out += not updated
        seconds = time.perf_counter() - started
        total = self._over_ranks(list(sums.values())).tolist()
        sums = dict(zip(sums, total, strict=True))
        metrics = step_summary(sums, norms, left_out, batch, seconds)
        return StepResult(metrics, tuple(gap.by_row(self.mesh)))

    def _has_gradient(self, row: Row) -> bool:
        # A flat group has no advantage, but the KL to the reference still pulls at it.
        return any(row.advantages) or (
            self.config.kl_coefficient > 0 and not self.objective.drops_flat_groups
        )

    def _totals(self, rows: Sequence[Row], batch: Batch) -> Totals:
        """What the loss is divided by: counts over the whole update, not over a micro-batch.

        Each micro-batch's loss is its part of one sum, so however the rows are packed, split and
        dealt out to ranks, the gradients add up to that of the update computed at once.
        """
        kept = [row for row in rows if any(row.advantages) or not self.objective.drops_flat_groups]
        lengths = [len(ids) for row in kept for ids in row.responses]
        return Totals(responses=len(lengths), tokens=sum(lengths), limit=batch.response_limit)

    @torch.no_grad()
    def _earlier_policies(
        self, micro_batch: MicroBatch, batch: Batch, updates: int, gap: EngineKl
    ) -> tuple[TokenStats | None, Tensor | None]:
        """Statistics by the old policy and log-probabilities by the reference, where needed.

        With one update a batch the old policy is the one that is trained, and needs no own pass.
        """
        old, reference = None, None
        if updates > 1:
            old = self.policy(micro_batch.slices, batch.temperature, batch.top_p)
            if micro_batch.counts:
                kl_R = engine_kl(old, engine_logprobs(micro_batch.slices, old))
                gap.record(micro_batch.slices, kl_R, before_updates=True)
        if self.config.kl_coefficient and micro_batch.trained:
            reference = self._reference_logprobs(micro_batch, batch)
        return old, reference

    def _reference_logprobs(self, micro_batch: MicroBatch, batch: Batch) -> Tensor:
        # top_p is 1 here: nobody reads the reference's nucleus, whose sort takes long.
        if self.reference_adapters:
            with with_values(self.parameters, self.reference_adapters):
                return self.policy(micro_batch.slices, batch.temperature, 1.0).logprobs
        if self.reference is None:
            raise RuntimeError("keep_reference() comes before a step with learner.kl_coefficient")
        return self.reference(micro_batch.slices, batch.temperature, 1.0).logprobs

    def _backward(
        self,
        micro_batch: MicroBatch,
        batch: Batch,
        totals: Totals,
        old: TokenStats | None,
        reference: Tensor | None,
        gap: EngineKl,
    ) -> dict[str, float]:
        """One forward pass, and one backward pass if the micro-batch is trained.

        Returns:
            Sums over its tokens, and its part of the update's loss.
        """
        slices, config = micro_batch.slices, self.config
        with torch.set_grad_enabled(micro_batch.trained):
            stats = self.policy(slices, batch.temperature, batch.top_p)
        # With one update a batch the policy is its own old policy, and every ratio is 1.
        start = old or stats
        lengths = [len(ids) for each in slices for ids in each.responses]
        lengths_N = torch.tensor(lengths, dtype=torch.long, device=stats.logprobs.device)
        fresh_N = torch.tensor([not each.row.stale for each in slices for _ in each.responses])
        fresh_R = fresh_N.bool().repeat_interleave(lengths_N.cpu())
        engine_logprobs_R = engine_logprobs(slices, stats)
        kl_R = engine_kl(start, engine_logprobs_R)
        if micro_batch.counts:
            now_R = kl_R if old is None else engine_kl(stats, engine_logprobs_R)
            gap.record(slices, now_R, before_updates=old is None)
        advantages = [advantage for each in slices for advantage in each.advantages]
        loss, sums = objective_loss(
            self.objective,
            Responses(
                logprobs_R=stats.logprobs,
                old_logprobs_R=start.logprobs.detach(),
                advantages_N=stats.logprobs.new_tensor(advantages),
                lengths_N=lengths_N,
                engine_logprobs_R=engine_logprobs_R,
                nucleus_logmass_R=start.nucleus_logmass,
                reference_logprobs_R=reference,
            ),
            totals,
            self.objective.clip_low if config.clip_low is None else config.clip_low,
            self.objective.clip_high if config.clip_high is None else config.clip_high,
            config.kl_coefficient if micro_batch.trained else 0.0,
            config.importance_cap,
            config.mask_ratio,
        )
        if micro_batch.trained:
            # Times 0 where it does not count: the pass itself is needed, FSDP2's gradients are
            # reduced over all ranks in it.
            (loss * micro_batch.counts).backward()
        return {
            **sums,
            "loss": loss.item(),
            "tokens": sum(lengths),
            "trained_tokens": sum(lengths) * micro_batch.trained,
            "entropy": start.entropy.sum().item(),
            "fresh_tokens": int(fresh_R.sum()),
            # A stale group was sampled by an older policy, so its difference is no error.
            "engine_learner_kl": kl_R[fresh_R.to(kl_R.device)].sum().item(),
        }

    def _engine_too_far(self, batch: Batch, gap: EngineKl) -> bool:
        """Whether the KL between engine and learner is above the batch's limit."""
        limit = batch.limits.engine_kl
        return math.isfinite(limit) and gap.mean(self.mesh) > limit

    def _update(self, batch: Batch, loss: float, too_far: bool) -> tuple[float, bool]:
        """Takes one optimizer step, unless the batch's limits forbid it.

        Returns:
            The gradient norm before clipping, and whether the step was taken.
        """
        clipped = torch.nn.utils.clip_grad_norm_(
            self.parameters.values(), self.config.max_grad_norm
        )
        norm, allowed = whole(clipped).item(), not too_far
        if batch.limits.finite:
            # Summed over the ranks, so that all of them decide alike.
            loss_of_all = self._over_ranks([loss]).item()
            allowed = allowed and math.isfinite(norm) and math.isfinite(loss_of_all)
        if allowed:
            self.optimizer.step()
        self.optimizer.zero_grad()
        return norm, allowed

    def _over_ranks(self, values: list[float]) -> Tensor:
        return sum_over_data_ranks(torch.tensor(values, dtype=torch.float64), self.mesh)

    def set_rope(self, rope: Rope) -> None:
        """Sets the rotary embedding of policy and reference."""
        for policy in filter(None, (self.policy, self.reference)):
            set_rope(policy.model, rope)

    def keep_reference(self) -> None:
        """Makes the present weights the reference of the KL term. ``set_rope`` sets its RoPE."""
        if not self.config.kl_coefficient:
            return
        if self.config.lora_rank:
            # The frozen weights are shared: a reference is another set of adapters.
            self.reference_adapters = {n: p.detach().clone() for n, p in self.parameters.items()}
        else:
            self.reference = open_policy(
                self.path, self.dtype, self.config, self.mesh, trained=False
            )
            kept = dict(self.reference.model.named_parameters())
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    kept[name].copy_(parameter)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Full tensors in the policy's dtype under Hugging Face names, one at a time."""
        for name, tensor in merged_tensors(self.model):
            yield from hub_tensors(name, tensor.to(self.dtype))

    def save_policy(self, folder: Path, write: bool = True) -> None:
        """Writes a folder that transformers and vLLM read.

        A collective: every process calls it to gather the tensors, and one of them writes.
        """
        tensors = merged_tensors(self.model)
        kept = [(name, each.cpu()) for name, each in tensors if write]
        if write:
            save_policy(self.model, kept, self.dtype, folder)

    def state(self) -> dict[str, TensorShard]:
        """Copies of this process's shards; ``restore`` needs those of all processes.

        The first process keeps what is not sharded; each keeps its random generator's state.
        """
        tensors = {f"model/{name}": each for name, each in self.parameters.items()}
        for name, parameter in self.parameters.items():
            for key, each in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{key}/{name}"] = each
        tensors |= {f"reference/{name}": each for name, each in self._reference().items()}
        rank = self.mesh.rank
        shards = {
            name: TensorShard.of(each)
            for name, each in tensors.items()
            if rank == 0 or isinstance(each, DTensor)
        }
        return {**shards, f"random/{rank}": TensorShard.of(torch.get_rng_state())}

    def restore(self, stored: StoredTensors) -> None:
        """Loads the ``state`` that any number of processes have written.

        Raises:
            InputError: it is the state of another policy.
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
        # Another number of processes has other ranks; the first one's generator serves them all.
        same = stored.processes == self.config.processes
        torch.set_rng_state(stored.whole(f"random/{rank if same else 0}"))

    def _reference(self) -> dict[str, Tensor]:
        if self.reference:
            return dict(self.reference.model.named_parameters())
        return self.reference_adapters
