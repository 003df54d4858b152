"""The trained policy: packed groups in, statistics of their response tokens out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu
from transformers import PreTrainedModel

from qwenlong.config import LearnerConfig
from qwenlong.learner.attention.layout import Layout
from qwenlong.learner.attention.merge import Attend
from qwenlong.learner.attention.shared_prompt import SHARED_PROMPT, backend_for
from qwenlong.learner.distributed.mesh import Mesh, shard_parameters
from qwenlong.learner.distributed.ulysses import gathered, own_tokens, sharded_attention
from qwenlong.learner.linear import use_onednn
from qwenlong.learner.logprobs import TokenStats, token_stats
from qwenlong.learner.lora import add_adapters
from qwenlong.learner.micro_batches import Slices, joined, layout_of
from qwenlong.model.pretrained import load_policy


class PackedPolicy:
    """A transformers model with sharded parameters that computes packed groups."""

    def __init__(
        self,
        model: PreTrainedModel,
        backend: Callable[[Layout], Attend],
        mesh: Mesh,
        bf16: bool,
        offload: bool,
    ) -> None:
        self.model, self.backend, self.mesh = model, backend, mesh
        self.bf16, self.offload = bf16, offload
        model.packed_stats = self._stats
        shard_parameters(model, mesh, forward="packed_stats")

    def __call__(self, slices: Slices, temperature: float, top_p: float) -> TokenStats:
        """One pass over the slices, packed into one sequence.

        Returns:
            Statistics of the R response tokens, slice after slice; every sequence rank has all.
        """
        return TokenStats(*self.model.packed_stats(slices, temperature, top_p))

    def _stats(self, slices: Slices, temperature: float, top_p: float) -> tuple[Tensor, ...]:
        layout, mesh = layout_of(slices), self.mesh
        device = self.model.device
        predictors = layout.predictors()
        # This rank has every n-th token, and so the hidden states of these predictors.
        own = predictors % mesh.sequence_ranks == mesh.sequence_rank
        on_gpu = device.type == "cuda"
        offloading = save_on_cpu(pin_memory=on_gpu) if self.offload else nullcontext()
        # Only the hidden states that predict a response token go to the head: a prompt's logits
        # would take more memory than all the rest. autocast's cache would keep bf16 copies of
        # weights that FSDP2 has freed.
        with (
            offloading,
            torch.autocast(device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False),
        ):
            hidden = self.model.model(
                input_ids=own_tokens(_token_ids(slices), mesh).to(device),
                position_ids=own_tokens(layout.positions(), mesh).to(device),
                use_cache=False,
                attend=sharded_attention(self.backend(layout), mesh, layout.tokens),
            ).last_hidden_state[0, (predictors[own] // mesh.sequence_ranks).to(device)]
        if self.bf16:
            hidden = hidden.bfloat16()  # autocast leaves the last norm's output in fp32
        own = own.to(device)
        responses = [ids for each in slices for ids in each.responses]
        sampled = joined(responses, torch.long).to(device)[own]
        stats = token_stats(hidden, self.model.lm_head.weight, sampled, temperature, top_p)
        each = (stats.logprobs, stats.entropy, stats.nucleus_logmass, stats.most_likely)
        return tuple(gathered(values, own, mesh) for values in each)


def _token_ids(slices: Slices) -> Tensor:
    """Token ids [1, T]."""
    parts = [ids for each in slices for ids in (each.row.prompt_ids, *each.responses)]
    return joined(parts, torch.long)[None]


def open_policy(
    path: str, dtype: torch.dtype, config: LearnerConfig, mesh: Mesh, trained: bool
) -> PackedPolicy:
    """Loads the policy at ``path``, sharded over the mesh.

    A bf16 policy has fp32 weights and is computed under autocast.

    Args:
        trained: False for the reference, which needs no adapters.
    """
    bf16 = dtype == torch.bfloat16
    device = "cuda" if torch.cuda.is_available() else "cpu"
    held = "float32" if bf16 else str(dtype).removeprefix("torch.")
    model = load_policy(path, held, attention=SHARED_PROMPT)
    if mesh.device_mesh is None:  # FSDP2 moves each process's shard; the whole may not fit
        model = model.to(device)
    if trained and config.lora_rank:
        add_adapters(model, config.lora_rank, config.lora_alpha)
    if device == "cpu":
        use_onednn(model)
    if config.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train(trained)
    backend = backend_for(config.attention, device, dtype)
    return PackedPolicy(model, backend, mesh, bf16, config.offload_activations)
