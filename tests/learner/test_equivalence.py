"""A packed group's loss and gradients are those of one row a response."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from qwenlong.config import LearnerConfig
from qwenlong.learner.attention.shared_prompt import plain as plain_backend
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.objectives import OBJECTIVES, Responses, Totals, objective_loss
from qwenlong.model.pretrained import load_policy, set_rope
from qwenlong.types import Batch, Rope, Row

NATIVE = Rope(theta=10_000.0, window=64)
YARN = replace(NATIVE, factor=4.0)
TOLERANCES = {"float64": 1e-9, "float32": 1e-5}
LIMIT = 20
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ADAPTED = {"moe": ATTENTION, "tied": [*ATTENTION, "gate_proj", "up_proj", "down_proj"]}
"""Layers that have adapters, by policy."""


@dataclass(frozen=True)
class Case:
    seed: int
    policy: str
    rope: Rope
    budget: str
    config: LearnerConfig
    lengths: list[tuple[int, list[int]]]
    flat: int | None
    """The row without variance, if any."""
    mini_batch: int
    top_p: float
    plain_backend: bool

    def __str__(self) -> str:
        lora, yarn = ("LoRA" * (self.config.lora_rank > 0), "YaRN" * (self.rope is YARN))
        words = (self.seed, self.policy, self.config.objective, self.budget, lora, yarn)
        return "-".join(str(word) for word in words if word != "")


def case_of(seed: int) -> Case:
    """Options in turn, so that all of them are met; lengths and the rest as they are drawn."""
    rng = Random(seed)
    policy, lora = [("tied", 0), ("untied", 0), ("moe", 0), ("tied", 4), ("moe", 4)][seed % 5]
    rope = YARN if seed % 2 else NATIVE
    mini_batch, updates = rng.randint(1, 3), rng.randint(1, 2)
    lengths = []
    for i in range(rng.randint((updates - 1) * mini_batch + 1, updates * mini_batch)):
        prompt = rng.choice([1, 2, rng.randint(3, 40)])
        responses = [rng.choice([0, 1, rng.randint(2, 15)]) for _ in range(rng.randint(1, 5))]
        if i % mini_batch == 0:
            # What has but one key to see has no gradient in query and key: every update has more.
            # On YaRN it goes beyond the native window, where a native RoPE would do otherwise.
            prompt += 4 + 60 * (rope is YARN)
            responses = [*responses, rng.randint(3, 15), rng.randint(3, 15)]
        lengths.append((prompt, responses))
    budget = ["null", "whole", "split"][seed % 3]
    tight = max(prompt + max(responses) for prompt, responses in lengths) + rng.randint(0, 3)
    config = LearnerConfig(
        objective=list(OBJECTIVES)[(seed // 2) % 5],
        kl_coefficient=rng.choice([0.0, 0.05]),
        importance_cap=rng.choice([None, 1.5]),
        mask_ratio=rng.choice([None, 3.0]),
        max_grad_norm=1e9,
        max_tokens={"null": None, "whole": 10_000, "split": tight}[budget],
        activation_checkpointing=seed // 3 % 2 == 1,
        offload_activations=seed // 4 % 2 == 1,
        lora_rank=lora,
        lora_alpha=8.0,
    )
    flat = len(lengths) - 1 if (len(lengths) - 1) % mini_batch and rng.random() < 0.5 else None
    return Case(
        seed, policy, rope, budget, config, lengths, flat, mini_batch,
        top_p=rng.choice([1.0, 0.9]), plain_backend=rng.random() < 0.3,
    )  # fmt: skip


# In fp32 a router's gradient that is a small share of the whole can be off by more than the
# tolerance: with seed 57 by 2e-5, and transformers' own fp32 is then as far from fp64.
CASES = [case_of(seed) for seed in range(20)]


def batch_of(case: Case, rows_of: Callable[..., tuple[Row, ...]]) -> Batch:
    rows = list(rows_of(case.lengths, case.seed))
    if case.flat is not None:
        rows[case.flat] = replace(
            rows[case.flat], advantages=(0.0,) * len(rows[case.flat].responses)
        )
    return Batch(tuple(rows), case.mini_batch, 2e-3, LIMIT, temperature=0.7, top_p=case.top_p)


def learner_of(path: str, dtype: str, case: Case, exactly: Callable[..., None]) -> GrpoLearner:
    torch.manual_seed(case.seed)
    learner = GrpoLearner(path, dtype, case.config)
    learner.keep_reference()
    learner.set_rope(case.rope)
    for policy in filter(None, (learner.policy, learner.reference)):
        if dtype == "float64":
            exactly(policy.model)
        if case.plain_backend:
            policy.backend = lambda layout: plain_backend(layout, "cpu")
    generator = torch.Generator().manual_seed(case.seed)
    for name, parameter in learner.parameters.items():
        if ".lora_B." in name:  # zeros as it is made, and then lora_A has no gradient
            torch.nn.init.normal_(parameter, 0, 0.1, generator=generator)
    return learner


class PlainPolicy:
    """A policy as transformers and peft have it, one row a response."""

    def __init__(
        self, path: str, dtype: str, case: Case, exactly: Callable[..., None],
        plain_logits: Callable[..., Tensor], lora: bool,
    ) -> None:  # fmt: skip
        # transformers' eager attention has its softmax in fp32 always.
        attention = "sdpa" if dtype == "float64" else "eager"
        self.model: Any = load_policy(path, dtype, attention)
        set_rope(self.model, case.rope)
        if dtype == "float64":
            exactly(self.model)
        if lora:
            layers = ADAPTED[case.policy]
            settings = LoraConfig(r=4, lora_alpha=8.0, lora_dropout=0.0, target_modules=layers)
            self.model = get_peft_model(self.model, settings)
        self.logits = plain_logits
        self.parameters = {
            name.removeprefix("base_model.model."): parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }

    def load(self, weights: dict[str, Tensor]) -> None:
        assert weights.keys() == self.parameters.keys()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def logprobs(self, rows: Sequence[Row], batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the rows' response tokens; and the log of the mass that top-p keeps."""
        logprobs, logmass = [], []
        for row in rows:
            for response in row.responses:
                logits = self.logits(self.model, row.prompt_ids, response) / batch.temperature
                each = logits.log_softmax(-1)
                logprobs.append(each[range(len(response)), response.tolist()])
                descending = each.detach().exp().sort(-1, descending=True).values
                outside = descending.cumsum(-1) - descending >= batch.top_p
                logmass.append(descending.masked_fill(outside, 0.0).sum(-1).log())
        return torch.cat(logprobs), torch.cat(logmass)


def plain_loss(
    rows: Sequence[Row], batch: Batch, config: LearnerConfig, policy: PlainPolicy,
    old: PlainPolicy, reference: PlainPolicy,
) -> Tensor:  # fmt: skip
    objective = OBJECTIVES[config.objective]
    if objective.drops_flat_groups:
        rows = [row for row in rows if any(row.advantages)]
    logprobs, _ = policy.logprobs(rows, batch)
    with torch.no_grad():
        old_logprobs, logmass = old.logprobs(rows, batch)
        of_reference, _ = reference.logprobs(rows, batch)
    lengths = [len(ids) for row in rows for ids in row.responses]
    engine = [x for row in rows for each in row.logprobs for x in each]
    loss, _ = objective_loss(
        config.objective,
        Responses(
            logprobs, old_logprobs, [x for row in rows for x in row.advantages], lengths,
            logprobs.new_tensor(engine), logmass, of_reference,
        ),
        Totals(len(lengths), sum(lengths), LIMIT),
        objective.clip_low, objective.clip_high, config.kl_coefficient, config.importance_cap,
        config.mask_ratio,
    )  # fmt: skip
    return loss


@contextmanager
def routing_margins(model: torch.nn.Module) -> Iterator[list[float]]:
    """By how much each token's chosen experts were ahead of the others."""
    margins: list[float] = []

    def keep(router: Any, _: object, output: tuple[Tensor, ...]) -> None:
        ordered = output[0].detach().sort(-1, descending=True).values
        margins.extend((ordered[:, router.top_k - 1] - ordered[:, router.top_k]).tolist())

    routers = [each for name, each in model.named_modules() if name.endswith("mlp.gate")]
    handles = [each.register_forward_hook(keep) for each in routers]
    yield margins
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_and_gradients_are_those_of_one_row_a_response(
    policies, plain_logits, exactly, rows_of, case: Case, dtype: str
) -> None:
    """At every update of a step, from the weights that the learner has then."""
    path, tolerance, batch = policies[case.policy], TOLERANCES[dtype], batch_of(case, rows_of)
    learner = learner_of(path, dtype, case, exactly)
    updates: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []

    def keep(*_: object) -> None:
        parameters = learner.parameters.items()
        weights = {name: parameter.detach().clone() for name, parameter in parameters}
        updates.append((weights, {name: each.grad.clone() for name, each in parameters}))

    learner.optimizer.register_step_pre_hook(keep)
    metrics = learner.step(batch).metrics

    lora = case.config.lora_rank > 0
    policy, old, reference = (
        PlainPolicy(path, dtype, case, exactly, plain_logits, adapted)
        for adapted in (lora, lora, False)
    )
    old.load(updates[0][0])
    losses, norms = [], []
    for i, (weights, gradients) in enumerate(updates):
        policy.load(weights)
        rows = batch.rows[i * case.mini_batch : (i + 1) * case.mini_batch]
        with routing_margins(policy.model) as margins:
            loss = plain_loss(rows, batch, case.config, policy, old, reference)
        # Rounding cannot have sent a token to other experts.
        assert min(margins, default=1.0) > 1e-5
        policy.model.zero_grad()
        loss.backward()
        losses.append(loss.item())
        whole = torch.stack([each.grad.norm() for each in policy.parameters.values()]).norm()
        norms.append(whole.item())
        for name, parameter in policy.parameters.items():
            gap = (gradients[name] - parameter.grad).norm() / parameter.grad.norm()
            assert gap < tolerance, f"update {i}, {name}: {gap:.2e}"
    assert len(updates) == -(-len(batch.rows) // case.mini_batch)
    expected = sum(losses) / len(losses)
    assert metrics["loss"] == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert metrics["grad_norm"] == pytest.approx(sum(norms) / len(norms), rel=tolerance)


def test_the_cases_meet_what_they_are_for() -> None:
    split = [
        case
        for case in CASES
        if case.config.max_tokens
        and any(prompt + sum(each) > case.config.max_tokens for prompt, each in case.lengths)
    ]
    assert {case.policy for case in split} == {"tied", "untied", "moe"}
    assert {case.config.objective for case in split} == set(OBJECTIVES)
    assert {case.config.lora_rank > 0 for case in split} == {True, False}
    for on in ("activation_checkpointing", "offload_activations", "kl_coefficient"):
        assert {bool(getattr(case.config, on)) for case in split} == {True, False}, on
    assert any(case.flat is not None for case in CASES)
    assert any(len(case.lengths) > case.mini_batch for case in split)
