"""Engines, and what is made of their answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qwenlong.types import MISSING


@dataclass(frozen=True)
class EngineConfig:
    """vLLM engines on Ray, an actor each."""

    actors: int = 1
    cpus: float = 1.0
    """CPUs that Ray reserves for an actor, shared by its tensor-parallel workers."""
    gpus: float = 0.0
    """GPUs an actor; at least tensor_parallel_size, or a fraction of one."""
    tensor_parallel_size: int = 1
    threads: int | None = None
    """CPU threads of an actor; if null, the cores shared by all actors (the learner waits)."""
    kv_cache_gb: float | None = None
    """KV cache of an actor in GiB; if null, 1 on the CPU, on a GPU what the next key leaves."""
    gpu_memory_utilization: float = 0.85


@dataclass(frozen=True)
class RolloutConfig(EngineConfig):
    batch_invariant: bool = False
    """vLLM's batch-invariant kernels, on GPUs: slower, and the same tokens in any company."""
    temperature: float = 0.7
    top_p: float = 0.95


@dataclass(frozen=True)
class RewardConfig:
    source: str = MISSING
    """A source of data.train; ``*`` is all that have no reward of their own."""
    rule: str | None = None
    """A kind of answer, or module:callable of any Python function (example, response, thinking)
    that gives a Score or a number from 0 to 1; each example's own kind if null."""
    combine: str = "rule"
    """rule or judge alone; or max (as in the paper), min or mean of both."""


@dataclass(frozen=True)
class JudgeConfig:
    model: str | None = None
    """Its name at ``url``, or, without one, a policy that vLLM engines of the run serve."""
    url: str | None = None
    """Of an OpenAI-compatible API, such as http://localhost:8000/v1."""
    key_env: str | None = None
    """Environment variable that holds the API's key."""
    timeout_s: float = 60.0
    """For a call to ``url``."""
    reply_tokens: int = 256
    """Longest reply; a judge that thinks needs more."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further keys of a request's body; an engine takes chat_template_kwargs alone, such as
    {enable_thinking: false}."""
    attempts: int = 5
    """Calls for one verdict, at most."""
    concurrency: int = 16
    """Calls at once; engines take all of a step."""
    max_calls: int | None = None
    max_tokens: int | None = None
    """What the run may spend, resumed or not; what comes after is unjudged."""
    cache: str | None = None
    """File of verdicts, which runs may share; one in the run's directory if null."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """Without ``url``: the engines, which get policy.dtype."""

    @property
    def is_engine(self) -> bool:
        return self.model is not None and self.url is None


@dataclass(frozen=True)
class RewardsConfig:
    by_source: list[RewardConfig] = field(default_factory=list)
    """Each example's own kind of answer decides alone where nothing is said."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    unjudged: str = "stop"
    """What becomes of a response that the judge gave no verdict on: stop (the run ends), rule
    (the rule decides alone) or drop (nobody learns from it)."""
