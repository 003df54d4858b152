"""The objectives against TRL's own loss, against a textbook in plain Python, and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from qwenlong.learner.advantages import group_advantages, overlong_penalty
from qwenlong.learner.objectives import (
    OBJECTIVES,
    Objective,
    Responses,
    Totals,
    clipped_sequence_ratio,
    find_objective,
    joined,
    objective_loss,
    token_mean,
)

LIMIT = 12
CLIPS = {
    "grpo": (0.1, 0.1),
    "dapo": (0.1, 0.15),
    "dr_grpo": (0.05, 0.1),
    "gspo": (0.03, 0.04),
    "cispo": (1.0, 0.1),
}
"""Narrow enough that some of the test's tokens are clipped, and some are not."""


# TRL: its trainer samples from a rollout function of ours, and everything after that is its own.

REWARDS = [1.0, 0.0, 0.3, 0.0, 0.7, 1.0, 0.1, 0.4]
LENGTHS = [1, 4, 9, 6, 2, 7, 12, 5]
"""Of the completions; the sixth has no end and is masked whole: a response without tokens."""
TRL_OBJECTIVES: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "dapo": {"loss_type": "dapo"},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "cispo": {"loss_type": "cispo"},
}
# TRL multiplies the KL term by the ratio by default, as DeepSeek-V3.2 does.
TRL_KL = {"beta": 0.3, "use_bias_correction_kl": False}
TRL_CAP = {
    "vllm_importance_sampling_mode": "token_truncate",
    "vllm_importance_sampling_clip_max": 1.1,
}
TRL_MASK = {
    "vllm_importance_sampling_mode": "token_mask",
    "vllm_importance_sampling_clip_max": 1.2,
    "vllm_importance_sampling_clip_min": 1 / 1.2,
}
TERMS: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "plain": ({}, {}),
    "kl": (TRL_KL, {"kl_coefficient": 0.3}),
    "cap": (TRL_CAP, {"importance_cap": 1.1}),
    "cap and kl": (TRL_CAP | TRL_KL, {"importance_cap": 1.1, "kl_coefficient": 0.3}),
    "mask": (TRL_MASK, {"importance_cap": 1.2, "mask_ratio": 1.2}),
}


@pytest.fixture
def trainer_of(
    tiny_policy: Path, tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """A GRPOTrainer over the tiny policy, whose engine is the policy with noise."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    end = tokenizer.eos_token_id
    prompt = [7, 8, 9]

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        rng = Random(0)
        completions = [[rng.randrange(10, 200) for _ in range(n - 1)] + [end] for n in LENGTHS]
        completions[5][-1] = 10
        logprobs = []
        for completion in completions:
            with torch.no_grad():
                output = trainer.model(input_ids=torch.tensor([prompt + completion]))
            logits = output.logits[0, len(prompt) - 1 : -1]
            rows = (logits / trainer.temperature).log_softmax(-1)
            noise = torch.tensor([rng.gauss(0, 0.15) for _ in completion])
            logprobs.append((rows[range(len(completion)), completion] + noise).tolist())
        ids = [prompt] * len(prompts)
        return {"prompt_ids": ids, "completion_ids": completions, "logprobs": logprobs}

    def trainer(corrects: bool, **settings: Any) -> Any:
        count = len(LENGTHS)
        config = GRPOConfig(
            output_dir=str(tmp_path),
            report_to="none",
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=count,
            num_generations=count,
            steps_per_generation=2,  # or TRL takes the policy to be the old one
            max_completion_length=LIMIT,
            mask_truncated_completions=True,
            temperature=0.7,
            **settings,
        )
        made = GRPOTrainer(
            model=str(tiny_policy),
            reward_funcs=lambda completions, **_: REWARDS,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": ["?"] * count}),
            processing_class=tokenizer,
            rollout_func=rollout,
        )
        # In evaluation a batch is a whole mini-batch, and no vLLM has to run for its corrections.
        made.model.eval()
        made.use_vllm, made._last_loaded_step = corrects, made.state.global_step
        return made

    return trainer


def drift(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


def gradients(loss: Tensor, model: torch.nn.Module) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradients_are_trls(trainer_of, name: str, term: str) -> None:
    low, high = CLIPS[name]
    trl_terms, terms = TERMS[term]
    epsilon = 1 + high if name == "cispo" else high  # there TRL's is the bound itself
    corrects = "importance_cap" in terms
    settings = {**TRL_OBJECTIVES[name], **trl_terms, "epsilon": low, "epsilon_high": epsilon}
    trainer = trainer_of(corrects, **settings)
    drift(trainer.model, seed=1)  # away from the reference
    inputs = trainer._prepare_inputs([{"prompt": "?"}] * len(LENGTHS))
    drift(trainer.model, seed=2)  # away from the old policy
    expected = trainer._compute_loss(trainer.model, inputs)
    expected_gradients = gradients(expected, trainer.model)

    mask = inputs["completion_mask"].bool()
    logprobs, _, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model,
        torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
        torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
        mask.shape[1],
    )
    responses = Responses(
        logprobs[mask],
        inputs["old_per_token_logps"][mask],
        inputs["advantages"],
        mask.sum(1),
        inputs["sampling_per_token_logps"][mask],
        torch.zeros(int(mask.sum())),
        inputs["ref_per_token_logps"][mask] if "kl_coefficient" in terms else None,
    )
    totals = Totals(len(LENGTHS), int(mask.sum()), LIMIT)
    loss, sums = objective_loss(name, responses, totals, low, high, **terms)
    ours = gradients(loss, trainer.model)

    assert mask.sum(1).tolist() == [n * (n != 7) for n in LENGTHS]
    assert 0 < sums["clipped"] < totals.tokens
    assert abs(loss.item() - expected.item()) < 1e-6
    assert sums["masked"] > 0 or term != "mask"
    if (name, term) != ("gspo", "mask"):  # see test_a_masked_token_of_a_sequence
        assert max(g.abs().max() for g in expected_gradients) > 1e-2
        for got, wanted in zip(ours, expected_gradients, strict=True):
            assert (got - wanted).abs().max() < 1e-6
    metrics = {key: values[-1] for key, values in trainer._metrics["eval"].items()}
    if name in ("grpo", "dapo", "dr_grpo") and term != "mask":
        clipped = metrics["clip_ratio/region_mean"] * totals.tokens
        assert sums["clipped"] == pytest.approx(clipped, rel=1e-5)
    if "kl_coefficient" in terms:
        assert sums["kl"] == pytest.approx(metrics["kl"] * totals.tokens, rel=1e-4)
    if corrects:
        ratios = inputs["importance_sampling_ratio"][mask]
        assert sums["importance_weight"] == pytest.approx(ratios.sum().item(), rel=1e-5)
    if name == "dr_grpo":
        unscaled = group_advantages(REWARDS, OBJECTIVES[name].scales_advantages)
        assert inputs["advantages"].tolist() == pytest.approx(unscaled, rel=1e-5)


# The textbook: one token after another, in fp64.


def random_responses(seed: int, lengths: list[int]) -> Responses:
    """Log-probabilities apart enough that every clip, cap and mask acts on some tokens."""
    torch.manual_seed(seed)
    old = -2 * torch.rand(sum(lengths), dtype=torch.float64)
    mass = 0.1 * torch.rand_like(old).log1p().neg()
    return Responses(
        (old + 0.2 * torch.randn_like(old)).requires_grad_(),
        old,
        torch.randn(len(lengths), dtype=torch.float64),
        torch.tensor(lengths),
        old - mass + 0.4 * torch.randn_like(old),
        mass,
        old + 0.5 * torch.randn_like(old),
    )


def textbook(
    name: str,
    responses: Responses,
    totals: Totals,
    kl_coefficient: float = 0.0,
    importance_cap: float = math.inf,
    mask_ratio: float = math.inf,
) -> Tensor:
    low, high = CLIPS[name]
    start, loss = 0, torch.zeros((), dtype=torch.float64)
    for n, advantage in zip(responses.lengths, list(responses.advantages_N), strict=True):
        tokens = range(start, start + n)
        start += n
        new, old, engine, mass, reference = (
            [tensor[t] for t in tokens]
            for tensor in (
                responses.logprobs_R,
                responses.old_logprobs_R,
                responses.engine_logprobs_R,
                responses.nucleus_logmass_R,
                responses.reference_logprobs_R,
            )
            if tensor is not None
        )
        rho = [math.exp(old[t] - mass[t] - engine[t]) for t in range(n)]
        kept = [1 / mask_ratio <= each <= mask_ratio for each in rho]
        new = [new[t] if kept[t] else new[t].detach() for t in range(n)]
        for t in range(n):
            ratio = (new[t] - old[t]).exp()
            if name == "gspo":
                ratio = torch.stack([(new[u] - old[u]).exp() for u in range(n)]).prod() ** (1 / n)
            if name == "cispo":
                value = min(max(ratio.item(), 1 - low), 1 + high) * advantage * new[t]
            else:
                value = min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)
            if importance_cap < math.inf:
                value = value * min(rho[t], importance_cap)
            kl = (reference[t] - new[t]).exp() - (reference[t] - new[t]) - 1
            share = {
                "grpo": 1 / n / totals.responses,
                "gspo": 1 / n / totals.responses,
                "dapo": 1 / totals.tokens,
                "cispo": 1 / totals.tokens,
                "dr_grpo": 1 / totals.responses / totals.limit,
            }[name]
            loss = loss - kept[t] * share * (value - kl_coefficient * kl)
    return loss


TEXTBOOK_TERMS = {
    "plain": {},
    "kl": {"kl_coefficient": 0.2},
    "cap": {"importance_cap": 1.2},
    "mask": {"mask_ratio": 1.5},
    "all": {"kl_coefficient": 0.2, "importance_cap": 1.2, "mask_ratio": 1.5},
}


@pytest.mark.parametrize("term", TEXTBOOK_TERMS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradients_are_the_textbooks(name: str, term: str) -> None:
    terms = TEXTBOOK_TERMS[term]
    for seed in range(3):
        rng = Random(seed)
        lengths = [rng.randrange(0, LIMIT + 1) for _ in range(6)] + [1, 0, 1]
        responses = random_responses(seed, lengths)
        totals = Totals(len(lengths) + 3, sum(lengths) + 11, LIMIT)  # of a mini-batch with more
        loss, _ = objective_loss(name, responses, totals, *CLIPS[name], **terms)
        expected = textbook(name, responses, totals, **terms)
        ours, theirs = (
            torch.autograd.grad(each, responses.logprobs_R)[0] for each in (loss, expected)
        )
        assert theirs.abs().max() > 1e-3
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_add_up_to_the_whole(name: str) -> None:
    lengths = [3, 0, 7, 1, 12, 5, 0, 2, 9]
    whole = random_responses(7, lengths)
    totals = Totals(len(lengths), sum(lengths), LIMIT)
    terms = TEXTBOOK_TERMS["all"]
    loss, sums = objective_loss(name, whole, totals, *CLIPS[name], **terms)
    (expected,) = torch.autograd.grad(loss, whole.logprobs_R)
    for cuts in ([4], [1, 2, 3, 8], list(range(1, 9))):
        parts = []
        for first, last in zip([0, *cuts], [*cuts, len(lengths)], strict=True):
            start, stop = sum(lengths[:first]), sum(lengths[:last])
            cut = {
                field: values[first:last] if field.endswith("_N") else values[start:stop]
                for field, values in vars(whole).items()
                if field[-2:] in ("_N", "_R")
            }
            parts.append(objective_loss(name, Responses(**cut), totals, *CLIPS[name], **terms))
        added = torch.stack([part for part, _ in parts]).sum()
        (gradient,) = torch.autograd.grad(added, whole.logprobs_R)
        assert added.item() == pytest.approx(loss.item(), rel=1e-12)
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)
        for metric, value in sums.items():
            assert sum(each[metric] for _, each in parts) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_a_micro_batch_without_tokens_is_zero(name: str, lengths: list[int]) -> None:
    responses = random_responses(0, lengths)
    loss, sums = objective_loss(
        name, responses, Totals(len(lengths), 0, LIMIT), *CLIPS[name], **TEXTBOOK_TERMS["all"]
    )
    loss.backward()
    assert loss.item() == 0.0
    assert not any(sums.values())


# By hand.


def by_ratio(ratios: list[list[float]], advantages: list[float], **more: Any) -> Responses:
    """Responses whose tokens have these ratios to an old policy of log-probability -2."""
    flat = torch.tensor([each for part in ratios for each in part], dtype=torch.float64)
    old = torch.full_like(flat, -2.0)
    logprobs = (old + flat.log()).requires_grad_()
    return Responses(logprobs, old, advantages, [len(part) for part in ratios], **more)


def test_clipped_tokens_by_hand() -> None:
    # Clips of 0.1 and 0.3 act on a ratio above 1.3 with A > 0 and below 0.9 with A < 0.
    ratios = [[0.5, 1.1, 2.0], [0.5, 2.0], [], [1.2, 9.0]]
    responses = by_ratio(ratios, [1.5, -0.7, 9.0, 0.0])
    values = [0.5 * 1.5 + 1.1 * 1.5 + 1.3 * 1.5, 0.9 * -0.7 + 2.0 * -0.7]
    still = [False, False, True, True, False, True, True]  # the last two have no advantage
    for name, loss in (
        ("grpo", -(values[0] / 3 + values[1] / 2) / 4),
        ("dapo", -sum(values) / 7),
        ("dr_grpo", -sum(values) / 4 / LIMIT),
    ):
        got, sums = objective_loss(name, responses, Totals(4, 7, LIMIT), 0.1, 0.3)
        (gradient,) = torch.autograd.grad(got, responses.logprobs_R)
        assert got.item() == pytest.approx(loss, rel=1e-12)
        assert sums == {"clipped": 2.0, "masked": 0.0}
        assert [each == 0.0 for each in gradient.tolist()] == still


def test_clipped_sequences_by_hand() -> None:
    # Geometric means of 1.0, 2.0, 0.5 and 1.2: the second is above 1.3, the third below 0.9.
    ratios = [[0.5, 2.0], [4.0, 1.0, 2.0], [0.25, 1.0], [1.2]]
    responses = by_ratio(ratios, [1.0, 2.0, -3.0, -1.0])
    loss, sums = objective_loss("gspo", responses, Totals(4, 8, LIMIT), 0.1, 0.3)
    (gradient,) = torch.autograd.grad(loss, responses.logprobs_R)
    assert sums["clipped"] == 5.0
    assert loss.item() == pytest.approx(-(1.0 + 1.3 * 2 - 0.9 * 3 - 1.2) / 4, rel=1e-12)
    # The derivative of s A by each log-probability is s A / |o|.
    expected = [-0.5 / 4, -0.5 / 4, 0, 0, 0, 0, 0, 1.2 / 4]
    assert gradient.tolist() == pytest.approx(expected, rel=1e-12)


def test_bounded_weights_by_hand() -> None:
    responses = by_ratio([[0.5, 1.1, 2.0], [0.5, 2.0]], [1.5, -0.7])
    loss, sums = objective_loss("cispo", responses, Totals(2, 5, LIMIT), 0.2, 0.4)
    (gradient,) = torch.autograd.grad(loss, responses.logprobs_R)
    assert sums["clipped"] == 4.0
    weights = [0.8 * 1.5, 1.1 * 1.5, 1.4 * 1.5, 0.8 * -0.7, 1.4 * -0.7]
    assert gradient.tolist() == pytest.approx([-each / 5 for each in weights], rel=1e-12)
    value = sum(w * x for w, x in zip(weights, responses.logprobs_R.tolist(), strict=True))
    assert loss.item() == pytest.approx(-value / 5, rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_on_policy_it_is_the_policy_gradient(name: str) -> None:
    logprobs = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    # The old policy is the policy itself, gradient and all.
    responses = Responses(logprobs, logprobs, [1.5, -0.7], [2, 1])
    loss, sums = objective_loss(name, responses, Totals(2, 3, LIMIT), *CLIPS[name])
    (gradient,) = torch.autograd.grad(loss, logprobs)
    counts = {"dapo": [3, 3, 3], "cispo": [3, 3, 3], "dr_grpo": [2 * LIMIT] * 3}
    shares = [1 / n for n in counts.get(name, [4, 4, 2])]
    expected = [-a * share for a, share in zip([1.5, 1.5, -0.7], shares, strict=True)]
    assert gradient.tolist() == pytest.approx(expected, rel=1e-6)
    assert sums["clipped"] == 0.0


def with_engine(rhos: list[float], nucleus: list[float]) -> Responses:
    """One response, on-policy, of A = 1; old policy over engine in the nucleus is ``rhos``."""
    mass = torch.tensor(nucleus, dtype=torch.float64).log()
    engine = -2.0 - mass - torch.tensor(rhos, dtype=torch.float64).log()
    more = {"engine_logprobs_R": engine, "nucleus_logmass_R": mass}
    return by_ratio([[1.0] * len(rhos)], [1.0], reference_logprobs_R=engine, **more)


def test_truncated_importance_sampling_by_hand() -> None:
    # The first two have an engine that differs by its nucleus alone: their weight is 1.
    responses = with_engine([1.0, 1.0, 1.5, 4.0, 0.25], [1.0, 0.8, 0.9, 0.8, 1.0])
    loss, sums = objective_loss("dapo", responses, Totals(1, 5, LIMIT), 0.2, 0.2, importance_cap=2)
    (gradient,) = torch.autograd.grad(loss, responses.logprobs_R)
    weights = [1.0, 1.0, 1.5, 2.0, 0.25]
    assert loss.item() == pytest.approx(-sum(weights) / 5, rel=1e-12)
    assert gradient.tolist() == pytest.approx([-each / 5 for each in weights], rel=1e-12)
    assert sums["importance_weight"] == pytest.approx(sum(weights), rel=1e-12)
    assert sums["truncated"] == 1.0


def test_masking_by_hand() -> None:
    # Tokens masked on either side, and one whose engine gave no number.
    responses = with_engine([1.0, 2.1, 0.45, 1.9, 0.55, math.nan], [1.0, 0.5, 0.9, 0.9, 0.9, 1.0])
    masked = [False, True, True, False, False, True]
    for terms, weights in (
        ({}, [1.0, 1.0, 1.0]),
        ({"importance_cap": 1.5}, [1.0, 1.5, 0.55]),
    ):
        loss, sums = objective_loss(
            "grpo", responses, Totals(1, 6, LIMIT), 0.2, 0.2, mask_ratio=2.0, **terms
        )
        (gradient,) = torch.autograd.grad(loss, responses.logprobs_R)
        assert loss.item() == pytest.approx(-sum(weights) / 6, rel=1e-12)
        assert [each == 0.0 for each in gradient.tolist()] == masked
        assert sums["masked"] == 3.0
        if terms:
            assert sums["importance_weight"] == pytest.approx(sum(weights), rel=1e-12)
            assert sums["truncated"] == 1.0
    with_kl = objective_loss(
        "grpo", responses, Totals(1, 6, LIMIT), 0.2, 0.2, kl_coefficient=0.1, mask_ratio=2.0
    )[0]
    (gradient,) = torch.autograd.grad(with_kl, responses.logprobs_R)
    assert [each == 0.0 for each in gradient.tolist()] == masked


def test_a_masked_token_is_not_counted_as_clipped() -> None:
    mass = torch.zeros(3, dtype=torch.float64)
    engine = torch.tensor([-2.0, -9.0, -2.0], dtype=torch.float64)
    more = {"engine_logprobs_R": engine, "nucleus_logmass_R": mass}
    responses = by_ratio([[2.0, 2.0, 1.0]], [1.0], **more)
    _, sums = objective_loss("grpo", responses, Totals(1, 3, LIMIT), 0.2, 0.2, mask_ratio=5.0)
    assert sums == {"clipped": 1.0, "masked": 1.0}


def test_a_masked_token_of_a_sequence() -> None:
    """It stays in the ratio of its sequence, and has no gradient by way of the other tokens."""
    ratio = 1.44**0.5
    for rho in (3.0, math.nan):
        engine = torch.tensor([1.0, rho], dtype=torch.float64).log().neg() - 2.0
        more = {"engine_logprobs_R": engine, "nucleus_logmass_R": torch.zeros_like(engine)}
        responses = by_ratio([[1.0, 1.44]], [1.0], **more)
        for terms in ({}, {"importance_cap": 5.0}):
            loss, _ = objective_loss(
                "gspo", responses, Totals(1, 2, LIMIT), 0.5, 0.5, mask_ratio=2.0, **terms
            )
            (gradient,) = torch.autograd.grad(loss, responses.logprobs_R)
            assert loss.item() == pytest.approx(-ratio / 2, rel=1e-12)
            assert gradient.tolist() == pytest.approx([-ratio / 4, 0.0], rel=1e-12)


def test_the_published_settings() -> None:
    settings = {
        name: (each.clip_low, each.clip_high, each.drops_flat_groups, each.scales_advantages)
        for name, each in OBJECTIVES.items()
    }
    assert settings == {
        "grpo": (0.2, 0.2, False, True),
        "dapo": (0.2, 0.28, True, True),
        "dr_grpo": (0.2, 0.2, False, False),
        "gspo": (3e-4, 4e-4, False, True),
        "cispo": (1.0, 4.0, True, True),
    }


def test_an_objective_of_ones_own() -> None:
    own = Objective(joined(clipped_sequence_ratio, token_mean), 0.1, 0.1)
    responses = by_ratio([[1.0, 1.0], [1.0]], [1.0, 2.0])
    loss, _ = objective_loss(own, responses, Totals(2, 3, LIMIT), own.clip_low, own.clip_high)
    assert loss.item() == pytest.approx(-4 / 3)


# What is refused.


@pytest.mark.parametrize(
    ("given", "hint"), [("grop", "grpo"), ("dr-grpo", "dr_grpo"), ("gsp", "gspo"), ("ppo2", "")]
)
def test_an_unknown_objective_is_named(given: str, hint: str) -> None:
    with pytest.raises(
        ValueError, match=f"^learner.objective={given}: must be one of grpo, dapo"
    ) as error:
        find_objective(given)
    assert str(error.value).endswith(f"cispo; did you mean {hint}?" if hint else "cispo")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=f"={given}: must be one of"):
        objective_loss(given, by_ratio([[1.0]], [1.0]), Totals(1, 1, LIMIT), 0.2, 0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths_N": [2, 2]}, r"logprobs_R.shape=\(5,\): must be \(4,\) by lengths_N"),
        ({"lengths_N": torch.tensor([5])}, r"advantages_N.shape=\(2,\): must be \(1,\)"),
        ({"advantages_N": [1.0]}, r"advantages_N.shape=\(1,\): must be \(2,\)"),
        ({"advantages_N": torch.ones(2, 1)}, r"advantages_N.shape=\(2, 1\): must be \(2,\)"),
        ({"old_logprobs_R": torch.zeros(4)}, r"old_logprobs_R.shape=\(4,\): must be \(5,\)"),
        ({"engine_logprobs_R": torch.zeros(6)}, r"engine_logprobs_R.shape=\(6,\): must be"),
        ({"nucleus_logmass_R": torch.zeros(1)}, r"nucleus_logmass_R.shape=\(1,\): must be"),
        ({"reference_logprobs_R": torch.zeros(5, 1)}, r"reference_logprobs_R.shape=\(5, 1\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(random_responses(0, [3, 2]), **change)


@pytest.mark.parametrize(
    ("missing", "terms", "message"),
    [
        ("engine_logprobs_R", {"importance_cap": 2.0}, "importance_cap=2.0 needs it"),
        ("engine_logprobs_R", {"mask_ratio": 2.0}, "mask_ratio=2.0 needs it"),
        ("nucleus_logmass_R", {"importance_cap": 2.0}, "importance_cap=2.0 needs it"),
        ("nucleus_logmass_R", {"mask_ratio": 3.0}, "mask_ratio=3.0 needs it"),
        ("reference_logprobs_R", {"kl_coefficient": 0.1}, "kl_coefficient=0.1 needs it"),
    ],
)
def test_what_is_missing_is_named(missing: str, terms: dict[str, float], message: str) -> None:
    without: dict[str, Any] = {missing: None}
    responses = replace(random_responses(0, [3, 2]), **without)
    with pytest.raises(ValueError, match=f"^{missing}=None: {message}"):
        objective_loss("grpo", responses, Totals(2, 5, LIMIT), 0.2, 0.2, **terms)
    objective_loss("grpo", responses, Totals(2, 5, LIMIT), 0.2, 0.2)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"kl_coefficient": -0.1}, "kl_coefficient=-0.1: must be above 0"),
        ({"importance_cap": 0.0}, "importance_cap=0.0: must be above 0"),
        ({"mask_ratio": 1.0}, "mask_ratio=1.0: must be above 1"),
    ],
)
def test_values_that_make_no_sense_are_refused(terms: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objective_loss("grpo", random_responses(0, [2]), Totals(1, 2, LIMIT), 0.2, 0.2, **terms)


# Advantages and the penalty on length.


def test_advantages_without_scaling() -> None:
    assert group_advantages([1.0, 0.0, 0.0, 1.0], scaled=False) == (0.5, -0.5, -0.5, 0.5)
    assert group_advantages([3.0, 0.0, 0.0], scaled=False) == (2.0, -1.0, -1.0)
    assert group_advantages([0.1, 0.1, 0.1], scaled=False) == (0.0,) * 3
    assert group_advantages([3.0, 0.0, 0.0]) == pytest.approx((2**0.5, -(0.5**0.5), -(0.5**0.5)))


def test_the_penalty_on_long_responses() -> None:
    assert [overlong_penalty(n, 100, 20) for n in (0, 80, 85, 90, 100, 120)] == [
        0.0, 0.0, -0.25, -0.5, -1.0, -1.0,
    ]  # fmt: skip
    assert [overlong_penalty(n, 10, 0) for n in (10, 11)] == [0.0, -1.0]


@pytest.mark.parametrize(("limit", "buffer"), [(50, 13), (50, 50), (7, 1), (9, 0)])
def test_the_penalty_on_long_responses_is_trls(limit: int, buffer: int) -> None:
    from trl.rewards import get_soft_overlong_punishment

    theirs = get_soft_overlong_punishment(limit, buffer)
    expected = theirs(completion_ids=[[0] * n for n in range(limit + 5)])
    assert [overlong_penalty(n, limit, buffer) for n in range(limit + 5)] == pytest.approx(expected)
