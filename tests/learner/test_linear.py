"""Linear layers through oneDNN give what PyTorch's own give."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP

from qwenlong.learner.linear import (
    OneDnnLinear,
    OneDnnMLP,
    product,
    use_onednn,
)


@pytest.mark.parametrize("shape", [(7, 16), (1, 300, 16), (2, 3, 5, 16), (0, 16)])
@pytest.mark.parametrize("strided", [False, True])
def test_a_product_is_the_product(shape: tuple[int, ...], strided: bool) -> None:
    torch.manual_seed(0)
    a = torch.randn(*shape)
    b = torch.randn(16, 40).T if strided else torch.randn(40, 16)
    if strided:
        a = a.transpose(-1, -2).contiguous().transpose(-1, -2)
    torch.testing.assert_close(product(a, b).double(), a.double() @ b.double().T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(7, 16), (1, 300, 16), (2, 3, 5, 16)])
@pytest.mark.parametrize(
    ("dtype", "bias"), [(torch.float32, False), (torch.float32, True), (torch.float64, False)]
)
def test_a_layer_and_its_gradients_are_pytorchs(
    shape: tuple[int, ...], dtype: torch.dtype, bias: bool
) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(16, 40, bias=bias), nn.SiLU(), nn.Linear(40, 8, bias=bias))
    ours = ours.to(dtype)
    plain = copy.deepcopy(ours).double()
    use_onednn(ours)
    assert type(ours[0]) is (nn.Linear if bias else OneDnnLinear)
    x = torch.randn(*shape, dtype=dtype, requires_grad=True)
    y = x.detach().double().requires_grad_()
    of_out = torch.randn(*shape[:-1], 8, dtype=torch.float64)
    ours(x).backward(of_out.to(dtype))
    plain(y).backward(of_out)
    torch.testing.assert_close(ours(x).double(), plain(y), rtol=0, atol=1e-5)
    pairs = zip((x, *ours.parameters()), (y, *plain.parameters()), strict=True)
    for a, b in pairs:
        assert a.grad is not None and b.grad is not None
        assert ((a.grad.double() - b.grad).norm() / b.grad.norm()).item() < 1e-6


def test_frozen_weights_get_no_gradient() -> None:
    layer = nn.Sequential(nn.Linear(4, 3, bias=False)).requires_grad_(False)
    use_onednn(layer)
    x = torch.randn(2, 4, requires_grad=True)
    layer(x).sum().backward()
    assert layer[0].weight.grad is None
    torch.testing.assert_close(x.grad, layer[0].weight.sum(0).expand(2, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("frozen", [False, True])
def test_an_mlp_and_its_gradients_are_transformers(dtype: torch.dtype, frozen: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(Qwen3MLP(Qwen3Config(hidden_size=16, intermediate_size=40))).double()
    ours = copy.deepcopy(plain).to(dtype).requires_grad_(not frozen)
    use_onednn(ours)
    assert type(ours[0]) is OneDnnMLP
    x = torch.randn(2, 7, 16, dtype=dtype, requires_grad=True)
    y = x.detach().double().requires_grad_()
    of_out = torch.randn(2, 7, 16, dtype=torch.float64)
    got, expected = ours(x), plain(y)
    assert type(got.grad_fn).__name__ == "_GatedProductBackward"
    got.backward(of_out.to(dtype))
    expected.backward(of_out)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    trained = [] if frozen else list(zip(ours.parameters(), plain.parameters(), strict=True))
    for a, b in [(x, y), *trained]:
        assert a.grad is not None and b.grad is not None
        assert ((a.grad.double() - b.grad).norm() / b.grad.norm()).item() < tolerance
    assert ((got.double() - expected).norm() / expected.norm()).item() < tolerance
    assert all(each.grad is None for each in ours.parameters()) is frozen


def test_under_autocast_a_layer_computes_in_bf16() -> None:
    layer = nn.Sequential(nn.Linear(4, 3, bias=False))
    use_onednn(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 4)).dtype == torch.bfloat16
