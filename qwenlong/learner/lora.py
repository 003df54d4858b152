"""Low-rank adapters (Hu et al., arXiv 2106.09685) by peft, inside the policy's own modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from qwenlong.learner.distributed.mesh import whole

ADAPTER = "default"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def add_adapters(model: PreTrainedModel, rank: int, alpha: float) -> None:
    """Freezes the policy and adds an adapter to every linear layer of its blocks.

    A mixture of experts gets them in its attention alone.
    """
    from peft import LoraConfig, inject_adapter_in_model

    # transformers joins a layer's experts in one tensor, which peft does not see as linear layers.
    layers = ATTENTION if hasattr(model.config, "num_experts") else ATTENTION + MLP
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=layers)
    inject_adapter_in_model(config, model, ADAPTER)


@contextmanager
def with_values(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[None]:
    """Gives the parameters other values, sharded as they are, while the context is open."""
    own = {name: each.detach().clone() for name, each in parameters.items()}
    _set(parameters, values)
    try:
        yield
    finally:
        _set(parameters, own)


@torch.no_grad()
def _set(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def merged_tensors(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The policy's full weights, one at a time, under the names that it has without adapters.

    An adapted layer's weight is W + scaling * B A. A tied head has no weight of its own.
    """
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        tensor = whole(parameter.detach())
        path, _, leaf = name.rpartition(".base_layer.")
        if path:
            layer: Any = model.get_submodule(path)
            if leaf == "weight":
                down, up = (
                    whole(each[ADAPTER].weight.detach()) for each in (layer.lora_A, layer.lora_B)
                )
                tensor = tensor + layer.scaling[ADAPTER] * (up @ down)
            name = f"{path}.{leaf}"
        yield name, tensor
