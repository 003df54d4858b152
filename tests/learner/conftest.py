"""Small random Qwen3 policies, and the plain way to their log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from qwenlong.types import Rope

ROPE = Rope(theta=10_000.0, window=64)
VOCABULARY = 97


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of two policies; their weights are wide enough for logits that differ."""
    folders = {}
    for name in ("tied", "untied"):
        torch.manual_seed(3)
        config = Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=ROPE.window,
            rope_parameters=ROPE.parameters(),
            tie_word_embeddings=name == "tied",
            initializer_range=0.12,
        )
        folder: Path = tmp_path_factory.mktemp(name)
        Qwen3ForCausalLM(config).save_pretrained(folder)
        folders[name] = str(folder)
    return folders


@pytest.fixture(scope="session")
def exactly() -> Callable[[PreTrainedModel], None]:
    """Makes an fp64 policy fp64 throughout: transformers' Qwen3 has its norms in fp32 always."""

    def exact(model: PreTrainedModel) -> None:
        for name, norm in list(model.named_modules()):
            if type(norm).__name__ == "Qwen3RMSNorm":
                fp64 = torch.nn.RMSNorm(len(norm.weight), norm.variance_epsilon)
                fp64.weight = norm.weight
                model.set_submodule(name, fp64)

    return exact


@pytest.fixture(scope="session")
def plain_logits() -> Callable[[PreTrainedModel, tuple[int, ...], tuple[int, ...]], Tensor]:
    """Logits [n, V] that predict a response's n tokens: one row a response, all of it at once."""

    def logits(
        model: PreTrainedModel, prompt: tuple[int, ...], response: tuple[int, ...]
    ) -> Tensor:
        ids = torch.tensor([[*prompt, *response]])
        return model(input_ids=ids).logits[0, len(prompt) - 1 : -1]

    return logits
