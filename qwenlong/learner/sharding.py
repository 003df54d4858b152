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

from qwenlong.learner.attention import Attend


@dataclass(frozen=True)
class Shards:
    """This process's place in the mesh; by default the only one."""

    data: int = 1
    sequence: int = 1
    mesh: DeviceMesh | None = None

    @property
    def data_rank(self) -> int:
        return self.mesh.get_local_rank("data") if self.mesh else 0

    @property
    def sequence_rank(self) -> int:
        return self.mesh.get_local_rank("sequence") if self.mesh else 0

    @property
    def rank(self) -> int:
        return self.data_rank * self.sequence + self.sequence_rank

    @property
    def sequence_group(self) -> Any:
        return self.mesh.get_group("sequence") if self.mesh else None


def form_mesh(data: int, sequence: int, device: str) -> Shards:
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
        return Shards()
    mesh = init_device_mesh(device, (data, sequence), mesh_dim_names=("data", "sequence"))
    return Shards(data, sequence, mesh)


def shard_parameters(model: PreTrainedModel, shards: Shards, forward: str) -> None:
    """FSDP2 over all processes, layer by layer; gradients are summed, not averaged.

    A bf16 policy's fp32 masters travel as they are and are cast where they are used, as in one
    process: twice the traffic, the same mathematics.

    Args:
        forward: a method that is called like ``model.forward`` and needs the parameters whole.
    """
    if shards.mesh is None:
        return
    mesh = shards.mesh._flatten("all")
    # By default the root would keep what it gathered, and a forward pass without a backward one
    # would leave it with the weights of before the update.
    options: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": True}
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


def summed(values: dict[str, float], shards: Shards) -> dict[str, float]:
    """Sums over the data ranks; the sequence ranks of a row hold the same values."""
    if shards.mesh is None:
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=shards.mesh.device_type)
    dist.all_reduce(total, group=shards.mesh.get_group("data"))
    return dict(zip(values, total.tolist(), strict=True))


def own_tokens(row: Tensor, shards: Shards) -> Tensor:
    """Every n-th token [1, T/n] of a row [1, T], padded so that all ranks have as many.

    Strided, not in blocks: prompts and responses are spread evenly, and with them the work of
    the vocabulary head.
    """
    short = -row.shape[1] % shards.sequence
    return torch.nn.functional.pad(row, (0, short))[:, shards.sequence_rank :: shards.sequence]


def sharded_attention(attend: Attend, shards: Shards, tokens: int) -> Attend:
    """``attend`` over whole rows of ``tokens`` tokens, for queries that are spread over ranks."""
    n, group = shards.sequence, shards.sequence_group
    if n == 1:
        return attend

    def sharded(query: Tensor, key: Tensor, value: Tensor, scale: float, last: bool) -> Tensor:
        heads, kv_heads = query.shape[1], key.shape[1]
        repeats = math.lcm(n, kv_heads) // kv_heads
        key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
        q, k, v = (_tokens_for_heads(x, n, group)[:, :, :tokens] for x in (query, key, value))
        out = attend(q, k, v, scale, last)
        padded = torch.nn.functional.pad(out, (0, 0, 0, query.shape[2] * n - tokens))
        return _heads_for_tokens(padded, n, group, heads)

    return sharded


def gathered(values: Tensor, own: Tensor, shards: Shards) -> Tensor:
    """[R] values from the ranks that hold them; ``own`` [R] marks this rank's.

    Every rank then computes the same loss, and takes the gradient of its own values alone.
    """
    return _Gather.apply(values, own, shards.sequence_group) if shards.sequence > 1 else values


def _tokens_for_heads(x: Tensor, n: int, group: Any) -> Tensor:
    """[1, heads, T/n, d] with every n-th token to [1, heads/n, T, d] with all tokens."""
    _, heads, short, dim = x.shape
    blocks = x.reshape(n, heads // n, short, dim)
    blocks = _Exchange.apply(blocks, group)
    return blocks.permute(1, 2, 0, 3).reshape(1, heads // n, short * n, dim)


def _heads_for_tokens(x: Tensor, n: int, group: Any, heads: int) -> Tensor:
    """The way back."""
    _, some, tokens, dim = x.shape
    blocks = x.reshape(some, tokens // n, n, dim).permute(2, 0, 1, 3)
    return _Exchange.apply(blocks, group).reshape(1, heads, tokens // n, dim)


class _Exchange(torch.autograd.Function):
    """Block i of dimension 0 goes to rank i; going back, its gradient returns."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, group: Any) -> Tensor:
        ctx.group = group
        blocks = blocks.contiguous()
        out = torch.empty_like(blocks)
        dist.all_to_all_single(out, blocks, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Exchange.apply(grad, ctx.group), None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, own: Tensor, group: Any) -> Tensor:
        ctx.save_for_backward(own)
        out = values.new_zeros(len(own))
        out[own] = values
        dist.all_reduce(out, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (own,) = ctx.saved_tensors
        return grad[own], None, None
