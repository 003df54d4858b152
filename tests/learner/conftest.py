"""Small random Qwen3 policies, batches for them, and the plain way to their log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.logprobs import TokenStats
from qwenlong.learner.micro_batches import RowSlice
from qwenlong.types import Batch, Rope, Row, TokenIds
from tests.arrays import row

ROPE = Rope(theta=10_000.0, window=64)
VOCABULARY = 97
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": ROPE.window,
    "rope_parameters": ROPE.parameters(),
    "initializer_range": 0.12,
}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of three policies, the last one a mixture of experts with its first layer dense.

    Their weights are wide enough for logits that differ.
    """
    folders = {}
    for name in ("tied", "untied", "moe"):
        torch.manual_seed(3)
        sizes = {**SIZES, "tie_word_embeddings": name == "tied"}
        if name == "moe":
            sizes |= {**EXPERTS, "norm_topk_prob": True, "mlp_only_layers": [0]}
            model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes))
        else:
            model = Qwen3ForCausalLM(Qwen3Config(**sizes))
        # As they are drawn, norms are all ones: a mistake with them could not be seen.
        for parameter_name, parameter in model.named_parameters():
            if "norm" in parameter_name:
                torch.nn.init.normal_(parameter, 1.0, 0.1)
        folder: Path = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        folders[name] = str(folder)
    return folders


class ExactRouter(torch.nn.Module):
    """transformers' router of a mixture of experts, without its fp32."""

    def __init__(self, router: Any) -> None:
        super().__init__()
        self.top_k: int = router.top_k
        self.weight: Tensor = router.weight

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = torch.nn.functional.linear(hidden, self.weight)
        values, chosen = logits.softmax(-1).topk(self.top_k, dim=-1)
        return logits, values / values.sum(-1, keepdim=True), chosen


@pytest.fixture(scope="session")
def exactly() -> Callable[[PreTrainedModel], None]:
    """Makes an fp64 policy fp64 throughout: transformers has norms and routers in fp32 always."""

    def exact(model: PreTrainedModel) -> None:
        assert model.dtype == torch.float64
        if hasattr(model.config, "num_experts"):
            model.set_experts_implementation("eager")  # the grouped kernel has no fp64
        for name, module in list(model.named_modules()):
            if type(module).__name__ in ("Qwen3RMSNorm", "Qwen3MoeRMSNorm"):
                fp64 = torch.nn.RMSNorm(len(module.weight), module.variance_epsilon)
                fp64.weight = module.weight
                model.set_submodule(name, fp64)
            elif type(module).__name__ == "Qwen3MoeTopKRouter":
                model.set_submodule(name, ExactRouter(module))

    return exact


@pytest.fixture(scope="session")
def plain_logits() -> Callable[[PreTrainedModel, TokenIds, TokenIds], Tensor]:
    """Logits [n, V] that predict a response's n tokens: one row a response, all of it at once."""

    def logits(model: PreTrainedModel, prompt: TokenIds, response: TokenIds) -> Tensor:
        ids = torch.from_numpy(np.concatenate([prompt, response])).long()[None]
        return model(input_ids=ids).logits[0, len(prompt) - 1 : -1]

    return logits


@pytest.fixture(scope="session")
def plain_logprobs(plain_logits) -> Callable[[PreTrainedModel, Row, float], list[Tensor]]:
    """Log-probabilities [n] of the n tokens of each of a row's responses."""

    def logprobs(model: PreTrainedModel, row: Row, temperature: float) -> list[Tensor]:
        each = []
        for response in row.responses:
            logits = plain_logits(model, row.prompt_ids, response) / temperature
            each.append(logits.log_softmax(-1)[range(len(response)), response.tolist()])
        return each

    return logprobs


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., tuple[Row, ...]]:
    """Rows of random tokens, from the lengths of their prompts and responses.

    The engine's log-probabilities are about what the small policies give.
    """

    def rows(lengths: Sequence[tuple[int, Sequence[int]]], seed: int = 0) -> tuple[Row, ...]:
        rng = Random(seed)

        def tokens(n: int) -> list[int]:
            return [rng.randrange(VOCABULARY) for _ in range(n)]

        return tuple(
            row(
                tokens(prompt),
                [tokens(n) for n in responses],
                [[rng.gauss(-5.3, 0.8) for _ in range(n)] for n in responses],
                [rng.gauss(0, 1) for _ in responses],
            )
            for prompt, responses in lengths
        )

    return rows


@pytest.fixture(scope="session")
def batch_of(rows_of) -> Callable[..., Batch]:
    """Batches of five groups of three; the last group's responses are all empty."""

    def batch(mini_batch: int = 5, learning_rate: float = 3e-3, seed: int = 0) -> Batch:
        lengths = [(20, (5, 9, 1)), (7, (3, 0, 4)), (30, (8, 8, 2)), (12, (1, 1, 1)), (9, (0,) * 3)]
        return Batch(rows_of(lengths, seed), mini_batch, learning_rate, 16, temperature=0.7)

    return batch


@pytest.fixture(scope="session")
def parameters_of() -> Callable[[GrpoLearner], dict[str, Tensor]]:
    """A learner's parameters as they are now."""

    def parameters(learner: GrpoLearner) -> dict[str, Tensor]:
        return {name: each.detach().clone() for name, each in learner.model.named_parameters()}

    return parameters


@pytest.fixture(scope="session")
def stats_of() -> Callable[[GrpoLearner, tuple[Row, ...], Batch], TokenStats]:
    """Statistics of rows packed together, without gradient."""

    def stats(learner: GrpoLearner, rows: tuple[Row, ...], batch: Batch) -> TokenStats:
        pieces = tuple(RowSlice(each, 0, len(each.responses)) for each in rows)
        with torch.no_grad():
            return learner.policy(pieces, batch.temperature, batch.top_p)

    return stats
