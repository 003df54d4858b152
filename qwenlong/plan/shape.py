"""A policy's shape and its number of parameters, without its weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenlong.config import PolicyConfig
from qwenlong.types import InputError


@dataclass(frozen=True)
class Shape:
    """The sizes of a Qwen2, Qwen3 or Qwen3-MoE, as in its ``config.json``."""

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
    """Experts of every layer; 0 for a dense policy."""
    experts_a_token: int = 0
    expert_intermediate: int = 0
    dense_layers: int = 0
    """Layers of a mixture of experts that have an ordinary MLP."""

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
        """Parameters of a layer's attention, with its norms and biases."""
        weights = 2 * self.hidden * (self.q + self.kv)
        norms = 2 * self.head_dim * self.qk_norm
        return weights + norms + (self.q + 2 * self.kv) * self.qkv_bias

    def _mlp(self, experts: int) -> int:
        dense = 3 * self.hidden * self.intermediate
        one = 3 * self.hidden * self.expert_intermediate
        return experts * one + self.hidden * self.experts if self.experts else dense

    @property
    def layer(self) -> int:
        """Parameters of one layer; in a mixture of experts, of a layer with experts."""
        return self.attention + 2 * self.hidden + self._mlp(self.experts)

    @property
    def embedding(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def ends(self) -> int:
        """Parameters outside the layers: embedding, last norm, and the head if it is not tied."""
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
        """Parameters that compute for each token, without embedding and head."""
        return self._in_layers(self.attention + 2 * self.hidden + self._mlp(self.experts_a_token))

    @property
    def active_intermediate(self) -> int:
        """Width of the MLP that computes for each token."""
        return (
            self.experts_a_token * self.expert_intermediate if self.experts else self.intermediate
        )

    def kv_bytes(self, dtype_bytes: int) -> int:
        """Bytes of a token's keys and values in all layers."""
        return 2 * self.layers * self.kv * dtype_bytes


def _known() -> dict[str, Shape]:
    text = Path(__file__).with_name("policies.csv").read_text(encoding="utf-8")
    shapes = {}
    for row in csv.DictReader(text.splitlines()):
        name, kind = row.pop("name"), row.pop("model_type")
        sizes = {key: json.loads(value) for key, value in row.items() if value}
        shapes[name] = _shape({"model_type": kind, **sizes})
    return shapes


def shape_of(policy: PolicyConfig) -> Shape:
    """The shape in a folder's ``config.json``, in the ``policy.tiny`` keys, or known by name.

    A name on the hub may have an ending, such as -Base or -Thinking-2507.

    Raises:
        InputError: the path is no folder with a readable config.json and its name is not known.
    """
    path = policy.path
    if path == "tiny":
        return _tiny(policy)
    file = Path(path) / "config.json"
    if file.is_file():
        try:
            return _shape(json.loads(file.read_text(encoding="utf-8")))
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
    assert policy.window is not None  # config/checks.py requires it of a tiny policy
    if tiny.hidden % tiny.heads or tiny.heads % tiny.kv_heads:
        raise InputError(
            f"policy.tiny.heads={tiny.heads}: must divide hidden ({tiny.hidden}) and be a"
            f" multiple of kv_heads ({tiny.kv_heads})"
        )
    sizes = (tiny.layers, tiny.hidden, tiny.intermediate, tiny.heads, tiny.kv_heads)
    return Shape(*sizes, tiny.hidden // tiny.heads, tiny.vocabulary, True, policy.window)


def _shape(config: Mapping[str, Any]) -> Shape:
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


KNOWN = _known()
"""Shapes by the last part of a name on the hub."""
