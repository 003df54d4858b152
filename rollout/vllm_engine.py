"""The engine of rollouts and of a judge: vLLM, in the process of its actor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from qwenlong.config import EngineConfig, RolloutConfig
from qwenlong.types import Engine, Request, Rollout, Rope, Sampling, StoredWeights, token_ids


class VllmEngine(Engine):
    """``cluster`` makes it a Ray actor; it works without Ray, too.

    Args:
        rope: the most stretched RoPE of the run; its ``limit`` bounds every row.
        longest: the longest row of the run, in tokens.
    """

    def __init__(
        self, path: str, dtype: str, rope: Rope, longest: int, config: EngineConfig, seed: int
    ) -> None:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        if isinstance(config, RolloutConfig) and config.batch_invariant:
            os.environ["VLLM_BATCH_INVARIANT"] = "1"  # its tensor-parallel workers inherit it
        single = config.tensor_parallel_size == 1
        # A second process would have to be started, fed and ended for nothing.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        from vllm import LLM

        self.version = 0
        self.llm = LLM(
            model=path,
            dtype=dtype,
            seed=seed,
            max_model_len=longest,
            max_num_batched_tokens=None if torch.cuda.is_available() else max(longest, 4096),
            # A seeded request that is prefilled in parts crashes vLLM on the CPU.
            enable_chunked_prefill=torch.cuda.is_available(),
            hf_overrides={
                "rope_parameters": rope.parameters(),
                "max_position_embeddings": max(rope.limit, longest),
            },
            # Log-probabilities of the distribution that was sampled from: after temperature, top-p.
            logprobs_mode="processed_logprobs",
            enable_prefix_caching=True,
            # Policies that train on the CPU are small: compiling one takes 20 s and gains less.
            enforce_eager=not torch.cuda.is_available(),
            tensor_parallel_size=config.tensor_parallel_size,
            distributed_executor_backend="uni" if single else "mp",
            gpu_memory_utilization=config.gpu_memory_utilization,
            kv_cache_memory_bytes=_kv_cache_bytes(config),
            worker_extension_cls="qwenlong.rollout.worker.WorkerExtension",
            disable_log_stats=True,
        )

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[tuple[Rollout, ...]]:
        from vllm import SamplingParams

        # The prefix cache may hold keys and values of older weights or of another RoPE. And
        # responses must not depend on earlier requests: a restarted engine has an empty cache.
        self._drop_caches()
        params = [
            SamplingParams(
                n=sampling.n,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                logprobs=0,  # of the sampled token alone
                seed=request.seed,
                skip_special_tokens=False,
            )
            for request in requests
        ]
        prompts = [{"prompt_token_ids": request.ids.tolist()} for request in requests]
        outputs = self.llm.generate(prompts, params, use_tqdm=False)
        return [tuple(map(self._rollout, output.outputs)) for output in outputs]

    def _rollout(self, output: Any) -> Rollout:
        ids = output.token_ids
        sampled = [at[token].logprob for at, token in zip(output.logprobs, ids, strict=True)]
        return Rollout(
            response_ids=token_ids(ids),
            logprobs=np.array(sampled, np.float32),
            finish_reason=output.finish_reason,
            version=self.version,
            text=output.text,
        )

    def load(self, weights: StoredWeights, version: int) -> None:
        """The arrays are read where they lie in the object store; only vLLM copies them."""
        self.llm.collective_rpc("load_policy_weights", args=(list(weights.tensors()),))
        self.version = version

    def set_rope(self, rope: Rope) -> None:
        self.llm.collective_rpc("set_rope", args=(rope.parameters(), rope.limit))

    def _drop_caches(self) -> None:
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not drop its prefix cache: requests are still running")

    def close(self) -> None:
        self.llm.llm_engine.engine_core.shutdown()


def _kv_cache_bytes(config: EngineConfig) -> int | None:
    if config.kv_cache_gb is not None:
        return int(config.kv_cache_gb * 2**30)
    return None if torch.cuda.is_available() else 2**30
