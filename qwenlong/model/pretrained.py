"""Pretrained policies: checked, loaded, given a phase's RoPE, and saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from qwenlong.types import InputError, Rope

ARCHITECTURES = ("qwen3", "qwen3_moe", "qwen2")


def check_policy(path: str, sequence_ranks: int) -> None:
    """Refuses a policy that the learner would compute wrongly.

    Raises:
        InputError: an architecture whose attention may do more than the learner's; a sliding
            window; query heads that cannot be divided among so many processes.
    """
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    if config.model_type not in ARCHITECTURES:
        raise InputError(
            f"policy.path={path}: a {config.model_type}; must be one of {', '.join(ARCHITECTURES)}"
        )
    if getattr(config, "use_sliding_window", False):
        raise InputError(f"policy.path={path}: use_sliding_window=true; must be false")
    heads = config.num_attention_heads
    if heads % sequence_ranks:
        raise InputError(
            f"learner.sequence_ranks={sequence_ranks}: must divide the policy's {heads} query heads"
        )


def native_rope(path: str, window: int | None, key: str = "policy.path") -> Rope:
    """The RoPE that a policy was trained with.

    Args:
        window: native context window in tokens, if it is not what the configuration says.
        key: the key of the experiment that names ``path``, for messages.

    Raises:
        InputError: there is no policy at ``path``, or its RoPE is neither native nor YaRN.
    """
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        wrong = "no policy there: neither a folder, seen from the working directory, nor a name"
        wrong += " on the hub that can be reached"
        if Path(path).is_dir():
            wrong = "cannot be read as a policy"
        why = " ".join(str(error).split()).replace(path, "…")[:120]
        raise InputError(f"{key}={path}: {wrong} ({why})") from None
    rope = getattr(config, "rope_parameters", None)
    if not rope or rope.get("rope_type", "default") not in ("default", "yarn"):
        raise InputError(f"{key}={path}: its RoPE ({rope}) is neither native nor YaRN")
    native = rope.get("original_max_position_embeddings") or config.max_position_embeddings
    return Rope(theta=float(rope["rope_theta"]), window=window or native)


def check_weights(path: str) -> None:
    """
    Raises:
        InputError: it is a folder without safetensors. Pickled weights, which can run code, are
            never read.
    """
    folder = Path(path)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise InputError(f"policy.path={path}: has no weights in safetensors; others are not read")


def chat_tokenizer(path: str, key: str = "policy.path") -> PreTrainedTokenizerBase:
    """The policy's tokenizer.

    Raises:
        InputError: there is none, or it has no chat template. The message names ``key``.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split("http")[0].split())[:120]
        raise InputError(
            f"{key}={path}: no tokenizer there: neither a folder here nor a name on the hub that"
            f" can be reached ({type(error).__name__}: {why} …); the initial_policy or policy of a"
            " run will do"
        ) from None
    if not tokenizer.chat_template:
        raise InputError(f"{key}={path}: its tokenizer has no chat template")
    return tokenizer


def load_policy(path: str, dtype: str, attention: str = "sdpa") -> PreTrainedModel:
    """``attention`` names an entry of transformers' attention registry."""
    return AutoModelForCausalLM.from_pretrained(
        path,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        trust_remote_code=False,
        use_safetensors=True,
    )


def set_rope(model: PreTrainedModel, rope: Rope) -> None:
    """Replaces the policy's rotary embedding, in place; its weights stay as they are."""
    config = model.config
    config.rope_parameters = rope.parameters()
    config.max_position_embeddings = rope.limit
    device = model.model.rotary_emb.inv_freq.device
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)


def hub_tensors(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A weight under the name that it has on the hub, where vLLM expects it.

    transformers joins a layer's experts in one tensor: ``experts.gate_up_proj`` [E, 2I, H] and
    ``experts.down_proj`` [E, H, I] become three weights an expert. All others stay as they are.
    """
    path, _, leaf = name.rpartition(".experts.")
    if not path:
        yield name, tensor
        return
    for i, expert in enumerate(tensor):
        if leaf == "gate_up_proj":
            gate, up = expert.chunk(2)
            yield f"{path}.experts.{i}.gate_proj.weight", gate
            yield f"{path}.experts.{i}.up_proj.weight", up
        else:
            yield f"{path}.experts.{i}.{leaf}.weight", expert


def save_policy(
    model: PreTrainedModel, weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype, folder: Path
) -> None:
    """Writes ``weights`` as ``dtype`` and the configuration, RoPE included."""
    own = model.config.dtype
    model.save_pretrained(folder, state_dict={name: each.to(dtype) for name, each in weights})
    # save_pretrained writes the model's own dtype, fp32 for a bf16 policy, into the configuration.
    model.config.dtype = dtype
    model.config.save_pretrained(folder)
    model.config.dtype = own
