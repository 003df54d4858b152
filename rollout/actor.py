"""The Ray actor that generates: one vLLM engine, its weights taken from the object store."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import torch

from qwenlong.config import EngineConfig
from qwenlong.rollout.vllm_engine import VllmEngine
from qwenlong.types import Prompt, Rollout, Rope, Sampling, StoredWeights


class RolloutActor:
    """Made a Ray actor by ``cluster``; a plain class, so that it can be used without Ray."""

    def __init__(
        self, path: str, dtype: str, rope: Rope, longest: int, config: EngineConfig, seed: int
    ) -> None:
        self.engine = VllmEngine(path, dtype, rope, longest, config, seed)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]
    ) -> list[tuple[Rollout, ...]]:
        return self.engine.generate(prompts, sampling, seeds)

    def load(self, weights: StoredWeights, version: int) -> None:
        """``weights`` are read where they lie in the object store; only the engine copies."""
        self.engine.load(weights.tensors(), version)

    def stretch(self, rope: Rope) -> None:
        self.engine.stretch(rope)

    def peak_memory_gb(self) -> float:
        """Most memory so far, in GiB: the GPU's where there is one, else the process's."""
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
