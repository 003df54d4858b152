"""A policy's shape, and its parameters counted, without any of its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwenlong.config import PolicyConfig
from qwenlong.types import InputError


@dataclass(frozen=True)
class Shape:
    """A Qwen2, Qwen3 or Qwen3-MoE; sizes as in its ``config.json``."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    window: int
    """Native context window in tokens."""
    qk_norm: bool = True
    qkv_bias: bool = False
    experts: int = 0
    """Of every layer; 0: dense."""
    experts_a_token: int = 0
    expert_intermediate: int = 0
    dense_layers: int = 0
    """Of a mixture of experts: layers that have an ordinary MLP."""

    @property
    def q(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.kv_heads * self.head_dim

    @property
    def attention(self) -> int:
        """Parameters of a layer's attention, its norms and biases with it."""
        weights = 2 * self.hidden * (self.q + self.kv)
        norms = 2 * self.head_dim * self.qk_norm
        return weights + norms + (self.q + 2 * self.kv) * self.qkv_bias

    def _mlp(self, experts: int) -> int:
        dense = 3 * self.hidden * self.intermediate
        one = 3 * self.hidden * self.expert_intermediate
        return experts * one + self.hidden * self.experts if self.experts else dense

    @property
    def layer(self) -> int:
        """Parameters of one layer; of a mixture of experts, of one that is a mixture."""
        return self.attention + 2 * self.hidden + self._mlp(self.experts)

    @property
    def embedding(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def ends(self) -> int:
        """Parameters outside of the layers: embedding, head where it is its own, last norm."""
        return self.embedding * (1 if self.tied else 2) + self.hidden

    def _in_layers(self, a_layer: int) -> int:
        dense = self.attention + 2 * self.hidden + 3 * self.hidden * self.intermediate
        few = self.dense_layers if self.experts else 0
        return (self.layers - few) * a_layer + few * dense

    @property
    def parameters(self) -> int:
        return self.ends + self._in_layers(self.layer)

    @property
    def active(self) -> int:
        """Parameters that a token goes through, embedding and head not counted."""
        return self._in_layers(self.attention + 2 * self.hidden + self._mlp(self.experts_a_token))

    @property
    def active_intermediate(self) -> int:
        """Width of the MLP that a token goes through."""
        return (
            self.experts_a_token * self.expert_intermediate if self.experts else self.intermediate
        )

    def kv_bytes(self, dtype_bytes: int) -> int:
        """Of keys and values of one token, in all layers."""
        return 2 * self.layers * self.kv * dtype_bytes


def _qwen3(layers: int, hidden: int, wide: int, heads: int, tied: bool) -> Shape:
    return Shape(layers, hidden, wide, heads, 8, 128, 151_936, tied, 40_960)


def _qwen3_moe(layers: int, hidden: int, wide: int, expert: int, heads: int) -> Shape:
    dense = Shape(layers, hidden, wide, heads, 4, 128, 151_936, False, 40_960)
    return replace(dense, experts=128, experts_a_token=8, expert_intermediate=expert)


def _qwen2(layers: int, hidden: int, wide: int, heads: int, kv: int, tied: bool, v: int) -> Shape:
    return Shape(
        layers, hidden, wide, heads, kv, hidden // heads, v, tied, 131_072, qk_norm=False,
        qkv_bias=True,
    )  # fmt: skip


KNOWN = {
    # Each from the config.json beside its weights (Qwen3: arXiv 2505.09388, tables 1 and 2).
    "Qwen3-0.6B": _qwen3(28, 1024, 3072, 16, tied=True),
    "Qwen3-1.7B": _qwen3(28, 2048, 6144, 16, tied=True),
    "Qwen3-4B": _qwen3(36, 2560, 9728, 32, tied=True),
    "Qwen3-8B": _qwen3(36, 4096, 12288, 32, tied=False),
    "Qwen3-14B": _qwen3(40, 5120, 17408, 40, tied=False),
    "Qwen3-32B": _qwen3(64, 5120, 25600, 64, tied=False),
    "Qwen3-30B-A3B": _qwen3_moe(48, 2048, 6144, 768, 32),
    "Qwen3-235B-A22B": _qwen3_moe(94, 4096, 12288, 1536, 64),
    "DeepSeek-R1-Distill-Qwen-14B": _qwen2(48, 5120, 13824, 40, 8, False, 152_064),
    "DeepSeek-R1-Distill-Qwen-32B": _qwen2(64, 5120, 27648, 40, 8, False, 152_064),
    "Qwen2.5-1.5B-Instruct": _qwen2(28, 1536, 8960, 12, 2, True, 151_936),
    "Qwen2.5-7B-Instruct": _qwen2(28, 3584, 18944, 28, 4, False, 152_064),
}
"""Shapes by the last part of a hub name, longer ones (``-Base``, ``-Thinking-2507``) included."""


def shape_of(policy: PolicyConfig) -> Shape:
    """From the folder's ``config.json``, the ``tiny`` keys, or the sizes known by name.

    Raises:
        InputError: none of them says.
    """
    path = policy.path
    if path == "tiny":
        return _tiny(policy)
    file = Path(path) / "config.json"
    if file.is_file():
        try:
            return _read(json.loads(file.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise InputError(
                f"policy.path={path}: {file.name} is not a policy's ({error!r})"
            ) from None
    name = path.rstrip("/").rpartition("/")[2]
    known = [known for known in KNOWN if name == known or name.startswith(f"{known}-")]
    if not known:
        raise InputError(
            f"policy.path={path}: no folder with a config.json, and its sizes are not known by"
            f" name; known are {', '.join(KNOWN)}"
        )
    return KNOWN[max(known, key=len)]


def _tiny(policy: PolicyConfig) -> Shape:
    tiny = policy.tiny
    assert policy.window is not None  # checks.py sees to it
    if tiny.hidden % tiny.heads or tiny.heads % tiny.kv_heads:
        raise InputError(
            f"policy.tiny.heads={tiny.heads}: must divide hidden ({tiny.hidden}) and be a"
            f" multiple of kv_heads ({tiny.kv_heads})"
        )
    return Shape(
        tiny.layers, tiny.hidden, tiny.intermediate, tiny.heads, tiny.kv_heads,
        tiny.hidden // tiny.heads, tiny.vocabulary, True, policy.window,
    )  # fmt: skip


def _read(config: Mapping[str, Any]) -> Shape:
    kind, heads = config["model_type"], config["num_attention_heads"]
    if kind not in ("qwen3", "qwen3_moe", "qwen2"):
        raise KeyError(kind)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    moe = kind == "qwen3_moe"
    experts = config.get("num_experts", 128) if moe else 0
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=heads,
        kv_heads=config["num_key_value_heads"],
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary=config["vocab_size"],
        tied=config.get("tie_word_embeddings", False),
        window=rope.get("original_max_position_embeddings") or config["max_position_embeddings"],
        qk_norm=kind != "qwen2",
        qkv_bias=kind == "qwen2",
        experts=experts,
        experts_a_token=config.get("num_experts_per_tok", 8) if moe else 0,
        expert_intermediate=config["moe_intermediate_size"] if moe else 0,
        dense_layers=len(config.get("mlp_only_layers") or []) if moe else 0,
    )
