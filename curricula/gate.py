"""Which sampled groups a step trains on: dynamic sampling, and surplus kept for the next step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from qwenlong.types import Group, Prompt, Rollout, Score, token_ids

LEAST_ADMITTED = 0.25
"""Lowest share of groups with variance that a refill assumes; it bounds how many it samples."""


class Gate:
    """Collects the ``size`` groups of a step.

    Without ``refill`` it takes the groups as they come. With it (dynamic sampling, DAPO, arXiv
    2503.14476, section 3.2) groups without variance are set aside and further prompts are sampled,
    at most ``refill`` times. A refill samples as many prompts as are needed if the share of groups
    with variance stays as it was. If groups are still missing after that, groups without variance
    fill the step. Surplus groups carry over to the next step; the released code of QwenLong-L1
    throws them away.

    Args:
        staleness: a group is dropped when it is older than this, in updates of the policy.
    """

    def __init__(self, size: int, refill: int = 0, staleness: int = 0) -> None:
        self.size, self.refill, self.staleness = size, refill, staleness
        self.waiting: list[Group] = []
        """Surplus groups of earlier steps: all of the state between steps."""
        self.admitted: list[Group] = []
        self.flat: list[Group] = []
        """Groups without variance: all rewards are equal, so all advantages are 0."""
        self.rounds = self.sampled = self.dropped = self.carried = 0

    def start_step(self, version: int) -> None:
        """Starts a step that samples with the policy's ``version``, with the groups that waited."""
        fresh = [
            group for group in self.waiting if version - sampled_version(group) <= self.staleness
        ]
        self.dropped = len(self.waiting) - len(fresh)
        self.carried = min(len(fresh), self.size)
        self.admitted, self.flat, self.waiting = fresh, [], []
        self.rounds = self.sampled = 0

    def wanted(self) -> int:
        """How many prompts to sample next; 0 when the step is full or may not sample further."""
        missing = self.size - len(self.admitted)
        if missing <= 0 or self.rounds > self.refill:
            return 0
        if self.rounds == 0:
            return missing
        admitted = len(self.admitted) - self.carried
        # A round without any variance says too little about the share to divide by it.
        share = max(admitted / self.sampled, LEAST_ADMITTED)
        return min(self.size, math.ceil(missing / share))

    def admit(self, groups: Sequence[Group]) -> None:
        self.rounds += 1
        self.sampled += len(groups)
        for group in groups:
            varied = not self.refill or len(set(group.rewards)) > 1
            (self.admitted if varied else self.flat).append(group)

    def finish_step(self) -> list[Group]:
        """The groups to train on, carried ones first. The surplus waits for the next step."""
        surplus = self.admitted[self.size :]
        self.waiting = surplus if self.staleness else []
        self.dropped += len(surplus) - len(self.waiting)
        return [*self.admitted, *self.flat][: self.size]

    def ids(self) -> set[str]:
        """Ids of the examples that the step already has."""
        return {group.prompt.example.id for group in (*self.admitted, *self.flat)}

    def metrics(self) -> dict[str, float]:
        """Counts of groups in the last step; none without ``refill``."""
        if not self.refill:
            return {}
        return {
            "gate_sampled": self.sampled,
            "gate_refills": self.rounds - 1,
            "gate_flat": len(self.flat),
            "gate_carried_in": self.carried,
            "gate_carried_out": len(self.waiting),
            "gate_dropped": self.dropped,
        }

    def state(self) -> dict[str, Any]:
        return {"waiting": [_record(group) for group in self.waiting]}

    def restore(self, state: Mapping[str, Any], prompts: Sequence[Prompt]) -> None:
        by_id = {prompt.example.id: prompt for prompt in prompts}
        self.waiting = [_group(record, by_id[record["id"]]) for record in state["waiting"]]


def sampled_version(group: Group) -> int:
    """Version of the policy that sampled the group."""
    return group.rollouts[0].version


def _record(group: Group) -> dict[str, Any]:
    """The group as JSON, without its prompt, which the data has."""
    return {
        "id": group.prompt.example.id,
        "rollouts": [
            {
                **vars(each),
                "response_ids": each.response_ids.tolist(),
                "logprobs": each.logprobs.tolist(),
            }
            for each in group.rollouts
        ],
        "scores": [asdict(score) for score in group.scores],
    }


def _group(record: Mapping[str, Any], prompt: Prompt) -> Group:
    rollouts = (
        Rollout(
            token_ids(each["response_ids"]),
            np.array(each["logprobs"], np.float32),
            each["finish_reason"],
            each["version"],
            each["text"],
        )
        for each in record["rollouts"]
    )
    return Group(prompt, tuple(rollouts), tuple(Score(**score) for score in record["scores"]))
