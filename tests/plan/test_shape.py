"""Shapes have as many parameters as transformers' own models; where shapes are read from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config, Qwen3MoeConfig

from qwenlong.config import PolicyConfig, TinyConfig
from qwenlong.plan.shape import KNOWN, Shape, shape_of
from qwenlong.types import InputError


def counted(shape: Shape) -> int:
    """Parameters of transformers' own model, on the meta device."""
    sizes = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "tie_word_embeddings": shape.tied,
    }
    if not shape.qk_norm:
        config = Qwen2Config(**sizes)
    elif shape.experts:
        config = Qwen3MoeConfig(
            **sizes,
            head_dim=shape.head_dim,
            num_experts=shape.experts,
            num_experts_per_tok=shape.experts_a_token,
            moe_intermediate_size=shape.expert_intermediate,
            mlp_only_layers=list(range(shape.dense_layers)),
        )
    else:
        config = Qwen3Config(**sizes, head_dim=shape.head_dim)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", [name for name in KNOWN if "235B" not in name])
def test_parameters_are_transformers_own(name: str) -> None:
    assert KNOWN[name].parameters == counted(KNOWN[name])


def test_a_mixture_with_dense_layers_is_counted() -> None:
    shape = Shape(
        3, 64, 96, 4, 2, 16, 97, tied=False, window=64, experts=6, experts_a_token=2,
        expert_intermediate=32, dense_layers=1,
    )  # fmt: skip
    assert shape.parameters == counted(shape)
    assert shape.active < shape.parameters - shape.ends


def test_sizes_are_those_the_names_say() -> None:
    billions = {name: shape.parameters / 1e9 for name, shape in KNOWN.items()}
    assert billions["Qwen3-4B"] == pytest.approx(4.0, abs=0.05)
    assert billions["Qwen3-30B-A3B"] == pytest.approx(30.5, abs=0.1)
    assert billions["DeepSeek-R1-Distill-Qwen-14B"] == pytest.approx(14.8, abs=0.05)
    assert billions["DeepSeek-R1-Distill-Qwen-32B"] == pytest.approx(32.8, abs=0.05)


def test_a_folder_says_its_own_shape(tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 97}
    config = Qwen3Config(**sizes, num_attention_heads=4, num_key_value_heads=2, head_dim=16)
    config.save_pretrained(tmp_path)
    shape = shape_of(PolicyConfig(str(tmp_path)))
    assert (shape.layers, shape.head_dim, shape.tied) == (2, 16, config.tie_word_embeddings)
    assert shape.parameters == counted(shape)


def test_tiny_has_the_shape_of_its_keys() -> None:
    tiny = TinyConfig(layers=2, hidden=64, intermediate=128, heads=2, kv_heads=1)
    shape = shape_of(PolicyConfig("tiny", window=512, tiny=tiny))
    assert shape.parameters == counted(shape)
    assert (shape.head_dim, shape.window, shape.vocabulary) == (32, 512, 2048)


def test_hub_names_may_have_endings() -> None:
    assert shape_of(PolicyConfig("Qwen/Qwen3-30B-A3B-Thinking-2507")) == KNOWN["Qwen3-30B-A3B"]
    assert shape_of(PolicyConfig("Qwen/Qwen3-4B-Base")) == KNOWN["Qwen3-4B"]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (PolicyConfig("some/Model-7B"), r"policy\.path=some/Model-7B: no folder"),
        (PolicyConfig("tiny", window=64, tiny=TinyConfig(heads=3)), r"policy\.tiny\.heads=3"),
    ],
)
def test_unknown_shapes_are_refused(policy: PolicyConfig, said: str) -> None:
    with pytest.raises(InputError, match=said):
        shape_of(policy)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"model_type": "llama"})])
def test_a_config_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json is not a policy's"):
        shape_of(PolicyConfig(str(tmp_path)))
