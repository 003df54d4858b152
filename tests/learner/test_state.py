"""What leaves the learner: weights for the engine, policies on disk, state for a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from qwenlong.config import LearnerConfig
from qwenlong.learner.distributed.storage import StoredTensors, write_shards
from qwenlong.learner.learner import GrpoLearner
from qwenlong.model.pretrained import load_policy
from qwenlong.types import InputError, Rope

CONFIG = LearnerConfig(beta2=0.95, max_grad_norm=0.5, lora_alpha=8.0)
KINDS = {
    "weights": CONFIG,
    "weights and a reference": replace(CONFIG, kl_coefficient=0.1),
    "adapters": replace(CONFIG, lora_rank=4),
    "adapters and a reference": replace(CONFIG, lora_rank=4, kl_coefficient=0.1),
}
YARN = Rope(theta=10_000.0, window=64, factor=4.0)


def weights_of(learner: GrpoLearner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.weights()}


# Weights and policies.


@pytest.mark.parametrize("policy", ["tied", "untied", "moe"])
def test_weights_are_what_transformers_itself_writes(
    policies, batch_of, tmp_path: Path, policy: str
) -> None:
    """To the bit and name by name: a tied head is left out, experts are written one by one."""
    learner = GrpoLearner(policies[policy], "float32", CONFIG)
    learner.step(batch_of())
    plain = load_policy(policies[policy], "float32")
    plain.load_state_dict(learner.model.state_dict())
    plain.save_pretrained(tmp_path)
    expected, got = load_file(tmp_path / "model.safetensors"), weights_of(learner)
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), name
    assert ("lm_head.weight" in got) is (policy != "tied")
    experts = [name for name in got if ".experts." in name]
    assert len(experts) == (6 * 3 if policy == "moe" else 0)
    started = load_file(f"{policies[policy]}/model.safetensors")
    assert all(not torch.equal(got[name], tensor) for name, tensor in started.items())


@pytest.mark.parametrize("lora_rank", [0, 4])
@pytest.mark.parametrize("policy", ["tied", "untied", "moe"])
def test_a_saved_policy_is_the_learners(
    policies, rows_of, batch_of, exactly, plain_logprobs, tmp_path: Path, policy: str,
    lora_rank: int,
) -> None:  # fmt: skip
    """As any reader loads it, YaRN included: the metrics of a step's forward pass tell."""
    learner = GrpoLearner(policies[policy], "float64", replace(CONFIG, lora_rank=lora_rank))
    learner.set_rope(YARN)
    exactly(learner.model)
    learner.step(batch_of())
    learner.save_policy(tmp_path / "policy")
    learner.save_policy(tmp_path / "nothing", write=False)
    assert not (tmp_path / "nothing").exists()

    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    assert plain.dtype == torch.float64 and plain.config.max_position_embeddings == YARN.limit
    assert plain.config.rope_parameters == YARN.parameters()
    exactly(plain)
    batch = replace(batch_of(learning_rate=0.0), rows=rows_of([(90, (20, 7))]))
    logprobs = torch.cat(plain_logprobs(plain, batch.rows[0], 0.7)).detach()
    # The engine's log-probabilities are then the learner's, if the policies are the same.
    same = replace(batch.rows[0], logprobs=tuple(x.numpy() for x in logprobs.split([20, 7])))
    assert learner.step(replace(batch, rows=(same,))).metrics["engine_learner_kl"] < 1e-20
    assert learner.step(batch).metrics["engine_learner_kl"] > 0.01


@pytest.mark.parametrize("policy", ["tied", "moe"])
def test_a_saved_bf16_policy_holds_the_rounded_weights(
    policies, batch_of, tmp_path: Path, policy: str
) -> None:
    learner = GrpoLearner(policies[policy], "bfloat16", CONFIG)
    learner.step(batch_of())
    learner.save_policy(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.bfloat16}
    for name, tensor in weights_of(learner).items():
        assert torch.equal(written[name], tensor), name
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert plain.dtype == torch.bfloat16
    for name, parameter in learner.model.named_parameters():
        assert torch.equal(plain.get_parameter(name), parameter.bfloat16()), name


# State.


def through(folder: Path, learner: GrpoLearner) -> StoredTensors:
    assert not write_shards(folder, 0, 1, learner.state()).error
    return StoredTensors(folder)


@pytest.mark.parametrize("policy", ["tied", "moe"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_next_step_after_a_restore_is_the_same_to_the_bit(
    policies, batch_of, tmp_path: Path, kind: str, policy: str
) -> None:
    config = KINDS[kind]
    learner = GrpoLearner(policies[policy], "float32", config)
    learner.keep_reference()
    for seed in (1, 2):
        learner.step(batch_of(2, seed=seed))
    stored = through(tmp_path, learner)
    metrics = learner.step(batch_of(2, seed=3)).metrics
    drawn = torch.rand(3)

    torch.manual_seed(99)  # other adapters than the first learner's, until they are restored
    fresh = GrpoLearner(policies[policy], "float32", config)
    fresh.restore(stored)
    again = fresh.step(batch_of(2, seed=3)).metrics
    assert torch.equal(drawn, torch.rand(3))
    for each in (metrics, again):
        each.pop("learner_tokens_per_s")
    assert again == metrics
    expected, got = weights_of(learner), weights_of(fresh)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    if policy == "tied":
        assert fresh.model.lm_head.weight is fresh.model.model.embed_tokens.weight
    if config.kl_coefficient:
        assert metrics["kl"] > 0
    if config.lora_rank:
        assert all(".lora_" in name for name in stored.names("model"))
    steps = [
        stored.whole(f"optimizer/{name}")
        for name in stored.names("optimizer")
        if name.startswith("step/")
    ]
    assert len(steps) == len(stored.names("model")) and {x.item() for x in steps} == {6.0}
    assert stored.whole("random/0").dtype == torch.uint8


@pytest.mark.parametrize("kind", ["weights and a reference", "adapters and a reference"])
def test_a_reference_is_restored_as_it_was_kept(
    policies, batch_of, tmp_path: Path, kind: str
) -> None:
    """It is neither the policy on disk nor the one that the state was taken of."""
    learner = GrpoLearner(policies["tied"], "float32", KINDS[kind])
    learner.keep_reference()
    learner.step(batch_of())
    learner.keep_reference()
    kept = {name: each.detach().clone() for name, each in learner.parameters.items()}
    learner.step(batch_of(seed=1))
    stored = through(tmp_path, learner)
    fresh = GrpoLearner(policies["tied"], "float32", KINDS[kind])
    fresh.restore(stored)
    held = fresh.reference_adapters
    if fresh.reference:
        held = dict(fresh.reference.model.named_parameters())
    assert held.keys() == kept.keys()
    for name, parameter in held.items():
        assert torch.equal(parameter, kept[name]), name
        assert not torch.equal(parameter, stored.whole(f"model/{name}")), name


def test_a_state_is_a_copy(policies, batch_of) -> None:
    """A thread writes it while the learner goes on."""
    learner = GrpoLearner(policies["tied"], "float32", KINDS["weights and a reference"])
    learner.keep_reference()
    learner.step(batch_of())
    state = learner.state()
    before = {name: each.tensor.clone() for name, each in state.items()}
    learner.step(batch_of(seed=1))
    torch.rand(1)
    after = learner.state()
    for name, tensor in before.items():
        assert torch.equal(state[name].tensor, tensor), name
        moved = not torch.equal(after[name].tensor, tensor)
        assert moved is not name.startswith("reference/"), name


def test_a_state_goes_back_over_a_learner_that_has_gone_on(
    policies, batch_of, tmp_path: Path
) -> None:
    learner = GrpoLearner(policies["tied"], "float32", CONFIG)
    stored = through(tmp_path, learner)
    metrics = [learner.step(batch_of(seed=seed)).metrics for seed in (0, 1)]
    learner.restore(stored)
    for seed in (0, 1):
        again = learner.step(batch_of(seed=seed)).metrics
        assert {**again, "learner_tokens_per_s": 0} == {**metrics[seed], "learner_tokens_per_s": 0}


@pytest.mark.parametrize(
    ("policy", "config", "why"),
    [
        ("untied", CONFIG, r"model/lm_head.weight is missing, and the policy's is \[97, 64\]"),
        ("tied", KINDS["adapters"], r"model/\S+lora_A\S+ is missing, .*learner.lora_rank must be"),
    ],
)
def test_another_policys_state_is_refused(
    policies, tmp_path: Path, policy: str, config: LearnerConfig, why: str
) -> None:
    stored = through(tmp_path, GrpoLearner(policies["tied"], "float32", CONFIG))
    with pytest.raises(InputError, match=why):
        GrpoLearner(policies[policy], "float32", config).restore(stored)
