"""The learner's tensors on disk: each process writes its shards, any number of processes read them.

A process writes one safetensors file, ``learner-0-of-2.safetensors`` for the first of two; nothing
is pickled. Each file has some of a sharded tensor's rows, and ``index`` in its metadata says which.
HuggingFaceStorageWriter of torch.distributed.checkpoint writes similar files, but it plans them
with collectives, and a collective in the writing thread would mix with those of a training step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from qwenlong.disk.files import sync
from qwenlong.disk.manifest import Written, file_entry
from qwenlong.learner.distributed.mesh import own_rows
from qwenlong.types import InputError


@dataclass(frozen=True)
class TensorShard:
    """A copy of this process's rows of a tensor, from row ``first`` on, and the whole's shape."""

    tensor: Tensor
    shape: tuple[int, ...]
    first: int = 0

    @classmethod
    def of(cls, tensor: Tensor) -> TensorShard:
        own, first = own_rows(tensor.detach())
        # A copy even on the CPU: the next step changes the tensor while a thread writes.
        return cls(own.to("cpu", copy=True).contiguous(), tuple(tensor.shape), first)


def write_shards(
    folder: Path, rank: int, processes: int, shards: Mapping[str, TensorShard]
) -> Written:
    """Writes this process's shards. Runs in a thread, so it returns errors and raises none."""
    path = folder / f"learner-{rank}-of-{processes}.safetensors"
    index = {name: {"shape": each.shape, "first": each.first} for name, each in shards.items()}
    try:
        tensors = {name: each.tensor for name, each in shards.items()}
        save_file(tensors, path, {"index": json.dumps(index)})
        sync(path)
        return Written({path.name: file_entry(path)})
    except (OSError, SafetensorError) as error:
        why = str(error).removeprefix("Error while serializing: ")
        return Written(error=f"{path.name}: {why}")


class StoredTensors:
    """The tensors of a checkpoint's folder, from all processes; each is read when it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards: dict[str, list[tuple[int, Any]]] = {}
        """First row and file of each shard, by the tensor's name."""
        self.shapes: dict[str, list[int]] = {}
        paths = sorted(folder.glob("learner-*-of-*.safetensors"))
        self.processes = len(paths)
        for path in paths:
            file = safe_open(path, framework="pt")
            for name, entry in json.loads(file.metadata()["index"]).items():
                self.shards.setdefault(name, []).append((entry["first"], file))
                self.shapes[name] = entry["shape"]

    def names(self, part: str) -> list[str]:
        """Names of the tensors under a prefix such as ``model``, without the prefix."""
        start = f"{part}/"
        return [name.removeprefix(start) for name in self.shards if name.startswith(start)]

    def whole(self, name: str) -> Tensor:
        """A tensor that is not sharded."""
        (_, file), *_ = self.shards[name]
        return file.get_tensor(name).clone()  # without a copy it would stay a view of the file

    def like(self, name: str, parameter: Tensor) -> Tensor:
        """The stored tensor, on the parameter's device and sharded as it is; or a scalar.

        Raises:
            InputError: it is missing, or its shape is not the parameter's.
        """
        shape = self.shapes.get(name)
        if shape == []:
            return self.whole(name)
        if shape != list(parameter.shape):
            have = f"is {shape}" if shape else "is missing"
            raise InputError(
                f"{self.folder}: {name} {have}, and the policy's is {list(parameter.shape)}:"
                " policy.path and learner.lora_rank must be those that the checkpoint is of"
            )
        own, first = own_rows(parameter)
        rows = self._rows(name, first, first + len(own)).to(parameter.device, copy=True)
        if not isinstance(parameter, DTensor):
            return rows
        return DTensor.from_local(
            rows,
            parameter.device_mesh,
            parameter.placements,
            run_check=False,
            shape=parameter.shape,
            stride=parameter.stride(),
        )

    @torch.no_grad()
    def fill(self, part: str, parameters: Mapping[str, Tensor]) -> None:
        """Copies the tensors under the prefix ``part`` into the parameters of the same names."""
        for name, parameter in parameters.items():
            parameter.copy_(self.like(f"{part}/{name}", parameter))

    def _rows(self, name: str, first: int, last: int) -> Tensor:
        """Rows ``first`` to ``last`` of the whole tensor, from all shards that have some."""
        parts = []
        for start, file in sorted(self.shards[name], key=lambda shard: shard[0]):
            shard = file.get_slice(name)
            low, high = max(first - start, 0), min(last - start, shard.get_shape()[0])
            if low < high:
                parts.append(shard[low:high])
        return torch.cat(parts or [shard[0:0]])  # the last of many processes may hold no row
