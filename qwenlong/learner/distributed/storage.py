"""A learner's tensors on disk: every process writes what it holds, any number of them read it.

A process writes one safetensors file, ``learner-0-of-2.safetensors`` for the first of two; nothing
is pickled. A sharded tensor has some of its rows in each, and ``index`` in a file's metadata says
which. torch.distributed.checkpoint's HuggingFaceStorageWriter has files much like these, but plans
them by collectives and pickled objects, which a thread beside a training step must not do.
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
    """A copy of what a process holds of a tensor: rows from ``first`` on, of all in ``shape``."""

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
    """Runs in a thread; what goes wrong is part of the answer."""
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
    """The tensors in a checkpoint's folder, read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pieces: dict[str, list[tuple[int, Any]]] = {}
        """By name: first row and file of each piece."""
        self.shapes: dict[str, list[int]] = {}
        paths = sorted(folder.glob("learner-*-of-*.safetensors"))
        self.processes = len(paths)
        for path in paths:
            file = safe_open(path, framework="pt")
            for name, place in json.loads(file.metadata()["index"]).items():
                self.pieces.setdefault(name, []).append((place["first"], file))
                self.shapes[name] = place["shape"]

    def names(self, part: str) -> list[str]:
        """Of the tensors of a part such as ``model``, without the part's name."""
        return [
            name.removeprefix(f"{part}/") for name in self.pieces if name.startswith(f"{part}/")
        ]

    def whole(self, name: str) -> Tensor:
        """A tensor that is not sharded."""
        (_, file), *_ = self.pieces[name]
        return file.get_tensor(name).clone()  # else it would stay a view of the file

    def like(self, name: str, parameter: Tensor) -> Tensor:
        """A tensor of the parameter's shape, placed and sharded as the parameter is; or a scalar.

        Raises:
            InputError: there is none, or it has another shape.
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
        """Gives all parameters what a part has of their names."""
        for name, parameter in parameters.items():
            parameter.copy_(self.like(f"{part}/{name}", parameter))

    def _rows(self, name: str, first: int, last: int) -> Tensor:
        parts = []
        for begin, file in sorted(self.pieces[name], key=lambda piece: piece[0]):
            piece = file.get_slice(name)
            end = begin + piece.get_shape()[0]
            low, high = max(first, begin), min(last, end)
            if low < high:
                parts.append(piece[low - begin : high - begin])
        return torch.cat(parts or [piece[0:0]])  # the last of many processes may hold no row
