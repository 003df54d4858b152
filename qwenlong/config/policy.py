"""Section ``policy``."""

from __future__ import annotations

from dataclasses import dataclass

from qwenlong.config.keys import REQUIRED, key

TINY = "tiny"
"""The ``policy.path`` of a policy that the run builds itself."""


@dataclass(frozen=True)
class TinyConfig:
    """The Qwen3 policy with random weights that policy.path: tiny builds."""

    layers: int = key(4, "Number of layers.", at_least=1)
    hidden: int = key(128, "Width of a token's hidden state.", at_least=1)
    intermediate: int = key(384, "Width inside a layer's MLP.", at_least=1)
    heads: int = key(4, "Query heads of a layer.", at_least=1)
    kv_heads: int = key(2, "Key and value heads of a layer.", at_least=1)
    rope_theta: float = key(10_000.0, "Base of the rotary embedding.", above=0)
    vocabulary: int = key(
        2_048,
        "Most tokens of the vocabulary; the tokenizer is trained on the training documents.",
        at_least=1,
    )


@dataclass(frozen=True)
class PolicyConfig:
    """The policy that is trained."""

    path: str = key(REQUIRED, "A local folder, a name on the Hugging Face hub, or tiny.")
    dtype: str = key(
        "bfloat16",
        "Precision in which learner and engines compute.",
        one_of=("float32", "bfloat16"),
    )
    window: int | None = key(
        None,
        "Native context window in tokens; null reads it from the policy's own configuration.",
        at_least=1,
    )
    tiny: TinyConfig = key(TinyConfig)
