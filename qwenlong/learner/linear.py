"""fp32 matrix products on the CPU through oneDNN.

PyTorch takes MKL for them, which runs at half the width on processors that are not Intel's:
109 beside 244 GFLOP/s on one core of an AMD EPYC with AVX-512 (experiments/LOG.md). oneDNN comes
with PyTorch, too; bf16 goes through it anyway.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP

# oneDNN and PyTorch's layer over it keep a kernel with its scratch memory for each shape they saw,
# 1,024 of them by default; rows have ever new lengths, which came to 2 GB in the quickstart.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "16")


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b.T for a [..., k] and b [n, k]; not differentiable."""
    single = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    if single and a.numel() and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(a, b.contiguous(), None, "none", [], "")
    return a @ b.T


def use_onednn(model: nn.Module) -> None:
    """Lets the linear layers of a model on the CPU compute with oneDNN; Qwen3's have no bias.

    A dense block's MLP then holds two of its four wide tensors for the backward pass.
    """
    for module in model.modules():
        if type(module) is Qwen3MLP:
            module.__class__ = OneDnnMLP
        if type(module) is nn.Linear and "bias" not in dict(module.named_parameters()):
            module.__class__ = OneDnnLinear


class OneDnnLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        return _Product.apply(x, self.weight)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = product(grad, weight.T) if ctx.needs_input_grad[0] else None
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = product(grad.flatten(0, -2).T.contiguous(), x.flatten(0, -2).T)
        return of_x, of_weight


class OneDnnMLP(Qwen3MLP):
    def forward(self, x: Tensor) -> Tensor:
        own = type(self.down_proj) is OneDnnLinear and self.config.hidden_act == "silu"
        if not own or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        return _GatedProduct.apply(self.gate_proj(x), self.up_proj(x), self.down_proj.weight)


class _GatedProduct(torch.autograd.Function):
    """(silu(gate) * up) @ weight.T (Shazeer, arXiv 2002.05202), whose left side is made anew."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        return product(silu(gate).mul_(up), weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        of_both, active = product(grad, weight.T), silu(gate)
        of_up, of_weight = of_both * active, None
        if ctx.needs_input_grad[2]:
            both = active.mul_(up)
            of_weight = product(grad.flatten(0, -2).T.contiguous(), both.flatten(0, -2).T)
        return torch.ops.aten.silu_backward(of_both.mul_(up), gate), of_up, of_weight
