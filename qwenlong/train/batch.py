"""One step's parts between the engine and the learner: scored, compared, packed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from qwenlong.config import LearnerConfig, RlStage
from qwenlong.learner.advantages import (
    Advantages,
    by_difficulty,
    overlong_penalty,
    step_advantages,
)
from qwenlong.learner.objectives import find_objective
from qwenlong.rewards.hybrid import Rewards, UnjudgedError, score_all
from qwenlong.types import Batch, Group, Prompt, Rollout, Row, Sampling

TRUNCATED = "length"
"""Finish reason of a response that was cut at the limit."""


def scored(
    prompts: Sequence[Prompt], rollouts: Sequence[tuple[Rollout, ...]], rewards: Rewards
) -> list[Group]:
    """Groups of one step or evaluation, scored together, for a judge takes many at once."""
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
    stage: RlStage,
    sampling: Sampling,
    version: int,
    drop_truncated: bool,
) -> Batch:
    """Rows for the learner, a group each.

    Args:
        version: of the policy that is trained; groups of an earlier one are marked stale.
        drop_truncated: leaves responses that were cut at the limit out. Their rewards have gone
            into their group's mean (overlong filtering, DAPO, arXiv 2503.14476, section 3.4).
    """
    rows = []
    for group, of_group in zip(groups, advantages, strict=True):
        kept = [
            (rollout, advantage)
            for rollout, advantage in zip(group.judged, of_group, strict=True)
            if not (drop_truncated and rollout.finish_reason == TRUNCATED)
        ]
        rows.append(
            Row(
                group.prompt.ids,
                tuple(rollout.response_ids for rollout, _ in kept),
                tuple(rollout.logprobs for rollout, _ in kept),
                tuple(advantage for _, advantage in kept),
                stale=any(rollout.version != version for rollout in group.rollouts),
            )
        )
    mini_batch = (stage.mini_batch or stage.batch) // stage.group
    return Batch(
        tuple(rows),
        mini_batch,
        stage.learning_rate,
        stage.response,
        sampling.temperature,
        sampling.top_p,
    )
