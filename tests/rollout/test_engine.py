"""vLLM samples from the learner's weights and RoPE, always: one engine through all changes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from qwenlong.config import EngineConfig, LearnerConfig, RolloutConfig
from qwenlong.data.prompts import Renderer
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.metrics import engine_kl
from qwenlong.learner.micro_batches import RowSlice
from qwenlong.rollout.vllm_engine import VllmEngine
from qwenlong.types import (
    Example,
    Prompt,
    Request,
    Rollout,
    Rope,
    Row,
    Sampling,
    StoredWeights,
    token_ids,
)

NATIVE = Rope(theta=10_000.0, window=256)
YARN = replace(NATIVE, factor=4.0)
RESPONSE = 24
SAMPLING = Sampling(n=4, max_tokens=RESPONSE, temperature=0.7, top_p=0.95)
MAX_GAP, MEAN_KL = 1e-4, 1e-5

pytestmark = pytest.mark.timeout(300)


def requests_for(prompts: Sequence[Prompt], first: int = 0, step: int = 1) -> list[Request]:
    """Seeded ``first``, ``first + step``, …"""
    return [Request(token_ids(prompt.ids), first + i * step) for i, prompt in enumerate(prompts)]


def plain(answers: Sequence[Sequence[Rollout]]) -> list[list[tuple[Any, ...]]]:
    return [
        [
            (r.response_ids.tolist(), r.logprobs.tolist(), r.finish_reason, r.version, r.text)
            for r in of
        ]
        for of in answers
    ]


class Pair:
    """An engine and a learner that should agree."""

    def __init__(self, policy: Path, prompts: list[Prompt]) -> None:
        config = RolloutConfig()
        longest = YARN.limit
        self.engine = VllmEngine(str(policy), "float32", YARN, longest, config, seed=0)
        self.learner = GrpoLearner(str(policy), "float32", LearnerConfig())
        self.prompts = prompts
        self.first = [weight.detach().clone() for weight in self.learner.model.parameters()]

    def begin(self) -> None:
        """Both as at the first test's beginning: native, the same changed weights."""
        with torch.no_grad():
            for weight, first in zip(self.learner.model.parameters(), self.first, strict=True):
                weight.copy_(first)
        self.version = 0
        self.set_rope(NATIVE)
        self.change_weights()
        self.publish()

    def set_rope(self, rope: Rope) -> None:
        self.engine.set_rope(rope)
        self.learner.set_rope(rope)

    def publish(self) -> None:
        self.version += 1
        self.engine.load(StoredWeights.of(self.learner.weights()), self.version)

    def change_weights(self) -> None:
        """Every weight becomes another, the embeddings and the tied head among them."""
        generator = torch.Generator().manual_seed(self.version)
        with torch.no_grad():
            for weight in self.learner.model.parameters():
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(0.5 * weight.std().nan_to_num(0.0).clamp(min=0.02) * noise)

    def fitting(self, rope: Rope) -> list[Prompt]:
        return [prompt for prompt in self.prompts if len(prompt.ids) + RESPONSE <= rope.limit]

    def rollouts(
        self, prompts: list[Prompt], sampling: Sampling = SAMPLING
    ) -> list[tuple[Prompt, Rollout]]:
        groups = self.engine.generate(requests_for(prompts), sampling)
        return [(p, rollout) for p, group in zip(prompts, groups, strict=True) for rollout in group]

    def gaps(self, rope: Rope, sampling: Sampling = SAMPLING) -> tuple[float, float]:
        """Largest difference of logprobs, and the mean KL that the learner would report.

        With top-p the largest but for one token in fifty: where the nucleus ends between two
        tokens within a rounding error, one more may be in it.
        """
        prompts = self.fitting(rope)
        gaps, kls = [], []
        for prompt, rollout in self.rollouts(prompts, sampling):
            assert rollout.version == self.version
            ids = token_ids(prompt.ids)
            row = Row(ids, (rollout.response_ids,), (rollout.logprobs,), (0.0,))
            with torch.no_grad():
                pieces = (RowSlice(row, 0, 1),)
                stats = self.learner.policy(pieces, sampling.temperature, sampling.top_p)
            ours, theirs = stats.logprobs - stats.nucleus_logmass, torch.tensor(rollout.logprobs)
            gaps.append((ours - theirs).abs())
            kls.append(engine_kl(stats, theirs))
        worst = torch.cat(gaps).quantile(1.0 if sampling.top_p == 1.0 else 0.98).item()
        return worst, torch.cat(kls).mean().item()

    def agree(self, rope: Rope, sampling: Sampling = SAMPLING) -> None:
        for each in (sampling, replace(sampling, top_p=1.0)):
            worst, kl = self.gaps(rope, each)
            assert worst < MAX_GAP and kl < MEAN_KL


@pytest.fixture(scope="module")
def prompts(tokenizer: PreTrainedTokenizerBase, examples: list[Example]) -> list[Prompt]:
    """A dozen, the longest of several blocks of the prefix cache, some beyond the window."""
    rendered = [Renderer(tokenizer).prompt(example) for example in examples]
    chosen = sorted((p for p in rendered if len(p.ids) < 900), key=lambda p: len(p.ids))
    return chosen[:: len(chosen) // 11]


@pytest.fixture(
    scope="module", params=["tiny_policy", pytest.param("tiny_moe_policy", marks=pytest.mark.slow)]
)
def only_pair(request: pytest.FixtureRequest, prompts: list[Prompt]) -> Iterator[Pair]:
    """Dense, then a mixture of experts: one engine after the other."""
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    pair = Pair(request.getfixturevalue(request.param), prompts)
    yield pair
    pair.engine.close()


@pytest.fixture
def pair(only_pair: Pair) -> Pair:
    only_pair.begin()
    return only_pair


def test_they_agree_in_every_rope_and_after_new_weights(pair: Pair) -> None:
    assert len(pair.fitting(NATIVE)) >= 3
    assert len(pair.fitting(YARN)) > len(pair.fitting(NATIVE)) + 3
    for rope in (NATIVE, YARN, NATIVE):
        pair.set_rope(rope)
        pair.agree(rope)
        pair.change_weights()
        pair.publish()
        pair.agree(rope)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.5), (1.3, 0.95)])
def test_they_agree_however_responses_are_drawn(
    pair: Pair, temperature: float, top_p: float
) -> None:
    pair.set_rope(YARN)
    pair.agree(YARN, replace(SAMPLING, temperature=temperature, top_p=top_p))


def test_a_head_that_keeps_its_old_copy_would_be_seen(pair: Pair) -> None:
    """What vLLM's own reload leaves undone: the tied head's packed copy stays as it was."""
    pair.set_rope(NATIVE)
    pair.agree(NATIVE)
    pair.change_weights()
    weights = list(pair.learner.weights())
    pair.engine.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
    worst, kl = pair.gaps(NATIVE)
    assert worst > 0.1 and kl > 1e-3
    pair.publish()
    pair.agree(NATIVE)


def test_a_prefix_cache_that_is_not_dropped_would_be_seen(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.set_rope(YARN)
    pair.agree(YARN)
    pair.change_weights()
    pair.publish()
    with monkeypatch.context() as patch:
        patch.setattr(pair.engine, "_drop_caches", lambda: None)
        worst, kl = pair.gaps(YARN)
    assert worst > 0.01 and kl > 1e-4
    pair.agree(YARN)


def test_a_rope_of_another_phase_would_be_seen(pair: Pair) -> None:
    pair.set_rope(YARN)
    pair.learner.set_rope(NATIVE)
    worst, kl = pair.gaps(YARN)
    assert worst > 0.01 and kl > 1e-4
    pair.learner.set_rope(YARN)
    pair.agree(YARN)


def test_the_same_seeds_give_the_same_rollouts_in_any_company(
    pair: Pair, prompts: list[Prompt]
) -> None:
    pair.set_rope(YARN)
    first = plain(pair.engine.generate(requests_for(prompts), SAMPLING))
    again = plain(pair.engine.generate(requests_for(prompts), SAMPLING))
    assert again == first
    other = plain(pair.engine.generate(requests_for(prompts, first=100), SAMPLING))
    assert all(theirs != ours for theirs, ours in zip(other, first, strict=True))
    fewer = plain(pair.engine.generate(requests_for(prompts[::2], step=2), SAMPLING))
    assert [[ids for ids, *_ in group] for group in fewer] == [
        [ids for ids, *_ in group] for group in first[::2]
    ]
    for group in first:
        assert len(group) == SAMPLING.n
        # One seed a prompt, yet its responses are not copies of one another.
        assert len({tuple(ids) for ids, *_ in group}) > 1


def test_a_rollout_is_whole(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> None:
    pair.set_rope(NATIVE)
    end = tokenizer.eos_token_id
    with torch.no_grad():
        # A head that likes the end of turn, so that some responses end by themselves.
        weight = pair.learner.model.get_input_embeddings().weight
        weight[end] = weight.mean(0) * 40
    pair.publish()
    rollouts = pair.rollouts(pair.fitting(NATIVE), replace(SAMPLING, n=16, temperature=1.0))
    for _, rollout in rollouts:
        assert rollout.response_ids.dtype == np.int32 and rollout.logprobs.dtype == np.float32
        ids = rollout.response_ids.tolist()
        assert len(ids) == len(rollout.logprobs) <= RESPONSE
        stopped = ids[-1] == end
        assert rollout.finish_reason == ("stop" if stopped else "length")
        assert end not in ids[:-1]
        assert stopped or len(ids) == RESPONSE
        # The text has thinking's marks, and neither the end of turn nor half a character.
        text = tokenizer.decode(ids[:-1] if stopped else ids)
        assert rollout.text.rstrip("\ufffd") == text.rstrip("\ufffd")
    pair.agree(NATIVE)


def test_greedy_is_the_likeliest_token_of_the_learner(pair: Pair) -> None:
    pair.set_rope(YARN)
    for prompt, rollout in pair.rollouts(pair.fitting(YARN), Sampling(1, 8, temperature=0.0)):
        ids = torch.tensor([[*prompt.ids, *rollout.response_ids.tolist()]])
        model = pair.learner.model
        model.set_attn_implementation("sdpa")
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, len(prompt.ids) - 1 : -1]
        model.set_attn_implementation("qwenlong_shared_prompt")
        chosen = logits.gather(-1, torch.tensor(rollout.response_ids.tolist())[:, None])[:, 0]
        assert (logits.max(-1).values - chosen).max() < 1e-3


def test_batch_invariance_is_asked_of_vllm_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from vllm.envs import environment_variables

    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "0")
    for config in (EngineConfig(), RolloutConfig(), RolloutConfig(batch_invariant=True)):
        with pytest.raises(OSError, match="none"):  # there is no policy
            VllmEngine(str(tmp_path / "none"), "float32", Rope(1e4, 64), 64, config, 0)
        wanted = config == RolloutConfig(batch_invariant=True)
        assert environment_variables["VLLM_BATCH_INVARIANT"]() is wanted
