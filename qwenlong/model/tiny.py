"""A Qwen3 of about a million parameters, built from scratch, for machines without a GPU.

It has everything that a real Qwen3 has (QK-norm, grouped queries, tied embeddings, a byte-level
BPE tokenizer with Qwen3's special tokens and chat format), so it takes the same code paths.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from qwenlong.config import TinyConfig
from qwenlong.types import InputError, Rope

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINK = ("<think>", "</think>")

# Qwen3's chat format: turns between <|im_start|> and <|im_end|>, the thinking of earlier turns
# removed, an empty think block where thinking is switched off.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- set content = message.content -%}
{%- if message.role == 'assistant' and not loop.last and '</think>' in content -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
{%- endif -%}"""


def build_tiny(
    folder: Path, texts: Iterable[str], tiny: TinyConfig, window: int, seed: int
) -> None:
    """Writes a freshly initialised policy and a tokenizer trained on ``texts`` to ``folder``.

    Args:
        window: native context window in tokens (``max_position_embeddings``).
    """
    if tiny.hidden % tiny.heads or tiny.heads % tiny.kv_heads:
        raise InputError(
            f"policy.tiny.heads={tiny.heads}: must divide hidden ({tiny.hidden}) and be a"
            f" multiple of kv_heads ({tiny.kv_heads})"
        )
    tokenizer = _train_tokenizer(texts, tiny.vocabulary)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=tiny.hidden,
        intermediate_size=tiny.intermediate,
        num_hidden_layers=tiny.layers,
        num_attention_heads=tiny.heads,
        num_key_value_heads=tiny.kv_heads,
        head_dim=tiny.hidden // tiny.heads,
        max_position_embeddings=window,
        rope_parameters=Rope(tiny.rope_theta, window).parameters(),
        tie_word_embeddings=True,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        bos_token_id=None,
        dtype="float32",
    )
    # A fork, so that what the run draws later does not depend on the policy's size.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
    )
    # Not special, as in Qwen3: decoding with skip_special_tokens keeps the thinking.
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in THINK])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
