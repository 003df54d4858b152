"""Every backend of the attention over packed groups gives what a dense mask gives."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from qwenlong.config import LearnerConfig
from qwenlong.learner.attention.kernels import Cpu, Segments, segments
from qwenlong.learner.attention.layout import Block, Layout
from qwenlong.learner.attention.merge import Attend, block_attention
from qwenlong.learner.attention.shared_prompt import BACKENDS, backend_for, plain
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.micro_batches import RowSlice
from qwenlong.types import Rope, Row

NATIVE = Rope(theta=10_000.0, window=64)
YARN = replace(NATIVE, factor=4.0)
LAYOUTS = {
    "one group": Layout(((40, (9, 3, 17, 5)),)),
    "one token and none": Layout(((23, (1, 0, 12, 1)), (1, (4, 2)), (1, (1,)))),
    "prompts alone": Layout(((7, ()), (5, (0, 0)), (1, (0,)))),
    "empty ends": Layout(((30, (0, 7, 0)), (2, (0, 5)), (8, (3, 0)))),
    # Several of the kernels' blocks, which are of up to 512 tokens, whole and with a rest.
    "long": Layout(((530, (20, 270)), (9, (7, 512)))),
}
HEADS = {"grouped": (6, 2), "one KV head": (3, 1), "ungrouped": (2, 2)}
"""Query heads and KV heads."""
CASES = [
    pytest.param(layout, heads, dtype, id=f"{name}, {kind}, {str(dtype)[-2:]} bits")
    for name, layout in LAYOUTS.items()
    for kind, heads in HEADS.items()
    for dtype in (torch.float64, torch.float32)
    if name != "long" or kind == "grouped"
]
SCALE = 0.4


class SegmentBySegment:
    """What a varlen kernel has to give for flash's two calls: each segment on its own."""

    @staticmethod
    def blocks(part: Segments) -> list[Block]:
        assert part.query_ends.dtype == part.key_ends.dtype == torch.int32
        q_ends, k_ends = part.query_ends.tolist(), part.key_ends.tolist()
        queries, keys = ([slice(*p) for p in pairwise(ends)] for ends in (q_ends, k_ends))
        assert part.longest_queries == max(p.stop - p.start for p in queries)
        assert part.longest_keys == max(p.stop - p.start for p in keys)
        return [Block(q, k, part.causal) for q, k in zip(queries, keys, strict=True)]

    @classmethod
    def forward(
        cls, q: Tensor, k: Tensor, v: Tensor, part: Segments, scale: float
    ) -> tuple[Tensor, Tensor]:
        outs, lses = [], []
        for p in cls.blocks(part):
            out, lse = Cpu.forward(q[:, :, p.queries], k[:, :, p.keys], v[:, :, p.keys], p, scale)
            outs.append(out)
            lses.append(lse)
        return torch.cat(outs, dim=2), torch.cat(lses, dim=2)

    @classmethod
    def backward(
        cls, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
        part: Segments, scale: float,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        found = []
        for p in cls.blocks(part):
            grad_, q_, out_, lse_ = (x[:, :, p.queries] for x in (grad, q, out, lse))
            k_, v_ = (x[:, :, p.keys] for x in (k, v))
            found.append(Cpu.backward(grad_, q_, k_, v_, out_, lse_, p, scale))
        return tuple(torch.cat(each, dim=2) for each in zip(*found, strict=True))


def varlen(layout: Layout, device: str) -> Attend:
    """The backend flash with another kernel: flash-attn's own needs a GPU."""
    whole, last = (segments(layout.blocks(last_layer), device) for last_layer in (False, True))
    assert len(whole) <= 2 and len(last) <= 2
    return block_attention(whole, last, SegmentBySegment)


TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.01}
ALL = {**BACKENDS, "plain": plain, "varlen": varlen}
needs_no_flash = pytest.mark.skipif(bool(find_spec("flash_attn")), reason="flash-attn is there")
uncompiled = pytest.mark.filterwarnings(
    # Compiling takes a minute on a CPU, and the mask is the same.
    "ignore:flex_attention called without torch.compile:UserWarning"
)


def dense(layout: Layout, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax over all scores of the row at once, with the unseen at minus infinity."""
    owners = [
        (group, response)
        for group, (prompt, responses) in enumerate(layout.groups)
        for response, n in enumerate((prompt, *responses))
        for _ in range(n)
    ]
    group, response = torch.tensor(owners).T
    sees = (group[:, None] == group) & ((response == 0) | (response[:, None] == response))
    sees = sees.tril()  # what comes first in the row comes first in the group
    repeats = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    scores = (query @ key.mT * SCALE).masked_fill(~sees, -torch.inf)
    return scores.softmax(-1) @ value


def drawn(layout: Layout, heads: tuple[int, int], dtype: torch.dtype) -> list[Tensor]:
    """Query, key, value and the gradient of what they give; strided as transformers' own are."""
    generator = torch.Generator().manual_seed(layout.tokens)
    many, few = heads
    return [
        torch.randn(1, layout.tokens, n, 16, generator=generator, dtype=torch.float64)
        .to(dtype)
        .transpose(1, 2)
        for n in (many, few, few, many)
    ]


def gap(got: Tensor, expected: Tensor) -> float:
    """Relative to what is expected; zeros have to be zeros."""
    return ((got.double() - expected).norm() / (expected.norm() or 1)).item()


@pytest.mark.parametrize(("layout", "heads", "dtype"), CASES)
@pytest.mark.parametrize("backend", ["sdpa", "plain", "varlen"])
def test_a_backend_and_its_gradients_are_the_dense_mask(
    backend: str, layout: Layout, heads: tuple[int, int], dtype: torch.dtype
) -> None:
    *inputs, of_out = drawn(layout, heads, dtype)
    read = torch.ones(layout.tokens, dtype=torch.bool)
    check(backend, layout, inputs, of_out, read, last_layer=False)


@pytest.mark.parametrize("backend", ["sdpa", "plain"])
def test_gradients_of_bf16_are_added_up_in_fp32(backend: str) -> None:
    """Of a prompt's keys: over its blocks of queries, and its responses."""
    layout = Layout(((1500, (300, 200)),))
    *inputs, of_out = drawn(layout, HEADS["grouped"], torch.bfloat16)
    read = torch.ones(layout.tokens, dtype=torch.bool)
    check(backend, layout, inputs, of_out, read, last_layer=False)


@pytest.mark.parametrize(("layout", "heads", "dtype"), CASES)
@pytest.mark.parametrize("backend", ["sdpa", "plain", "varlen"])
def test_in_the_last_layer_what_is_read_is_the_dense_mask(
    backend: str, layout: Layout, heads: tuple[int, int], dtype: torch.dtype
) -> None:
    *inputs, of_out = drawn(layout, heads, dtype)
    read = torch.zeros(layout.tokens, dtype=torch.bool)
    read[layout.predictors()] = True
    of_out[:, :, ~read] = 0
    check(backend, layout, inputs, of_out, read, last_layer=True)


def check(
    backend: str, layout: Layout, inputs: list[Tensor], of_out: Tensor, read: Tensor,
    last_layer: bool,
) -> None:  # fmt: skip
    """Results where they are read, and all gradients; elsewhere results are finite."""
    dtype = of_out.dtype
    q, k, v = ours = [x.requires_grad_() for x in inputs]
    theirs = [x.detach().double().requires_grad_() for x in inputs]
    got = ALL[backend](layout, "cpu")(q, k, v, SCALE, last_layer)
    expected = dense(layout, *theirs)
    assert got.dtype == dtype and got.shape == expected.shape and got.isfinite().all()
    assert gap(got[:, :, read], expected[:, :, read]) < TOLERANCES[dtype]
    of_ours = torch.autograd.grad(got, ours, of_out)
    of_theirs = torch.autograd.grad(expected, theirs, of_out.double())
    for name, a, b in zip(("query", "key", "value"), of_ours, of_theirs, strict=True):
        assert a.dtype == dtype
        assert gap(a, b) < TOLERANCES[dtype], name


@uncompiled
@pytest.mark.parametrize(("layout", "heads", "dtype"), CASES)
def test_flex_attention_is_the_dense_mask(
    layout: Layout, heads: tuple[int, int], dtype: torch.dtype
) -> None:
    """Without gradients: FlexAttention has no backward pass on the CPU."""
    query, key, value, _ = drawn(layout, heads, dtype)
    with torch.no_grad():
        expected = dense(layout, *(x.double() for x in (query, key, value)))
        got = BACKENDS["flex"](layout, "cpu")(query, key, value, SCALE, False)
    assert got.dtype == dtype and got.shape == query.shape
    assert gap(got, expected) < TOLERANCES[dtype]


@uncompiled
@pytest.mark.parametrize("backend", ["sdpa", "plain", "flex"])
def test_a_backend_keeps_to_bf16(backend: str) -> None:
    row = LAYOUTS["empty ends"]
    query, key, value, _ = drawn(row, HEADS["grouped"], torch.bfloat16)
    with torch.no_grad():
        got = ALL[backend](row, "cpu")(query, key, value, SCALE, False)
        expected = dense(row, *(x.double() for x in (query, key, value)))
    assert got.dtype == torch.bfloat16
    assert gap(got, expected) < 0.01


def test_on_the_cpu_auto_is_sdpa() -> None:
    row = LAYOUTS["one group"]
    q, k, v, _ = (x.requires_grad_() for x in drawn(row, HEADS["grouped"], torch.float32))
    auto, sdpa = (
        backend_for(name, "cpu", torch.float32)(row)(q, k, v, SCALE, False)
        for name in ("auto", "sdpa")
    )
    assert torch.equal(auto, sdpa)
    # It is one node of autograd, where plain SDPA is several.
    kinds = [type(out.grad_fn) for out in (auto, sdpa, plain(row, "cpu")(q, k, v, SCALE, False))]
    assert kinds[0] is kinds[1] is not kinds[2]


@needs_no_flash
def test_flash_without_flash_attn_is_refused_by_name(policies: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^learner.attention=flash: flash-attn is not installed"):
        GrpoLearner(policies["tied"], "float32", LearnerConfig(attention="flash"))


def test_flex_which_trains_on_a_gpu_only_is_refused_on_the_cpu() -> None:
    with pytest.raises(ValueError, match=r"^learner.attention=flex: trains on a GPU only"):
        backend_for("flex", "cpu", torch.bfloat16)


# In the policy.


def logprobs_of(learner: GrpoLearner, *rows: Row) -> Tensor:
    pieces = tuple(RowSlice(row, 0, len(row.responses)) for row in rows)
    with torch.no_grad():
        return learner.policy(pieces, 1.0, 1.0).logprobs


@pytest.mark.parametrize("policy", ["tied", "moe"])
def test_a_response_sees_no_other_and_a_group_no_other(policies, rows_of, policy: str) -> None:
    learner = GrpoLearner(policies[policy], "float32", LearnerConfig())
    row, other = rows_of([(20, (6, 8, 4)), (11, (5, 2))])
    (other,) = rows_of([(20, (6, 8, 4))], seed=1)
    changed = replace(row, responses=(row.responses[0], *other.responses[1:]))
    first, second = (logprobs_of(learner, each) for each in (row, changed))
    torch.testing.assert_close(first[:6], second[:6], rtol=0, atol=1e-5)
    assert (first[6:] - second[6:]).abs().min() > 1e-3
    for together in (logprobs_of(learner, row, other), logprobs_of(learner, changed, other)):
        torch.testing.assert_close(together[18:], logprobs_of(learner, other), rtol=0, atol=1e-5)
    moved = replace(row, prompt_ids=other.prompt_ids)
    assert (logprobs_of(learner, moved) - first).abs().min() > 1e-4


def test_yarn_is_not_the_native_rope(policies, rows_of) -> None:
    learner = GrpoLearner(policies["tied"], "float32", LearnerConfig())
    (row,) = rows_of([(100, (6, 8))])
    native = logprobs_of(learner, row)
    learner.set_rope(YARN)
    stretched = logprobs_of(learner, row)
    learner.set_rope(NATIVE)
    assert (native - stretched).abs().max() > 1e-3
    assert torch.equal(native, logprobs_of(learner, row))
