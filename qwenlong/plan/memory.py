"""What a process of the learner holds, in bytes, part by part.

Every number is counted from what the code keeps (``learner/``); none is fitted. A step is a
sequence of moments, and the plan shows the one that needs most memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qwenlong.config import LearnerConfig
from qwenlong.plan.shape import Shape

CHUNK_LOGITS = 2**25
"""The value of ``learner/logprobs.py``, which imports torch and so cannot be read here."""
SFT_TOKENS, SFT_VOCABULARY = 4096, 32_768
"""Size of the tile of logits that TRL's fused head computes (``trl.kernels.chunked_logprob``)."""
FP32, BF16 = 4, 2
GATHERED_LAYERS = 3
"""Layers that FSDP2 holds whole: the one in use, the next one's all-gather and its copy-out."""
PARTS = ("weights", "optimizer", "gradients", "gathered", "bf16 copies", "activations", "working")
Parts = dict[str, float]


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch: ``groups`` of a prompt and its ``answers``, lengths in tokens.

    In RL all groups are one row, which the sequence ranks share. In SFT a group is a row of its
    own, padded, and not shared.
    """

    prompt: int
    response: int
    answers: int
    groups: int
    top_p: float = 1.0
    sft: bool = False
    after_rl: bool = False
    """SFT after an RL phase: the learner's AdamW state stays, besides the trainer's own."""

    @property
    def tokens(self) -> int:
        return self.groups * (self.prompt + self.response_tokens // self.groups)

    @property
    def response_tokens(self) -> int:
        return self.groups * self.answers * self.response


def largest_micro_batch(
    prompt: int, response: int, group: int, max_tokens: int | None, top_p: float
) -> MicroBatch:
    """A phase's largest micro-batch within ``learner.max_tokens``, as ``learner/`` cuts it."""
    whole = prompt + group * response
    max_tokens = max_tokens or whole
    answers = min(group, max(1, (max_tokens - prompt) // response))
    return MicroBatch(prompt, response, answers, max(1, max_tokens // whole), top_p)


@dataclass(frozen=True)
class Setup:
    """The policy, and how the learner trains it."""

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
        return self.shape.layers * self.trained_layer

    @property
    def trained_layer(self) -> int:
        """Parameters with a gradient in a layer."""
        s = self.shape
        if not self.learner.lora_rank:
            return s.layer
        attention = 2 * (s.hidden + s.q) + 2 * (s.hidden + s.kv)
        mlp = 0 if s.experts else 3 * (s.hidden + s.intermediate)
        return self.learner.lora_rank * (attention + mlp)

    @property
    def fused_mlp(self) -> bool:
        """Whether ``learner/linear.py`` replaces the MLP, which then keeps two tensors of four."""
        dense_qwen3 = self.shape.qk_norm and not self.shape.experts
        return self.on_cpu and not self.bf16 and dense_qwen3

    def between_steps(self) -> Parts:
        """What stays in memory between steps."""
        learner, n = self.learner, self.processes
        references = 1 if learner.kl_coefficient and not learner.lora_rank else 0
        adapters = self.trained if learner.lora_rank else 0
        weights = FP32 * (self.shape.parameters * (1 + references) + adapters)
        return {"weights": weights / n, "optimizer": 2 * FP32 * self.trained / n}

    def ranks(self, batch: MicroBatch) -> int:
        """Processes that share a row."""
        return 1 if batch.sft else self.learner.sequence_ranks

    def repeated_kv(self, batch: MicroBatch) -> int:
        """Width of the keys, repeated until every rank has a head of its own."""
        ranks, s = self.ranks(batch), self.shape
        return math.lcm(ranks, s.kv_heads) // s.kv_heads * s.kv


def layer_bytes(setup: Setup, batch: MicroBatch) -> tuple[float, float, float]:
    """Bytes that the backward pass needs of a layer, for each token of its row.

    In fp32 these are the input and result of each norm, the input and result of the norms of q and
    k, q, k, v, the output of attention, gate and up (and, unless the MLP is fused, their activation
    and product). Autocast leaves the residual stream and the norms in fp32; each linear layer keeps
    its input in bf16.

    Returns:
        The layer's input, which checkpointing keeps; everything else; the part of that which
        belongs to the MLP and its norm.
    """
    s, ranks = setup.shape, setup.ranks(batch)
    h, q, k, i = s.hidden, s.q, s.kv, s.active_intermediate
    repeated = setup.repeated_kv(batch)
    if batch.sft and batch.groups > 1 and not setup.on_cpu:
        repeated = q  # attention with a mask gets its keys repeated for each query head
    small = FP32 * (1 + 2 * s.heads + s.kv_heads)  # log-sum-exp, roots of the norms
    exchanged = q if ranks > 1 else 0  # attention's output again, as the owner of the heads has it
    seen = q + 2 * repeated + q + exchanged
    if setup.bf16:
        # An fp32 copy, and the bf16 result, of what a norm of q and k sees.
        norms = 6 * (q + k) if s.qk_norm else 0
        attention = FP32 * h + BF16 * 3 * h + norms + BF16 * seen + small
        mlp = FP32 * 2 * h + BF16 * 2 * h + BF16 * 4 * i
    else:
        norms = 2 * (q + k) if s.qk_norm else 0
        attention = FP32 * (2 * h + norms + seen) + small
        mlp = FP32 * (3 * h + (2 if setup.fused_mlp else 4) * i)
    if s.experts:  # inputs and results of the chosen experts are tensors of their own
        mlp += (BF16 if setup.bf16 else FP32) * 2 * h * s.experts_a_token
    return FP32 * h, attention + mlp, mlp


def _attention_work(setup: Setup, batch: MicroBatch, last: bool) -> float:
    """Bytes of attention's backward pass, without what was saved and the residual's gradient.

    These are the gradients of q, k and v in fp32, added up part by part. On the CPU a part's keys
    and values have gradients for each query head, before these are summed.
    """
    s, ranks = setup.shape, setup.ranks(batch)
    size = BF16 if setup.bf16 else FP32
    tokens, prompt = batch.tokens / ranks, batch.prompt / ranks
    qkv = s.q + 2 * setup.repeated_kv(batch)
    sums = (FP32 * qkv + size * s.q) * tokens
    if batch.sft:
        return size * 5 * s.q * tokens
    if not setup.on_cpu:  # contiguous copies for flash-attn's varlen call, and its results
        return sums + size * (2 * s.q + qkv + qkv) * tokens
    if last:
        return sums + 2 * size * s.q * prompt
    return sums + (FP32 * qkv + 2 * size * s.q) * prompt


def _mlp_work(setup: Setup, batch: MicroBatch) -> float:
    """Bytes of the MLP's backward pass, without what was saved, with the residual's gradient."""
    s, tokens = setup.shape, batch.tokens / setup.ranks(batch)
    h, i = s.hidden, s.active_intermediate
    if setup.bf16:
        return (FP32 * h + BF16 * 2 * i) * tokens
    if setup.fused_mlp:  # oneDNN gets its gradient and its input transposed
        return FP32 * (2 * h + 4 * i) * tokens
    return FP32 * (h + 2 * i) * tokens


def _head_work(setup: Setup, batch: MicroBatch, backward: bool) -> float:
    """Bytes of the logits that are there at once, and of what is made from them."""
    v = setup.shape.vocabulary
    if batch.sft and not setup.on_cpu:  # TRL's kernel
        tile = (BF16 if setup.bf16 else FP32) * min(batch.tokens, SFT_TOKENS) * SFT_VOCABULARY
        return tile + (FP32 * batch.tokens * setup.shape.hidden if backward else 0)
    rows = min(max(1, CHUNK_LOGITS // v), batch.response_tokens / setup.ranks(batch))
    if backward:
        return rows * v * (FP32 + (BF16 if setup.bf16 else 0))
    # Logits and probabilities; for a nucleus (top-p) also the sorted probabilities, their int64
    # index, and the sort's own copy.
    return rows * v * FP32 * (2 if batch.top_p == 1 else 6)


def moments(setup: Setup, batch: MicroBatch) -> Iterator[tuple[str, Parts]]:
    """The moments of a step, and what each adds to ``Setup.between_steps``, by part."""
    s, learner, n, last = setup.shape, setup.learner, setup.processes, setup.shape.layers - 1
    full = not learner.lora_rank
    again = learner.activation_checkpointing
    away = learner.offload_activations and not setup.on_cpu and not batch.sft
    size = BF16 if setup.bf16 else FP32
    tokens = batch.tokens / setup.ranks(batch)

    # What a process keeps of its tokens: of each layer, and outside of the layers.
    inputs, inner, mlp = (each * tokens for each in layer_bytes(setup, batch))
    a_layer = 0 if away else inputs + (0 if again else inner)
    computed_again = inner if again or away else 0
    last_norm = 0 if away else 2 * FP32 * s.hidden * tokens
    tables = 2 * FP32 * s.head_dim * tokens  # cosines and sines
    tables += size * s.hidden * batch.response_tokens / setup.ranks(batch)
    if batch.sft and batch.groups > 1 and not setup.on_cpu:
        tables += batch.groups * (batch.tokens // batch.groups) ** 2  # the mask

    # What it holds of the weights besides its own shard.
    gathered = FP32 * (s.ends + GATHERED_LAYERS * s.layer) if n > 1 else 0
    copies = BF16 * s.layer * (1 if again else s.layers) if setup.bf16 else 0
    head_copy = BF16 * s.embedding if setup.bf16 else 0
    head, of_layer = full * FP32 * s.embedding, FP32 * setup.trained_layer
    down = full * FP32 * s.hidden * s.active_intermediate

    def moment(gradients: float, copies: float, activations: float, working: float) -> Parts:
        values = (gradients, gathered, copies, activations, working)
        return dict(zip(PARTS[2:], values, strict=True))

    forward = s.layers * a_layer + tables
    yield "forward", moment(0, copies, forward, mlp * again)
    loss, casts = forward + last_norm, head_copy + (0 if again else copies)
    yield "loss", moment(0, casts, loss, _head_work(setup, batch, backward=False))
    # The head's gradient of a chunk in bf16, and in fp32 to be added up.
    chunk = _head_work(setup, batch, backward=True) + 3 * head_copy
    yield "loss, backward", moment(head, casts, loss, chunk)
    for i in sorted({last, max(last - 1, 0), 0}):
        activations = (i + 1) * a_layer + computed_again + tables
        above = head + of_layer * (last - i) / n + (of_layer if n > 1 else 0)
        of_mlp = above + (down if n == 1 else 0)
        work = _mlp_work(setup, batch)
        yield f"layer {i}, MLP, backward", moment(of_mlp, copies, activations, work)
        of_both = above + of_layer * (s.layer - s.attention) / s.layer / n
        work = _attention_work(setup, batch, i == last) + inputs
        yield f"layer {i}, attention, backward", moment(of_both, copies, activations - mlp, work)
    gradients = full * FP32 * s.ends + (head if s.tied else 0) + of_layer * s.layers / n
    yield "embedding, backward", moment(gradients, 0, tables, inputs)
    # AdamW updates one tensor after the other on the CPU, all together on a GPU.
    largest = max(s.embedding, s.layer // 6) if full else setup.trained_layer
    roots = 2 * FP32 * largest if setup.on_cpu else FP32 * setup.trained
    gathered = 0
    yield "update", moment(FP32 * setup.trained / n, 0, 0, roots / n)


def learner_peak(setup: Setup, batch: MicroBatch) -> tuple[str, Mapping[str, float]]:
    """The moment of a step that needs most memory, and a process's bytes by ``PARTS`` then."""
    name, parts = max(moments(setup, batch), key=lambda moment: sum(moment[1].values()))
    between = setup.between_steps()
    if batch.after_rl:
        between["optimizer"] *= 2
    return name, {**between, **parts}
