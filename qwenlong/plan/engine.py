"""What a rollout actor holds a card: weights, workspace, and the KV cache that is left."""

from __future__ import annotations

from dataclasses import dataclass

from qwenlong.config import EngineConfig
from qwenlong.plan.shape import Shape

GIB = 2**30
MAX_SEQUENCES = 256
"""Rollouts that vLLM computes at once, at most (its ``max_num_seqs``; more on large cards)."""
WORKSPACE = 3 * GIB
"""Of a card: activations of a prefill chunk, CUDA graphs, logits; an assumption."""
CPU_KV = GIB
"""KV cache on the CPU where ``kv_cache_gb`` is null (``rollout/vllm_engine.py``)."""


@dataclass(frozen=True)
class Engine:
    """Bytes a card of one actor; tokens of its KV cache."""

    weights: float
    workspace: float
    kv_left: float
    """KV cache that there is room for."""
    kv_token: float
    """Of a token, on one card."""

    @property
    def tokens(self) -> int:
        return max(0, int(self.kv_left / self.kv_token))


def engine_of(
    shape: Shape, config: EngineConfig, bytes_each: int, card_bytes: float, on_cpu: bool
) -> Engine:
    """
    Args:
        bytes_each: of a parameter and of an entry of the cache (policy.dtype).
        card_bytes: memory of a card; of the CPU it only says what the caller compares with.
    """
    cards = config.tensor_parallel_size
    # A head that is tied is packed anew on the CPU, a copy; key heads are repeated beyond their
    # number of cards.
    own_head = shape.embedding if on_cpu and shape.tied else 0
    weights = bytes_each * (shape.parameters + own_head) / cards
    kv_token = shape.kv_bytes(bytes_each) / min(cards, shape.kv_heads)
    workspace = 0 if on_cpu else WORKSPACE
    left = config.gpu_memory_utilization * card_bytes - weights - workspace
    if config.kv_cache_gb is not None:
        left = config.kv_cache_gb * GIB
    elif on_cpu:
        left = CPU_KV
    return Engine(weights, workspace, left, kv_token)


def at_once(engine: Engine, prompt: int, response: int, group: int, rollouts: int) -> int:
    """Rollouts that an actor computes at once: a prompt's keys and values are shared by its group.

    Args:
        rollouts: the actor's share of a step.
    """
    whole, rest = divmod(engine.tokens, prompt + group * response)
    some = max(0, rest - prompt) // response
    return max(1, min(rollouts, MAX_SEQUENCES, whole * group + min(some, group)))
