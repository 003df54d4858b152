"""What a rollout actor holds on each card: weights, workspace, and KV cache in what is left."""

from __future__ import annotations

from dataclasses import dataclass

from qwenlong.config import EngineConfig
from qwenlong.plan.shape import Shape

GIB = 2**30
MAX_SEQUENCES = 256
"""Most rollouts that vLLM computes at once (its ``max_num_seqs``; large cards have more)."""
WORKSPACE = 3 * GIB
"""Bytes of a card for activations of a prefill chunk, CUDA graphs, logits; an assumption."""
CPU_KV = GIB
"""KV cache on the CPU if ``kv_cache_gb`` is null (``rollout/vllm_engine.py``)."""


@dataclass(frozen=True)
class Engine:
    """One actor; bytes on each of its cards."""

    weights: float
    workspace: float
    kv_cache: float
    kv_token: float
    """Bytes of a token in the KV cache."""

    @property
    def tokens(self) -> int:
        """Tokens that fit the KV cache."""
        return max(0, int(self.kv_cache / self.kv_token))


def engine_of(
    shape: Shape, config: EngineConfig, number_bytes: int, card_bytes: float, on_cpu: bool
) -> Engine:
    """What an engine of this configuration holds.

    Args:
        number_bytes: bytes of a parameter and of a number in the cache (``policy.dtype``).
        card_bytes: memory of a card; the CPU's is not divided here.
    """
    cards = config.tensor_parallel_size
    # A tied head is packed again on the CPU, as a copy.
    head_copy = shape.embedding if on_cpu and shape.tied else 0
    weights = number_bytes * (shape.parameters + head_copy) / cards
    # Beyond one key head a card, the heads are repeated.
    kv_token = shape.kv_bytes(number_bytes) / min(cards, shape.kv_heads)
    workspace = 0 if on_cpu else WORKSPACE
    kv_cache = config.gpu_memory_utilization * card_bytes - weights - workspace
    if config.kv_cache_gb is not None:
        kv_cache = config.kv_cache_gb * GIB
    elif on_cpu:
        kv_cache = CPU_KV
    return Engine(weights, workspace, kv_cache, kv_token)


def at_once(engine: Engine, prompt: int, response: int, group: int, rollouts: int) -> int:
    """Rollouts that an actor computes at once; a group shares its prompt's keys and values.

    Args:
        rollouts: of a step, on this actor.
    """
    groups, rest = divmod(engine.tokens, prompt + group * response)
    more = max(0, rest - prompt) // response
    return max(1, min(rollouts, MAX_SEQUENCES, groups * group + min(more, group)))
