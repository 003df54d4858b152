"""What vLLM's workers cannot do by themselves: change weights and RoPE in place, exactly."""

from __future__ import annotations

from typing import Any

import torch
from vllm.config import set_current_vllm_config
from vllm.model_executor.layers import rotary_embedding


class WorkerExtension:
    """Methods that vLLM adds to its worker (``worker_extension_cls``)."""

    model_runner: Any

    def load_policy_weights(self, weights: list[tuple[str, torch.Tensor]]) -> None:
        self.model_runner.reload_weights(weights_iterator=weights)
        model = self.model_runner.get_model()
        for module in model.modules():
            # vLLM packs a layer's experts for the CPU the first time only.
            kernel = getattr(getattr(module, "quant_method", None), "moe_kernel", None)
            if kernel is not None:
                kernel.fused_experts.process_weights_after_loading(module)
        head = model.lm_head
        # A tied head keeps the packed copy that it made of older weights; pack it again.
        head.quant_method.process_weights_after_loading(head)

    def set_rope(self, parameters: dict[str, Any], limit: int) -> None:
        """Writes another RoPE's table into the engine's table.

        Compiled graphs point at the engine's table, so it is overwritten and not replaced. It has
        room for the longest row of the run; a RoPE with a lower limit fills its beginning.
        """
        for module in self.model_runner.get_model().modules():
            table = getattr(module, "cos_sin_cache", None)
            if table is None:
                continue
            # vLLM's cache could return the very table that is about to be overwritten.
            rotary_embedding._ROPE_DICT.clear()
            with set_current_vllm_config(self.model_runner.vllm_config):
                fresh = rotary_embedding.get_rope(
                    module.head_size,
                    max_position=limit,
                    is_neox_style=module.is_neox_style,
                    rope_parameters=parameters,
                    dtype=table.dtype,
                ).cos_sin_cache
            rows = min(limit, len(fresh), len(table))
            table[:rows].copy_(fresh[:rows])
