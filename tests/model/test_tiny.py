"""The policy that is built from scratch: a real Qwen3 in all but size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Qwen3ForCausalLM,
)

from qwenlong.config import TinyConfig
from qwenlong.data.prompts import training_texts
from qwenlong.model.pretrained import load_policy, native_rope, save_policy, set_rope
from qwenlong.model.tiny import build_tiny
from qwenlong.types import Example, InputError, Rope

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who is in Arrow?"},
    {"role": "assistant", "content": "<think>\nIn Arrow Ann.\n</think>\n\nAnn."},
    {"role": "user", "content": "And beside her?"},
]
BEFORE = (
    "<|im_start|>system\nBe brief.<|im_end|>\n"
    "<|im_start|>user\nWho is in Arrow?<|im_end|>\n"
    "<|im_start|>assistant\nAnn.<|im_end|>\n"
    "<|im_start|>user\nAnd beside her?<|im_end|>\n"
)


@pytest.mark.parametrize(
    ("switches", "opening"),
    [
        ({}, "<|im_start|>assistant\n"),
        ({"enable_thinking": True}, "<|im_start|>assistant\n"),
        ({"enable_thinking": False}, "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    ],
)
def test_the_chat_form_is_qwen3s(
    tokenizer: PreTrainedTokenizerBase, switches: dict[str, bool], opening: str
) -> None:
    text = tokenizer.apply_chat_template(
        TURNS, tokenize=False, add_generation_prompt=True, **switches
    )
    assert text == BEFORE + opening
    ids = tokenizer.apply_chat_template(
        TURNS, add_generation_prompt=True, return_dict=False, **switches
    )
    assert tokenizer.decode(ids) == text


def test_the_last_answer_keeps_its_thinking(tokenizer: PreTrainedTokenizerBase) -> None:
    text = tokenizer.apply_chat_template(TURNS[:3], tokenize=False)
    assert text.endswith(
        "<|im_start|>assistant\n<think>\nIn Arrow Ann.\n</think>\n\nAnn.<|im_end|>\n"
    )


def test_special_tokens_are_single_and_text_comes_back(
    tokenizer: PreTrainedTokenizerBase, tiny_policy: Path
) -> None:
    for token in SPECIAL:
        (number,) = tokenizer.encode(token, add_special_tokens=False)
        assert tokenizer.convert_ids_to_tokens(number) == token
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"
    text = "Zażółć 東京 <think>\n\t'quoted'</think> é"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    config = json.loads((tiny_policy / "config.json").read_text())
    assert config["eos_token_id"] == tokenizer.eos_token_id
    assert config["pad_token_id"] == tokenizer.pad_token_id
    assert config["vocab_size"] == len(tokenizer)


def test_thinking_stays_in_the_text_when_special_tokens_are_skipped_as_with_qwen3(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    ids = tokenizer.encode("<think>a</think>b<|im_end|>")
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>a</think>b"


def test_the_default_is_a_tied_qwen3_of_about_a_million(
    tmp_path: Path, examples: list[Example]
) -> None:
    build_tiny(tmp_path, training_texts(examples), TinyConfig(), 512, seed=0)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(model) is Qwen3ForCausalLM
    assert 500_000 <= model.num_parameters() <= 2_000_000
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.dtype == torch.float32
    assert native_rope(str(tmp_path), None) == Rope(10_000.0, 512)
    assert native_rope(str(tmp_path), 128) == Rope(10_000.0, 128)
    ids = AutoTokenizer.from_pretrained(tmp_path)("In Arrow Ann waits.", return_tensors="pt")
    assert torch.isfinite(model(**ids).logits).all()


def test_the_same_seed_builds_the_same_policy(tmp_path: Path, examples: list[Example]) -> None:
    tiny = TinyConfig(layers=1, hidden=32, intermediate=32)
    state = torch.get_rng_state()
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        build_tiny(tmp_path / name, training_texts(examples), tiny, 64, seed)
    assert torch.equal(state, torch.get_rng_state())
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    first, other = (load_policy(str(tmp_path / name), "float32") for name in "ac")
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_a_stretched_policy_is_saved_with_its_rope(tiny_policy: Path, tmp_path: Path) -> None:
    native = native_rope(str(tiny_policy), None)
    model = load_policy(str(tiny_policy), "float32")
    ids = torch.arange(300)[None] % 200
    yarn = Rope(native.theta, native.window, 4.0)
    set_rope(model, yarn)
    stretched = model(ids).logits
    save_policy(model, model.named_parameters(), torch.float32, tmp_path)

    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config.rope_parameters["rope_type"] == "yarn"
    assert again.config.rope_parameters["factor"] == 4.0
    assert again.config.max_position_embeddings == 1024
    assert torch.equal(again(ids).logits, stretched)
    assert native_rope(str(tmp_path), None) == native
    set_rope(again, native)
    plain = load_policy(str(tiny_policy), "float32")(ids).logits
    assert torch.equal(again(ids).logits, plain)
    assert not torch.allclose(plain, stretched)


def test_heads_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    for tiny in (TinyConfig(hidden=130), TinyConfig(kv_heads=3)):
        with pytest.raises(InputError, match=r"policy\.tiny\.heads=4: must divide hidden"):
            build_tiny(tmp_path / "p", ["a"], tiny, 64, seed=0)
    assert not (tmp_path / "p").exists()
