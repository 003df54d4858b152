"""fp32 matrix products on the CPU by oneDNN.

PyTorch uses MKL for them, which takes only half of the vector width on processors that are not
Intel's: 109 GFLOP/s on one core of an AMD EPYC with AVX-512, where oneDNN reaches 244
(experiments/LOG.md). oneDNN is part of PyTorch, which uses it for bf16 anyway.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP

# oneDNN and PyTorch's layer over it keep a kernel and its scratch memory for each of the last 1,024
# shapes. Packed sequences have new lengths in every step, so that took 2 GB in the quickstart.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "16")


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b.T for a [..., k] and b [n, k]; not differentiable."""
    single = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    if single and a.numel() and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(a, b.contiguous(), None, "none", [], "")
    return a @ b.T


def use_onednn(model: nn.Module) -> None:
    """Makes a model's linear layers without bias, and its dense MLPs, compute with oneDNN."""
    # Another class, not another module: parameters, their names and the optimizer's hold on them
    # stay as they are.
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
        grad_x = product(grad, weight.T) if ctx.needs_input_grad[0] else None
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = product(grad.flatten(0, -2).T.contiguous(), x.flatten(0, -2).T)
        return grad_x, grad_weight


class OneDnnMLP(Qwen3MLP):
    def forward(self, x: Tensor) -> Tensor:
        own = type(self.down_proj) is OneDnnLinear and self.config.hidden_act == "silu"
        if not own or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        return _GatedProduct.apply(self.gate_proj(x), self.up_proj(x), self.down_proj.weight)


class _GatedProduct(torch.autograd.Function):
    """(silu(gate) * up) @ weight.T (SwiGLU: Shazeer, arXiv 2002.05202).

    The backward pass computes silu(gate) and the product with up again, so that it keeps two wide
    tensors and not four.
    """

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        return product(silu(gate).mul_(up), weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        grad_both, active = product(grad, weight.T), silu(gate)
        grad_up, grad_weight = grad_both * active, None
        if ctx.needs_input_grad[2]:
            both = active.mul_(up)
            grad_weight = product(grad.flatten(0, -2).T.contiguous(), both.flatten(0, -2).T)
        return torch.ops.aten.silu_backward(grad_both.mul_(up), gate), grad_up, grad_weight
