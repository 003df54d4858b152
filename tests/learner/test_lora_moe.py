"""Adapters (LoRA) in dense policies and in mixtures of experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from qwenlong.config import LearnerConfig
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.micro_batches import RowSlice
from qwenlong.model.pretrained import load_policy
from qwenlong.types import Batch

CONFIG = LearnerConfig(lora_rank=3, lora_alpha=12.0, beta2=0.95, weight_decay=0.01)
SCALING = 4.0
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
EVERY = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]
LAYERS = {"tied": EVERY, "untied": EVERY, "moe": ATTENTION}


@pytest.fixture
def learner_of(policies, exactly) -> Callable[..., GrpoLearner]:
    """By the name of a policy or its path."""

    def learner(policy: str, dtype: str = "float32", **changes: Any) -> GrpoLearner:
        torch.manual_seed(5)
        path = policies.get(policy, policy)
        made = GrpoLearner(path, dtype, replace(CONFIG, **changes))
        if dtype == "float64":
            exactly(made.model)
        return made

    return learner


def logprobs_of(learner: GrpoLearner, batch: Batch) -> Tensor:
    pieces = tuple(RowSlice(row, 0, len(row.responses)) for row in batch.rows)
    with torch.no_grad():
        return learner.policy(pieces, batch.temperature, 1.0).logprobs


@pytest.mark.parametrize("policy", LAYERS)
def test_adapters_alone_are_trained_and_are_where_they_should_be(
    policies, learner_of, batch_of, policy: str
) -> None:
    """A mixture of experts has them on attention only: peft would adapt its fused experts, too."""
    learner = learner_of(policy)
    expected = {
        f"{name}.lora_{side}.default.weight"
        for name, _ in load_policy(policies[policy], "float32").named_modules()
        if name.rpartition(".")[2] in LAYERS[policy]
        for side in "AB"
    }
    assert len(expected) == 2 * 2 * len(LAYERS[policy])
    assert learner.parameters.keys() == expected
    assert all(3 in each.shape for each in learner.parameters.values())
    before = {name: each.detach().clone() for name, each in learner.model.named_parameters()}
    learner.step(batch_of(2))
    for name, parameter in learner.model.named_parameters():
        assert torch.equal(parameter, before[name]) is (name not in expected), name


@pytest.mark.parametrize("policy", LAYERS)
def test_a_new_adapter_changes_nothing(learner_of, batch_of, policy: str) -> None:
    plain, adapted = learner_of(policy, lora_rank=0), learner_of(policy)
    assert torch.equal(logprobs_of(adapted, batch_of()), logprobs_of(plain, batch_of()))
    expected, got = dict(plain.weights()), dict(adapted.weights())
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("policy", LAYERS)
def test_weights_are_merged_as_by_hand_and_as_peft_merges(
    policies, learner_of, batch_of, policy: str
) -> None:
    learner = learner_of(policy, "float64")
    learner.step(batch_of())
    got = dict(learner.weights())
    base = load_policy(policies[policy], "float64").state_dict()
    for name in LAYERS[policy]:
        path = f"model.layers.0.{'self_attn' if name in ATTENTION else 'mlp'}.{name}"
        up, down = (learner.parameters[f"{path}.lora_{side}.default.weight"] for side in "BA")
        by_hand = base[f"{path}.weight"] + SCALING * up.detach() @ down.detach()
        torch.testing.assert_close(got[f"{path}.weight"], by_hand, rtol=0, atol=1e-14)
        assert (by_hand - base[f"{path}.weight"]).abs().max() > 1e-4

    settings = LoraConfig(r=3, lora_alpha=12.0, target_modules=LAYERS[policy])
    theirs: Any = get_peft_model(load_policy(policies[policy], "float64"), settings)
    adapters = {f"base_model.model.{name}": each for name, each in learner.parameters.items()}
    assert not theirs.load_state_dict(adapters, strict=False).unexpected_keys
    merged = learner_of(policy, "float64", lora_rank=0)
    merged.model.load_state_dict(theirs.merge_and_unload().state_dict())
    for name, tensor in merged.weights():
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=1e-14, msg=name)


@pytest.mark.parametrize("policy", LAYERS)
def test_merged_weights_give_the_adapted_policys_logprobs(
    learner_of, batch_of, tmp_path: Path, policy: str
) -> None:
    learner = learner_of(policy, "float64")
    first = logprobs_of(learner, batch_of(seed=1))
    learner.step(batch_of())
    learner.save_policy(tmp_path)
    merged = learner_of(str(tmp_path), "float64", lora_rank=0)
    ours, theirs = (logprobs_of(each, batch_of(seed=1)) for each in (learner, merged))
    torch.testing.assert_close(theirs, ours, rtol=1e-11, atol=0)
    assert (ours - first).abs().max() > 1e-3


@pytest.mark.parametrize("policy", ["tied", "moe"])
def test_the_kl_of_adapters_is_that_to_the_policy_as_it_was_kept(
    learner_of, batch_of, policy: str
) -> None:
    """After SFT that is not the one on disk; no second policy is held for it."""
    learner = learner_of(policy, "float64", kl_coefficient=0.1)
    learner.keep_reference()
    learner.step(batch_of(seed=2))
    learner.keep_reference()
    batch = batch_of(seed=1)
    kept = logprobs_of(learner, batch)
    assert learner.step(batch_of()).metrics["kl"] == 0.0
    assert learner.reference is None
    gap = kept - logprobs_of(learner, batch)
    expected = (gap.expm1() - gap).mean().item()
    assert expected > 1e-6
    assert learner.step(batch).metrics["kl"] == pytest.approx(expected, rel=1e-9)
    # The adapters that were taken out for it are back, and learn on.
    assert (logprobs_of(learner, batch) - kept).abs().max() > 1e-3
    assert all(each.requires_grad for each in learner.parameters.values())


@pytest.mark.parametrize("policy", ["tied", "moe"])
def test_adapters_of_a_bf16_policy_are_fp32(learner_of, batch_of, policy: str) -> None:
    low, full = (
        learner_of(policy, dtype, activation_checkpointing=True)
        for dtype in ("bfloat16", "float32")
    )
    assert {each.dtype for each in low.model.parameters()} == {torch.float32}
    assert {each.dtype for _, each in low.weights()} == {torch.bfloat16}
    low_norm, full_norm = (learner.step(batch_of()).metrics["grad_norm"] for learner in (low, full))
    assert low_norm == pytest.approx(full_norm, rel=0.05)
    assert low_norm != full_norm
