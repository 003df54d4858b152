"""From the engines to the learner: rollouts are scored, compared within groups, and packed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from qwenlong.config import Config, LearnerConfig, RlStage
from qwenlong.learner.advantages import (
    Advantages,
    by_difficulty,
    overlong_penalty,
    step_advantages,
)
from qwenlong.learner.objectives import find_objective
from qwenlong.rewards.hybrid import Rewards, UnjudgedError, score_all
from qwenlong.types import Batch, Group, Limits, Prompt, Rollout, Row, Sampling, token_ids

TRUNCATED = "length"
"""Finish reason of a response that was cut at the limit."""


def sampling_of(stage: RlStage, config: Config) -> Sampling:
    rollout = config.rollout
    return Sampling(stage.group, stage.response, rollout.temperature, rollout.top_p)


def scored(
    prompts: Sequence[Prompt], rollouts: Sequence[tuple[Rollout, ...]], rewards: Rewards
) -> list[Group]:
    """The groups of a step or an evaluation, scored together: a judge takes many cases at once.

    Raises:
        UnjudgedError: the judge gave no verdict on any response.
    """
    answered = [
        (prompt.example, rollout.text)
        for prompt, of_prompt in zip(prompts, rollouts, strict=True)
        for rollout in of_prompt
    ]
    verdicts = score_all(rewards, answered)
    if not any(score.judged for score in verdicts):
        why = verdicts[0].breakdown["judge_why"]
        raise UnjudgedError(f"the judge gave no verdict on any of {len(verdicts)} responses: {why}")
    scores = iter(verdicts)
    return [
        Group(prompt, of_prompt, tuple(next(scores) for _ in of_prompt))
        for prompt, of_prompt in zip(prompts, rollouts, strict=True)
    ]


def advantages_of(
    groups: Sequence[Group], stage: RlStage, learner: LearnerConfig
) -> list[Advantages]:
    """The advantages of every group of a step, by ``learner.advantage``."""
    rewards = [_rewards(group, stage, learner.overlong_buffer) for group in groups]
    tasks = [group.prompt.example.kind for group in groups]
    scaled = find_objective(learner.objective).scales_advantages
    advantages = step_advantages(learner.advantage, rewards, tasks, scaled)
    if not learner.difficulty_weight:
        return advantages
    return [
        by_difficulty(each, fmean(group.rewards)) if each else each
        for each, group in zip(advantages, groups, strict=True)
    ]


def _rewards(group: Group, stage: RlStage, buffer: int) -> list[float]:
    if not buffer:
        return list(group.rewards)
    return [
        reward + overlong_penalty(len(rollout.response_ids), stage.response, buffer)
        for reward, rollout in zip(group.rewards, group.judged, strict=True)
    ]


def batch_of(
    groups: Sequence[Group],
    advantages: Sequence[Advantages],
    version: int,
    stage: RlStage,
    config: Config,
    limits: Limits,
) -> Batch:
    """A row for each group.

    With ``learner.drop_truncated`` responses that were cut at the limit are left out of the rows,
    although their rewards count in their groups' means (overlong filtering, DAPO, arXiv 2503.14476,
    section 3.4).

    Args:
        version: of the policy that is trained; groups of an earlier version are marked stale.
    """
    rows = []
    for group, of_group in zip(groups, advantages, strict=True):
        kept = [
            (rollout, advantage)
            for rollout, advantage in zip(group.judged, of_group, strict=True)
            if not (config.learner.drop_truncated and rollout.finish_reason == TRUNCATED)
        ]
        rows.append(
            Row(
                token_ids(group.prompt.ids),
                tuple(rollout.response_ids for rollout, _ in kept),
                tuple(rollout.logprobs for rollout, _ in kept),
                tuple(advantage for _, advantage in kept),
                stale=any(rollout.version != version for rollout in group.rollouts),
            )
        )
    sampling = sampling_of(stage, config)
    return Batch(
        tuple(rows),
        mini_batch=(stage.mini_batch or stage.batch) // stage.group,
        learning_rate=stage.learning_rate,
        response_limit=stage.response,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        limits=limits,
    )
