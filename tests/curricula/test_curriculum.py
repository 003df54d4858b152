"""A phase's curriculum: the same again from a checkpoint, and what one phase hands to the next."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from qwenlong.config import TARGET_STEPS, LearnerConfig, RlStage, SamplerConfig
from qwenlong.curricula.curriculum import Curriculum
from qwenlong.curricula.entropy import EntropyControl, sampled_entropy
from qwenlong.types import Group, Logprobs, Prompt
from tests.curricula.made import group, ids, plain, prompt

STAGE = RlStage(context=400, response=8, steps=99, batch=24, group=4)
LEARNER = LearnerConfig()
AEPO = LearnerConfig(entropy_high=0.73, entropy_low=0.67)
SOURCES = {"books": 2.0, "news": 1.0}
OWN = [
    prompt(f"own{i}", ("books", "news")[i % 3 == 0], ("list", "date")[i % 2], 100 + i)
    for i in range(60)
]
EARLIER = [prompt(f"old{i}", "old", length=50) for i in range(20)]
SAMPLERS = {
    "uniform": STAGE,
    "balanced": replace(STAGE, sampler=SamplerConfig(["kind", "length", "pass_rate"])),
    "mix": replace(STAGE, mix=SOURCES),
    "replay": replace(STAGE, sampler=SamplerConfig(replay=0.3)),
    "rests": replace(STAGE, sampler=SamplerConfig(rest_solved=3, rest_hopeless=5)),
    "refill": replace(STAGE, refill=3, staleness=1, target=0.99),
    "all": replace(
        STAGE,
        mix=SOURCES,
        sampler=SamplerConfig(
            ["kind", "length", "pass_rate"], replay=0.3, rest_solved=3, rest_hopeless=5
        ),
        refill=3,
        target=0.99,
    ),
}


def made(stage: RlStage, learner: LearnerConfig = AEPO, seed: str = "1 two") -> Curriculum:
    curriculum = Curriculum(stage, learner, OWN, EARLIER, seed)
    curriculum.history.observe([group(each, [0.0, i / 20]) for i, each in enumerate(EARLIER)])
    return curriculum


def logprobs(*values: float) -> Logprobs:
    return np.array(values, np.float32)


def answered(of: Prompt, version: int, n: int) -> Group:
    """A policy whose answers go by example and version alone."""
    rng = Random(f"{of.example.id} {version}")
    skill = rng.choice([0.0, 0.0, 0.4, 0.8, 1.0])
    whole = group(of, [float(rng.random() < skill) for _ in range(n)], version)
    rollouts = tuple(
        replace(each, logprobs=logprobs(-rng.random(), -0.9)) for each in whole.rollouts
    )
    return replace(whole, rollouts=rollouts)


def step(curriculum: Curriculum, version: int) -> tuple[Any, ...]:
    """One step as the run takes it; returns all that is seen of it."""
    curriculum.start_step(version)
    drawn: list[list[str]] = []
    while prompts := curriculum.draw():
        drawn.append(ids(prompts))
        curriculum.observe([answered(each, version, 4) for each in prompts])
    taken = curriculum.finish_step()
    advantages = curriculum.masked([(1.0, -1.0)] * len(taken))
    return drawn, plain(taken), advantages, curriculum.metrics(), curriculum.reached


@pytest.mark.parametrize("steps", [1, 7, 23])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_restored_curriculum_draws_the_same_next_thousand(name: str, steps: int) -> None:
    """Saved within an epoch, with groups waiting and masking under way or not."""
    one = made(SAMPLERS[name])
    for version in range(steps):
        step(one, version)
    saved = json.dumps(one.state())
    # Another process: nothing is there but the data and the checkpoint.
    two = Curriculum(SAMPLERS[name], AEPO, OWN, EARLIER, "1 two")
    two.restore(json.loads(saved))
    assert json.dumps(two.state()) == saved
    draws, version = 0, steps
    while draws < 1000:
        ours, theirs = step(one, version), step(two, version)
        assert ours == theirs
        draws += sum(map(len, ours[0]))
        version += 1
    assert json.dumps(one.state()) == json.dumps(two.state())


def test_the_saved_states_were_of_every_sort() -> None:
    """Else the test above would show less than it says."""
    curriculum, seen = made(SAMPLERS["all"]), set()
    for version in range(24):
        step(curriculum, version)
        state = curriculum.state()
        seen |= {("waiting", bool(state["gate"]["waiting"])), ("masking", state["masking"])}
    assert seen == {(what, is_so) for what in ("waiting", "masking") for is_so in (True, False)}


@pytest.mark.parametrize("part", ["history", "sampler", "gate", "masking", "rewards"])
def test_every_part_of_the_state_matters(part: str) -> None:
    """Without any one of them the run would go on otherwise."""
    one = made(replace(SAMPLERS["all"], target=0.35))
    fresh, version = json.loads(json.dumps(one.state())), 0
    while version < 7 or not (one.gate.waiting and one.state()["masking"]):
        step(one, version)
        version += 1
    state = json.loads(json.dumps(one.state()))
    two = Curriculum(replace(SAMPLERS["all"], target=0.35), AEPO, OWN, EARLIER, "1 two")
    two.restore({**state, part: fresh[part]})
    assert [step(one, v) for v in range(version, version + 9)] != [
        step(two, v) for v in range(version, version + 9)
    ]


def test_seeds_differ() -> None:
    assert step(made(STAGE, seed="1 two"), 0)[0] != step(made(STAGE, seed="2 two"), 0)[0]


def test_the_next_phase_knows_what_the_last_one_saw() -> None:
    first = Curriculum(SAMPLERS["refill"], AEPO, EARLIER, [], "1 one")
    version = 0
    while version < 5 or not (first.gate.waiting and first.state()["masking"]):
        step(first, version)
        version += 1
    state = json.loads(json.dumps(first.state()))
    assert state["rewards"] and state["sampler"]["drawn"]
    second = Curriculum(SAMPLERS["all"], AEPO, OWN, EARLIER, "1 two")
    second.continue_from(state)
    assert second.history.seen == first.history.seen
    assert second.history.step == first.history.step == version
    assert second.entropy and second.entropy.masking
    # Groups that wait, the target's rewards and the counts of draws are the old phase's own.
    assert second.gate.waiting == [] and second.rewards == []
    assert second.sampler.state() == {"calls": 0, "drawn": {}, "epochs": {}}
    replayed = [key for key in step(second, version)[0][0] if key.startswith("old")]
    assert replayed and set(replayed) <= set(first.history.seen)


def test_a_phase_may_have_no_entropy_control_after_one_that_had() -> None:
    first = made(STAGE)
    assert first.entropy
    first.entropy.masking = True
    second = made(STAGE, LEARNER)
    second.continue_from(first.state())
    assert second.masked([(1.0, -1.0)]) == [(1.0, -1.0)]
    assert "aepo_masking" not in second.metrics()


def rewarded(curriculum: Curriculum, reward: float, version: int) -> bool:
    curriculum.start_step(version)
    while prompts := curriculum.draw():
        curriculum.observe([group(each, [reward] * 4, version) for each in prompts])
    curriculum.finish_step()
    return curriculum.reached


def test_a_target_is_the_mean_of_the_last_steps() -> None:
    curriculum = made(replace(STAGE, target=0.6))
    rewards = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.9, 0.9, 0.9, 0.9]
    reached = [rewarded(curriculum, reward, i) for i, reward in enumerate(rewards)]
    means = [sum(rewards[max(0, i - 4) : i + 1]) / 5 for i in range(10)]
    assert reached == [i + 1 >= TARGET_STEPS and mean >= 0.6 for i, mean in enumerate(means)]
    assert True in reached[:9] and False in reached[5:]


def test_a_phase_that_has_its_target_has_it_when_it_is_resumed() -> None:
    stage = replace(STAGE, target=0.5)
    curriculum = made(stage)
    assert [rewarded(curriculum, 0.5, i) for i in range(5)] == [False] * 4 + [True]
    again = made(stage)
    before = again.reached
    again.restore(json.loads(json.dumps(curriculum.state())))
    assert again.reached and not before
    following = made(stage)
    following.continue_from(json.loads(json.dumps(curriculum.state())))
    assert not following.reached


def test_without_a_target_a_phase_is_never_done() -> None:
    curriculum = made(STAGE)
    assert not any(rewarded(curriculum, 1.0, i) for i in range(8))


def test_entropy_control_has_hysteresis() -> None:
    control = EntropyControl(high=2.0, low=1.0)
    course = [(1.5, False), (2.0, False), (2.1, True), (1.5, True), (1.0, True), (0.9, False)]
    for entropy, masking in [*course, (1.5, False), (2.5, True)]:
        control.observe(entropy)
        assert control.masking is masking
        advantages = [(1.5, -0.5, 0.0), (-2.0,), ()]
        masked = [(1.5, 0.0, 0.0), (0.0,), ()]
        assert control.masked(advantages) == (masked if masking else advantages)


def test_sampled_entropy_is_by_token_and_of_what_was_judged() -> None:
    of = group(OWN[0], [0.0, float("nan"), 1.0])
    lengths = [logprobs(-1.0), logprobs(-9.0, -9.0), logprobs(-2.0, -2.0, -3.0)]
    rollouts = [replace(r, logprobs=p) for r, p in zip(of.rollouts, lengths, strict=True)]
    assert sampled_entropy([replace(of, rollouts=tuple(rollouts))]) == 2.0


def test_masking_is_by_the_entropy_of_the_step_itself() -> None:
    curriculum = made(STAGE, replace(AEPO, entropy_high=0.7, entropy_low=0.6))
    of = [answered(each, 0, 4) for each in OWN[:6]]
    assert sampled_entropy(of) > 0.6
    for logprob, masking in ((-0.65, False), (-0.71, True), (-0.65, True), (-0.5, False)):
        curriculum.start_step(0)
        rollouts = [
            tuple(replace(r, logprobs=logprobs(logprob, logprob)) for r in each.rollouts)
            for each in of
        ]
        curriculum.observe([replace(e, rollouts=r) for e, r in zip(of, rollouts, strict=True)])
        curriculum.finish_step()
        assert curriculum.metrics()["aepo_masking"] == float(masking)
        assert curriculum.masked([(-1.0,)]) == [(0.0 if masking else -1.0,)]
