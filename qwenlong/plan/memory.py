"""What the learner's process and a rollout actor hold, in bytes, part by part.

Every figure is counted from what the code keeps (``learner/``), none is fitted. A step is a
sequence of moments at which memory may be at its most; the plan shows the one where it is.
Letters: H hidden, Q and K all query and all key heads, I intermediate, V vocabulary, T a process's
tokens of the row, R those of the responses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qwenlong.config import LearnerConfig
from qwenlong.plan.shape import Shape

CHUNK_LOGITS = 2**25
"""As in ``learner/logprobs.py``, which imports torch."""
SFT_TOKENS, SFT_VOCABULARY = 4096, 32_768
"""TRL's fused head computes a tile of so many logits at once (``trl.kernels.chunked_logprob``)."""
FP32, BF16 = 4, 2
GATHERED_LAYERS = 3
"""Layers that FSDP2 holds whole: the one in use, and the next one's all-gather and copy-out."""
PARTS = ("weights", "optimizer", "gradients", "gathered", "bf16 copies", "activations", "working")
Parts = dict[str, float]


@dataclass(frozen=True)
class Load:
    """The largest micro-batch of a stage: what it asks of a learner's process.

    Of RL, ``groups`` of a prompt and ``answers`` responses in one row, shared by the sequence
    ranks. Of SFT, ``groups`` rows of ``prompt`` tokens, padded, none shared.
    """

    prompt: int
    response: int
    answers: int
    groups: int
    top_p: float = 1.0
    sft: bool = False
    before: bool = False
    """SFT after a phase: the learner's own AdamW state stays beside the trainer's."""

    @property
    def tokens(self) -> int:
        return self.groups * (self.prompt + self.answers * self.response)


def load_of(prompt: int, response: int, group: int, budget: int | None, top_p: float) -> Load:
    """A phase's largest micro-batch within ``learner.max_tokens``, as ``layout.packed`` has it."""
    whole = prompt + group * response
    budget = budget or whole
    answers = min(group, max(1, (budget - prompt) // response))
    return Load(prompt, response, answers, max(1, budget // whole), top_p)


@dataclass(frozen=True)
class Held:
    """A policy on ``processes`` of the learner, the row shared by ``ranks`` of them."""

    shape: Shape
    learner: LearnerConfig
    bf16: bool
    on_cpu: bool

    @property
    def processes(self) -> int:
        return self.learner.processes

    @property
    def trained(self) -> int:
        """Parameters with a gradient."""
        if not self.learner.lora_rank:
            return self.shape.parameters
        return self.shape.layers * self._lora_layer

    @property
    def _lora_layer(self) -> int:
        s = self.shape
        attention = 2 * (s.hidden + s.q) + 2 * (s.hidden + s.kv)
        mlp = 0 if s.experts else 3 * (s.hidden + s.intermediate)
        return self.learner.lora_rank * (attention + mlp)

    @property
    def trained_layer(self) -> int:
        return self._lora_layer if self.learner.lora_rank else self.shape.layer

    @property
    def fused_mlp(self) -> bool:
        """Whether ``learner/linear.py`` replaces the MLP, which then keeps two tensors of four."""
        dense_qwen3 = self.shape.qk_norm and not self.shape.experts
        return self.on_cpu and not self.bf16 and dense_qwen3

    def held(self) -> Parts:
        """What is there between steps."""
        shape, learner, n = self.shape, self.learner, self.processes
        references = 1 if learner.kl_coefficient and not learner.lora_rank else 0
        adapters = self.trained if learner.lora_rank else 0
        weights = FP32 * (shape.parameters * (1 + references) + adapters)
        return {"weights": weights / n, "optimizer": 2 * FP32 * self.trained / n}


def _ranks(held: Held, load: Load) -> int:
    return 1 if load.sft else held.learner.sequence_ranks


def layer_bytes(held: Held, load: Load) -> tuple[float, float, float]:
    """What the backward pass needs of a layer, a token of its row: the layer's input (the
    residual stream, which checkpointing keeps), all else, and of that the MLP's with its norm.

    In fp32: each norm's input and result, what the norms of q and k see and make, q, k, v and the
    output of attention, gate and up (unless fused, also their activation and product). Autocast
    leaves residual stream and norms in fp32; each linear layer keeps its input in bf16.
    """
    s, ranks = held.shape, _ranks(held, load)
    h, q, k, i = s.hidden, s.q, s.kv, s.active_intermediate
    repeated = math.lcm(ranks, s.kv_heads) // s.kv_heads * k
    if load.sft and load.groups > 1:
        repeated = q  # SDPA with a mask gets its keys once for each query head
    small = FP32 * (1 + 2 * s.heads + s.kv_heads)  # log-sum-exp, the norms' roots
    exchanged = q if ranks > 1 else 0  # attention's output, again as the heads' owner has it
    seen = q + 2 * repeated + q + exchanged
    if held.bf16:
        # An fp32 copy, and the bf16 result, of what a norm of q and k sees.
        norms = 6 * (q + k) if s.qk_norm else 0
        attention = FP32 * h + BF16 * 3 * h + norms + BF16 * seen + small
        mlp = FP32 * 2 * h + BF16 * 2 * h + BF16 * 4 * i
    else:
        norms = 2 * (q + k) if s.qk_norm else 0
        attention = FP32 * (2 * h + norms + seen) + small
        mlp = FP32 * (3 * h + (2 if held.fused_mlp else 4) * i)
    if s.experts:  # inputs and results of the chosen experts stand apart
        mlp += (BF16 if held.bf16 else FP32) * 2 * h * s.experts_a_token
    return FP32 * h, attention + mlp, mlp


def _attention_work(held: Held, load: Load, last: bool) -> float:
    """Bytes of attention's backward pass beside what is saved, without the residual's gradient.

    Gradients of q, k, v in fp32, added up part by part; on the CPU a part's keys and values have
    gradients for each query head, before these are summed.
    """
    s, ranks = held.shape, _ranks(held, load)
    size = BF16 if held.bf16 else FP32
    tokens, prompt = load.tokens / ranks, load.prompt / ranks
    repeated = math.lcm(ranks, s.kv_heads) // s.kv_heads * s.kv
    three = s.q + 2 * repeated
    sums = (FP32 * three + size * s.q) * tokens
    if load.sft:
        return size * 5 * s.q * tokens
    if not held.on_cpu:  # contiguous copies for flash-attn's varlen call, and its results
        return sums + size * (2 * s.q + three + three) * tokens
    if last:
        return sums + 2 * size * s.q * prompt
    return sums + (FP32 * three + 2 * size * s.q) * prompt


def _mlp_work(held: Held, load: Load) -> float:
    """Bytes of the MLP's backward pass beside what is saved, the residual's gradient with it."""
    s, tokens = held.shape, load.tokens / _ranks(held, load)
    h, i = s.hidden, s.active_intermediate
    if held.bf16:
        return (FP32 * h + BF16 * 2 * i) * tokens
    if held.fused_mlp:  # its gradient and its input are transposed for oneDNN
        return FP32 * (2 * h + 4 * i) * tokens
    return FP32 * (h + 2 * i) * tokens


def _chunks(held: Held, load: Load, backward: bool) -> float:
    """Bytes of the log-probabilities' logits and of what is made from them."""
    v = held.shape.vocabulary
    if load.sft:
        return _trl_tile(held, load, backward)
    rows = min(max(1, CHUNK_LOGITS // v), _responses(held, load))
    if backward:
        return rows * v * (FP32 + (BF16 if held.bf16 else 0))
    # Logits, probabilities, their product; or, of a nucleus, these sorted, with an int64 index,
    # and the sort's own copy.
    return rows * v * FP32 * (3 if load.top_p == 1 else 6)


def _trl_tile(held: Held, load: Load, backward: bool) -> float:
    """Bytes of TRL's fused head: a tile; on the CPU, without a kernel, seven in fp32 beside."""
    tokens, size = min(load.tokens, SFT_TOKENS), BF16 if held.bf16 else FP32
    of_hidden = FP32 * load.tokens * held.shape.hidden if backward else 0
    if not held.on_cpu:
        return size * tokens * SFT_VOCABULARY + of_hidden
    tile = tokens * min(held.shape.vocabulary, SFT_VOCABULARY)
    return tile * (size + FP32 * (7.25 if backward else 4.25)) + of_hidden


def _responses(held: Held, load: Load) -> float:
    answers = load.groups * load.answers * load.response
    return (load.tokens if load.sft else answers) / _ranks(held, load)


@dataclass(frozen=True)
class Kept:
    """Bytes that a whole row of a process keeps of each layer, and outside of the layers."""

    inputs: float
    inner: float
    mlp: float
    ends: float
    """The last norm's input and result."""
    tables: float
    """Cosines and sines, and hidden states of the responses."""


def _kept(held: Held, load: Load) -> Kept:
    s, tokens = held.shape, load.tokens / _ranks(held, load)
    inputs, inner, mlp = (each * tokens for each in layer_bytes(held, load))
    mask = load.groups * load.prompt**2 if load.sft and load.groups > 1 else 0
    size = BF16 if held.bf16 else FP32
    hidden = _responses(held, load) * s.hidden * size
    tables = 2 * FP32 * s.head_dim * tokens + hidden + mask
    return Kept(inputs, inner, mlp, 2 * FP32 * s.hidden * tokens, tables)


@dataclass(frozen=True)
class _Copies:
    """Bytes of the weights' bf16 copies that autocast makes."""

    layer: float
    kept: float
    """Until the backward pass has used them."""
    head: float


def _copies(held: Held) -> _Copies:
    if not held.bf16:
        return _Copies(0, 0, 0)
    s, learner = held.shape, held.learner
    layer, every = BF16 * s.layer, BF16 * s.layer * s.layers
    again = learner.activation_checkpointing
    return _Copies(layer, layer if again else every, BF16 * s.embedding)


def moments(held: Held, load: Load) -> Iterator[tuple[str, Parts]]:
    """What comes to ``Held.held`` at each moment of a step, by part."""
    s, learner, n = held.shape, held.learner, held.processes
    kept, copies, last = _kept(held, load), _copies(held), s.layers - 1
    again = learner.activation_checkpointing
    away = learner.offload_activations and not held.on_cpu and not load.sft
    a_layer = 0 if away else kept.inputs + (0 if again else kept.inner)
    fresh = kept.inner if again or away else 0
    gathered = FP32 * (s.ends + GATHERED_LAYERS * s.layer) if n > 1 else 0
    full = not learner.lora_rank
    head, of_layer = full * FP32 * s.embedding, FP32 * held.trained_layer
    down = full * FP32 * s.hidden * s.active_intermediate

    def moment(gradients: float, copies: float, activations: float, working: float) -> Parts:
        return dict(
            zip(PARTS[2:], (gradients, gathered, copies, activations, working), strict=True)
        )

    forward = s.layers * a_layer + kept.tables
    yield "forward", moment(0, copies.kept, forward, kept.mlp * again)
    loss = forward + (0 if away else kept.ends)
    casts = copies.head + (0 if again else copies.kept)
    yield "loss", moment(0, casts, loss, _chunks(held, load, backward=False))
    # The head's gradient of a chunk in bf16, and in fp32 to be added up.
    chunk = _chunks(held, load, backward=True) + 3 * copies.head
    yield "loss, backward", moment(head, casts, loss, chunk)
    for i in sorted({last, max(last - 1, 0), 0}):
        activations = (i + 1) * a_layer + fresh + kept.tables
        above = head + of_layer * (last - i) / n + (of_layer if n > 1 else 0)
        of_mlp = above + (down if n == 1 else 0)
        mlp = moment(of_mlp, copies.kept, activations, _mlp_work(held, load))
        yield f"layer {i}, MLP, backward", mlp
        work = _attention_work(held, load, i == last) + kept.inputs
        of_both = above + of_layer * (s.layer - s.attention) / s.layer / n
        attention = moment(of_both, copies.kept, activations - kept.mlp, work)
        yield f"layer {i}, attention, backward", attention
    ends = full * FP32 * s.ends + (head if s.tied else 0)
    gradients = ends + of_layer * s.layers / n
    yield "embedding, backward", moment(gradients, 0, kept.tables, kept.inputs)
    # One tensor after the other on the CPU, all together on a GPU.
    largest = max(s.embedding, s.layer // 6) if full else held.trained_layer
    roots = 2 * FP32 * largest if held.on_cpu else FP32 * held.trained
    gathered = 0
    yield "update", moment(FP32 * held.trained / n, 0, 0, roots / n)


def learner_peak(held: Held, load: Load) -> tuple[str, Mapping[str, float]]:
    """The moment of a step that needs most, and a process's bytes by ``PARTS`` then."""
    name, parts = max(moments(held, load), key=lambda moment: sum(moment[1].values()))
    between = held.held()
    if load.before:
        between["optimizer"] *= 2
    return name, {**between, **parts}
