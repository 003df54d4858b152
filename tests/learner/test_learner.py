"""GRPO steps against a plain reference, their metrics, and what each option adds to a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from qwenlong.config import LearnerConfig
from qwenlong.learner.advantages import group_advantages
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.logprobs import TokenStats
from qwenlong.learner.metrics import engine_kl
from qwenlong.learner.objectives import OBJECTIVES
from qwenlong.model.pretrained import load_policy
from qwenlong.types import Batch, Row, token_ids

CLIP_LOW, CLIP_HIGH = 0.1, 0.3
CONFIG = LearnerConfig(
    clip_low=CLIP_LOW, clip_high=CLIP_HIGH, weight_decay=0.02, beta1=0.8, beta2=0.95,
    max_grad_norm=0.5,
)  # fmt: skip
PlainLogprobs = Callable[[PreTrainedModel, Row, float], list[Tensor]]


def plain_step(plain_logprobs: PlainLogprobs, model: PreTrainedModel, batch: Batch) -> None:
    """GRPO as it is written in a textbook: one row a response, AdamW, clipped gradients."""
    optimizer = torch.optim.AdamW(
        model.parameters(), batch.learning_rate, (CONFIG.beta1, CONFIG.beta2),
        weight_decay=CONFIG.weight_decay,
    )  # fmt: skip
    with torch.no_grad():
        old = [plain_logprobs(model, row, batch.temperature) for row in batch.rows]
    for first in range(0, len(batch.rows), batch.mini_batch):
        rows = batch.rows[first : first + batch.mini_batch]
        loss = sum(parameter.sum() for parameter in model.parameters()) * 0.0
        for row, before in zip(rows, old[first:], strict=False):
            now = plain_logprobs(model, row, batch.temperature)
            for new, was, advantage in zip(now, before, row.advantages, strict=True):
                if not len(new):
                    continue
                ratio = (new - was).exp()
                clipped = ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
                surrogate = torch.minimum(ratio * advantage, clipped * advantage).mean()
                loss = loss - surrogate / len(now) / len(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("max_tokens", [None, 38])
@pytest.mark.parametrize("mini_batch", [5, 2, 1])
@pytest.mark.parametrize("policy", ["tied", "untied", "moe"])
def test_a_step_is_the_plain_references(
    policies,
    plain_logprobs,
    exactly,
    batch_of,
    parameters_of,
    policy: str,
    mini_batch: int,
    max_tokens: int | None,
) -> None:
    batch = batch_of(mini_batch)
    learner = GrpoLearner(policies[policy], "float64", replace(CONFIG, max_tokens=max_tokens))
    plain = load_policy(policies[policy], "float64")
    exactly(learner.model)
    exactly(plain)
    before = parameters_of(learner)
    metrics = learner.step(batch).metrics
    plain_step(plain_logprobs, plain, batch)
    expected = dict(plain.named_parameters())
    after = parameters_of(learner)
    assert after.keys() == expected.keys()
    for name, tensor in after.items():
        # AdamW's first updates are about the learning rate, whatever the gradient's size.
        moved = (expected[name] - before[name]).abs().max()
        assert moved > 1e-4, name
        assert (tensor - expected[name]).abs().max() < 1e-6 * moved, name
    assert (metrics["clip_share"] > 0) == (mini_batch < 5)


@pytest.mark.parametrize("option", ["activation_checkpointing", "offload_activations"])
def test_what_is_kept_for_the_backward_pass_is_less_and_changes_nothing(
    policies, batch_of, parameters_of, option: str
) -> None:
    found = []
    for on in (False, True):
        config: Any = {option: on}
        learner = GrpoLearner(policies["tied"], "float32", replace(CONFIG, **config))
        kept: list[int] = []

        def pack(tensor: Tensor, kept: list[int] = kept) -> Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            norm = learner.step(batch_of()).metrics["grad_norm"]
        found.append((norm, parameters_of(learner), sum(kept)))
    (norm, weights, full), (again, same, less) = found
    assert less < full / 4
    assert again == pytest.approx(norm, rel=1e-6)
    assert all(torch.allclose(weights[name], same[name], atol=1e-6) for name in weights)


@pytest.mark.parametrize("policy", ["untied", "moe"])
def test_metrics_of_a_step(policies, plain_logits, batch_of, exactly, policy: str) -> None:
    batch = batch_of(5, learning_rate=0.0)
    model = load_policy(policies[policy], "float64")
    exactly(model)
    entropy, tokens, kl = 0.0, 0, 0.0
    for row in batch.rows:
        for response, engine in zip(row.responses, row.logprobs, strict=True):
            logits = plain_logits(model, row.prompt_ids, response) / batch.temperature
            logprobs = logits.log_softmax(-1)
            entropy -= (logprobs.exp() * logprobs).sum().item()
            for at, token, theirs in zip(logprobs, response, engine, strict=True):
                gap = at[token].item() - theirs.item()
                kl += math.exp(gap) - 1 - gap
                tokens += 1
    for max_tokens in (None, 38):
        learner = GrpoLearner(policies[policy], "float64", replace(CONFIG, max_tokens=max_tokens))
        exactly(learner.model)
        metrics = learner.step(batch).metrics
        assert metrics["entropy"] == pytest.approx(entropy / tokens, rel=1e-9)
        assert metrics["engine_learner_kl"] == pytest.approx(kl / tokens, rel=1e-9)
        assert metrics["clip_share"] == 0.0
        assert metrics["grad_norm"] > 0.0
        assert metrics["learner_tokens_per_s"] > 0.0


def test_engine_kl_is_of_what_top_p_leaves_and_sees_small_gaps() -> None:
    engine = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64)
    logmass = torch.tensor([-0.05, 0.0, -0.1], dtype=torch.float64)
    gaps = torch.tensor([0.0, 1e-4, -0.5], dtype=torch.float64)
    logprobs = engine + logmass + gaps
    stats = TokenStats(logprobs, entropy=logprobs, nucleus_logmass=logmass, most_likely=logprobs)
    kl = engine_kl(stats, engine)
    expected = gaps.expm1() - gaps
    assert (kl >= 0).all()
    assert torch.allclose(kl, expected, rtol=1e-2, atol=1e-12)


def test_advantages() -> None:
    assert group_advantages([1.0, 0.0, 0.0, 1.0]) == (1.0, -1.0, -1.0, 1.0)
    assert group_advantages([0.0, 0.0, 1.0]) == pytest.approx((-(0.5**0.5), -(0.5**0.5), 2**0.5))
    assert group_advantages([0.3] * 8) == (0.0,) * 8
    assert group_advantages([0.1, 0.1, 0.1]) == (0.0,) * 3


def test_a_group_without_variance_gives_no_gradient(policies, batch_of, parameters_of) -> None:
    """It is passed through without a backward pass, so nothing may depend on that."""
    batch = batch_of(mini_batch=1)
    flat = replace(batch.rows[0], advantages=(0.0, 0.0, 0.0))
    learner = GrpoLearner(policies["tied"], "float32", CONFIG)
    alone = GrpoLearner(policies["tied"], "float32", CONFIG)
    with_flat = learner.step(replace(batch, rows=(flat, batch.rows[2]), mini_batch=2)).metrics
    row = replace(batch.rows[2], advantages=tuple(a / 2 for a in batch.rows[2].advantages))
    alone.step(replace(batch, rows=(row,)))
    for name, ours in parameters_of(learner).items():
        torch.testing.assert_close(ours, parameters_of(alone)[name], rtol=0, atol=1e-6, msg=name)
    assert with_flat["entropy"] > 0


# bf16.


@pytest.mark.parametrize("policy", ["tied", "untied", "moe"])
def test_a_bf16_policys_statistics_are_near_those_of_fp32(
    policies, batch_of, stats_of, policy: str
) -> None:
    low, full = (GrpoLearner(policies[policy], dtype, CONFIG) for dtype in ("bfloat16", "float32"))
    computed_in: list[torch.dtype] = []
    low.model.model.layers[1].self_attn.o_proj.register_forward_hook(
        lambda _, attended, out: computed_in.extend((attended[0].dtype, out.dtype))
    )
    batch = replace(batch_of(5), top_p=0.9)
    ours, theirs = (stats_of(learner, batch.rows, batch) for learner in (low, full))
    assert set(computed_in) == {torch.bfloat16}
    for name in ("logprobs", "entropy", "nucleus_logmass"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.dtype == torch.float32
        assert 0 < (a - b).abs().max() < 0.1, name
    low_norm, full_norm = (learner.step(batch).metrics["grad_norm"] for learner in (low, full))
    assert low_norm == pytest.approx(full_norm, rel=0.02)


def test_small_updates_of_a_bf16_policy_are_kept(policies, batch_of, parameters_of) -> None:
    # In bf16 a weight of 0.1 has neighbours 5e-4 away: steps of 2e-6 would all round to nothing.
    learner = GrpoLearner(policies["tied"], "bfloat16", CONFIG)
    before = parameters_of(learner)
    for seed in range(5):
        learner.step(batch_of(learning_rate=2e-6, seed=seed))
    after = parameters_of(learner)
    still = [bool((after[name] == weight).all()) for name, weight in before.items()]
    assert not any(still)
    assert all(weight.dtype == torch.float32 for weight in after.values())
    assert all(tensor.dtype == torch.bfloat16 for _, tensor in learner.weights())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_ids": token_ids(())}, r"^batch.rows.1.prompt_ids: empty"),
        ({"advantages": (1.0,)}, r"^batch.rows.1: 3 responses, 3 logprobs and 1 advantages"),
        ({"logprobs": ((), (), ())}, r"^batch.rows.1.logprobs: of \[0, 0, 0\] tokens"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(
    policies, batch_of, changes: dict[str, Any], message: str
) -> None:
    learner, batch = GrpoLearner(policies["tied"], "float32", LearnerConfig()), batch_of()
    first, second, *rest = batch.rows
    with pytest.raises(ValueError, match=message):
        learner.step(replace(batch, rows=(first, replace(second, **changes), *rest)))
    for nothing in (replace(batch, rows=()), replace(batch, mini_batch=0)):
        with pytest.raises(ValueError, match=r"^batch: has \d rows and mini_batch=\d"):
            learner.step(nothing)


@pytest.mark.parametrize("kl_coefficient", [0.0, 0.1])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_groups_of_which_nothing_was_judged_do_no_harm(
    policies, batch_of, parameters_of, objective: str, kl_coefficient: float
) -> None:
    """The judge's policy ``drop`` can leave a group, and a whole mini-batch, without responses."""
    config = LearnerConfig(objective=objective, kl_coefficient=kl_coefficient)
    learner, batch = GrpoLearner(policies["tied"], "float32", config), batch_of(mini_batch=2)
    learner.keep_reference()
    rows = [replace(row, responses=(), logprobs=(), advantages=()) for row in batch.rows]
    metrics = learner.step(replace(batch, rows=(*rows[:2], batch.rows[2], *rows[3:]))).metrics
    assert all(math.isfinite(value) for value in metrics.values())
    assert all(torch.isfinite(weights).all() for weights in parameters_of(learner).values())
