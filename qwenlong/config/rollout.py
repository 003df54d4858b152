"""Section ``rollout``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qwenlong.config.keys import key


@dataclass(frozen=True)
class EngineConfig:
    """vLLM engines, each an actor of Ray."""

    actors: int = key(1, "Number of engines.", at_least=1)
    cpus: float = key(
        1.0,
        "CPUs that Ray reserves for an engine; its tensor-parallel workers share them.",
        above=0,
    )
    gpus: float = key(
        0.0,
        "GPUs of an engine: at least tensor_parallel_size, or a fraction of one.",
        at_least=0,
    )
    tensor_parallel_size: int = key(1, "GPUs or processes that share a layer.", at_least=1)
    threads: int | None = key(
        None,
        "CPU threads of an engine; null divides the machine's cores among the engines, because the"
        " learner waits meanwhile.",
        at_least=1,
    )
    kv_cache_gb: float | None = key(
        None,
        "KV cache of an engine in GiB; null is 1 on a CPU, and on a GPU what"
        " gpu_memory_utilization leaves.",
        above=0,
    )
    gpu_memory_utilization: float = key(
        0.85, "Share of a GPU's memory that an engine may use.", at_least=0, below=1
    )


@dataclass(frozen=True)
class RolloutConfig(EngineConfig):
    """The engines that sample the policy's rollouts, and how they sample."""

    batch_invariant: bool = key(
        False,
        "Use vLLM's batch-invariant kernels on GPUs: slower, but a prompt gives the same tokens"
        " whatever else is in the batch.",
    )
    # At temperature 0 there are no probabilities to train on.
    temperature: float = key(
        0.7,
        "Sampling temperature of rollouts.",
        above=0,
        below=math.inf,
    )
    top_p: float = key(
        0.95, "Rollouts are sampled from the likeliest tokens of this total probability.",
        above=0, at_most=1,
    )  # fmt: skip
