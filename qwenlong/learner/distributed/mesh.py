"""The learner's processes: their mesh, and the parameters that FSDP2 shards over all of them.

The mesh is (data, sequence). Data ranks compute different micro-batches. Sequence ranks share one
packed sequence (see ``ulysses``). Parameters, gradients and optimizer state are sharded over both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Mesh:
    """The mesh and this process's rank in it; one process alone needs no ``device_mesh``."""

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


def form_mesh(data_ranks: int, sequence_ranks: int, device: str) -> Mesh:
    """Arranges the processes of the default process group in a mesh.

    Raises:
        ValueError: the group has another number of processes.
    """
    processes = dist.get_world_size() if dist.is_initialized() else 1
    if processes != data_ranks * sequence_ranks:
        raise ValueError(
            f"learner.data_ranks={data_ranks}, learner.sequence_ranks={sequence_ranks}: need"
            f" {data_ranks * sequence_ranks} processes, not {processes}"
        )
    if processes == 1:
        return Mesh()
    shape = (data_ranks, sequence_ranks)
    return Mesh(*shape, init_device_mesh(device, shape, mesh_dim_names=("data", "sequence")))


def shard_parameters(model: PreTrainedModel, mesh: Mesh, forward: str) -> None:
    """Shards the model by FSDP2 over all processes, layer by layer.

    A bf16 policy's fp32 weights are gathered in fp32 and cast where they are used, as they are in
    one process: twice the traffic, the same result.

    Args:
        forward: name of a method that, like ``model.forward``, needs the gathered parameters.
    """
    if mesh.device_mesh is None:
        return
    # FSDP2 keeps the root's parameters gathered by default. A forward pass without a backward
    # pass (old policy, metrics) would then leave the weights of before the update behind.
    everyone = mesh.device_mesh._flatten("all")
    options: dict[str, Any] = {"mesh": everyone, "reshard_after_forward": True}
    for layer in model.model.layers:
        fully_shard(layer, **options)
    fully_shard(model, **options)
    register_fsdp_forward_method(model, forward)
    scale_gradients(model, 1.0)


def scale_gradients(model: torch.nn.Module, divisor: float) -> None:
    """Makes gradients the sum over all processes divided by ``divisor``; FSDP2 averages them.

    The objectives' losses are parts of a sum over the whole update, so theirs are not averaged.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(divisor)
            module.set_force_sum_reduction_for_comms(True)  # gloo cannot average


def whole(tensor: Tensor) -> Tensor:
    """The full tensor of a sharded one. A collective: every process calls it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_rows(tensor: Tensor) -> tuple[Tensor, int]:
    """This process's rows of a tensor, and the index of the first of them in the full tensor.

    FSDP2 shards as ``torch.chunk`` does: the last processes may have fewer rows, or none.
    """
    if not isinstance(tensor, DTensor):
        return tensor, 0
    if tensor.placements != (Shard(0),):
        raise ValueError(f"a tensor sharded by {tensor.placements}; must be by its rows")
    mesh = tensor.device_mesh
    share = math.ceil(len(tensor) / mesh.size())
    return tensor.to_local(), min(mesh.get_local_rank() * share, len(tensor))


def sum_over_data_ranks(values: Tensor, mesh: Mesh) -> Tensor:
    """Sums each value over the data ranks; sequence ranks of one row hold equal values already."""
    if mesh.device_mesh is None:
        return values
    total = values.to(mesh.device_mesh.device_type, copy=True)
    dist.all_reduce(total, group=mesh.device_mesh.get_group("data"))
    return total
