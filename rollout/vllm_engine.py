"""An engine over vLLM, in the process that holds it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from qwenlong.config import EngineConfig, RolloutConfig
from qwenlong.types import Prompt, Rollout, Rope, Sampling


class VllmEngine:
    """See ``types.Engine``. Logprobs are those of the behaviour policy: after temperature, top-p.

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
        # One process: no second one to start, feed and take down.
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
            logprobs_mode="processed_logprobs",
            enable_prefix_caching=True,
            tensor_parallel_size=config.tensor_parallel_size,
            distributed_executor_backend="uni" if single else "mp",
            gpu_memory_utilization=config.gpu_memory_utilization,
            kv_cache_memory_bytes=_kv_cache_bytes(config),
            worker_extension_cls="qwenlong.rollout.worker.WorkerExtension",
            disable_log_stats=True,
        )

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]
    ) -> list[tuple[Rollout, ...]]:
        from vllm import SamplingParams

        # Keys and values of older weights, or of another RoPE, would else be taken for a prompt
        # seen before; and answers must not depend on what was asked, for a new engine gives them.
        self._drop_caches()
        params = [
            SamplingParams(
                n=sampling.n,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                logprobs=0,
                seed=seed,
                skip_special_tokens=False,
            )
            for seed in seeds
        ]
        outputs = self.llm.generate(
            [{"prompt_token_ids": list(prompt.ids)} for prompt in prompts], params, use_tqdm=False
        )
        return [
            tuple(self._rollout(prompt, answer) for answer in output.outputs)
            for prompt, output in zip(prompts, outputs, strict=True)
        ]

    def _rollout(self, prompt: Prompt, answer: Any) -> Rollout:
        ids = tuple(answer.token_ids)
        logprobs = tuple(at[token].logprob for at, token in zip(answer.logprobs, ids, strict=True))
        return Rollout(
            prompt_ids=prompt.ids,
            response_ids=ids,
            logprobs=logprobs,
            finish_reason=answer.finish_reason,
            version=self.version,
            text=answer.text,
        )

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        self.llm.collective_rpc("load_policy_weights", args=(list(weights),))
        self.version = version

    def stretch(self, rope: Rope) -> None:
        self.llm.collective_rpc("stretch_rope", args=(rope.parameters(), rope.limit))

    def _drop_caches(self) -> None:
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not drop its prefix cache: requests are still running")

    def close(self) -> None:
        self.llm.llm_engine.engine_core.shutdown()


def _kv_cache_bytes(config: EngineConfig) -> int | None:
    if config.kv_cache_gb is not None:
        return int(config.kv_cache_gb * 2**30)
    return None if torch.cuda.is_available() else 2**30
