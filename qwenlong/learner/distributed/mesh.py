"""One learner over several processes: parameters by FSDP2, the packed row by Ulysses.

The processes form a mesh (data, sequence). Data ranks take different micro-batches. Sequence
ranks take every n-th token of the same row, and exchange tokens for heads around each attention
(Jacobs et al., "DeepSpeed Ulysses", arXiv 2309.14509), so that each attends over the whole row
with a share of the heads. Parameters, gradients and optimizer are sharded over all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, Shard
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Mesh:
    """This process's place in the mesh; by default the only one."""

    data_ranks: int = 1
    sequence_ranks: int = 1
    device_mesh: DeviceMesh | None = None

    @property
    def data_rank(self) -> int:
        return self.device_mesh.get_local_rank("data") if self.device_mesh else 0

    @property
    def sequence_rank(self) -> int:
        return self.device_mesh.get_local_rank("sequence") if self.device_mesh else 0

    @property
    def rank(self) -> int:
        return self.data_rank * self.sequence_ranks + self.sequence_rank

    @property
    def sequence_group(self) -> Any:
        return self.device_mesh.get_group("sequence") if self.device_mesh else None


def form_mesh(data: int, sequence: int, device: str) -> Mesh:
    """Joins the processes of the default group into a mesh.

    Raises:
        ValueError: the group has another number of processes.
    """
    processes = dist.get_world_size() if dist.is_initialized() else 1
    if processes != data * sequence:
        raise ValueError(
            f"learner.data_ranks={data}, learner.sequence_ranks={sequence}: need"
            f" {data * sequence} processes, not {processes}"
        )
    if processes == 1:
        return Mesh()
    mesh = init_device_mesh(device, (data, sequence), mesh_dim_names=("data", "sequence"))
    return Mesh(data, sequence, mesh)


def shard_parameters(model: PreTrainedModel, mesh: Mesh, forward: str) -> None:
    """FSDP2 over all processes, layer by layer; gradients are summed, not averaged.

    A bf16 policy's fp32 masters travel as they are and are cast where they are used, as in one
    process: twice the traffic, the same mathematics.

    Args:
        forward: a method that is called like ``model.forward`` and needs the parameters whole.
    """
    if mesh.device_mesh is None:
        return
    everyone = mesh.device_mesh._flatten("all")
    # By default the root would keep what it gathered, and a forward pass without a backward one
    # would leave it with the weights of before the update.
    options: dict[str, Any] = {"mesh": everyone, "reshard_after_forward": True}
    for layer in model.model.layers:
        fully_shard(layer, **options)
    fully_shard(model, **options)
    register_fsdp_forward_method(model, forward)
    scale_gradients(model, 1.0)


def scale_gradients(model: torch.nn.Module, divisor: float) -> None:
    """Gradients are the sum over all processes, divided by this."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(divisor)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor, gathered; every process has to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_rows(tensor: Tensor) -> tuple[Tensor, int]:
    """What this process holds of a tensor, and which row of the whole is its first.

    FSDP2 deals rows out as ``torch.chunk`` does: the last processes may have fewer, or none.
    """
    if not isinstance(tensor, DTensor):
        return tensor, 0
    if tensor.placements != (Shard(0),):
        raise ValueError(f"a tensor sharded by {tensor.placements}; must be by its rows")
    mesh = tensor.device_mesh
    share = math.ceil(len(tensor) / mesh.size())
    return tensor.to_local(), min(mesh.get_local_rank() * share, len(tensor))


def sum_over_data_ranks(values: Tensor, mesh: Mesh) -> Tensor:
    """Sums each value over the data ranks. The sequence ranks of a row hold the same values."""
    if mesh.device_mesh is None:
        return values
    total = values.to(mesh.device_mesh.device_type, copy=True)
    dist.all_reduce(total, group=mesh.device_mesh.get_group("data"))
    return total
