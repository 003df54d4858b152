"""Which sampled groups a step trains on: dynamic sampling, and what waits for the next step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from qwenlong.types import Group, Prompt, Rollout, Score

LEAST_ADMITTED = 0.25
"""Share of further groups that are taken to have variance, at least: bounds what a refill draws."""


class Gate:
    """A step's groups, as many as ``size``.

    Without ``refill`` it takes what comes. With it (dynamic sampling, DAPO, arXiv 2503.14476,
    section 3.2) groups without variance are set aside and others sampled, ``refill`` times at
    most, as many as were needed if the same share had variance again. What is still missing then
    are groups that were set aside; what is too much waits, and is not sampled for nothing as in
    the released code of QwenLong-L1.

    Args:
        staleness: updates of the policy that a waiting group may lie back.
    """

    def __init__(self, size: int, refill: int = 0, staleness: int = 0) -> None:
        self.size, self.refill, self.staleness = size, refill, staleness
        self.waiting: list[Group] = []
        """Groups with variance from steps before: the whole of the state between steps."""
        self.admitted: list[Group] = []
        self.flat: list[Group] = []
        self.rounds = self.sampled = self.dropped = self.carried = 0

    def begin(self, version: int) -> None:
        """Starts a step of the policy's ``version`` with the groups that waited."""
        fresh = [group for group in self.waiting if version - born(group) <= self.staleness]
        self.dropped = len(self.waiting) - len(fresh)
        self.carried = min(len(fresh), self.size)
        self.admitted, self.flat, self.waiting = fresh, [], []
        self.rounds = self.sampled = 0

    def wanted(self) -> int:
        """Prompts to sample next; 0 if the step has what it can have."""
        missing = self.size - len(self.admitted)
        if missing <= 0 or self.rounds > self.refill:
            return 0
        if self.rounds == 0:
            return missing
        admitted = len(self.admitted) - self.carried
        share = max(admitted / self.sampled, LEAST_ADMITTED)
        return min(self.size, math.ceil(missing / share))

    def admit(self, groups: Sequence[Group]) -> None:
        self.rounds += 1
        self.sampled += len(groups)
        for group in groups:
            varied = not self.refill or len(set(group.rewards)) > 1
            (self.admitted if varied else self.flat).append(group)

    def close(self) -> list[Group]:
        """The step's groups. Those that waited come first."""
        surplus = self.admitted[self.size :]
        self.waiting = surplus if self.staleness else []
        self.dropped += len(surplus) - len(self.waiting)
        return [*self.admitted, *self.flat][: self.size]

    def ids(self) -> set[str]:
        """Examples that the step has already."""
        return {group.prompt.example.id for group in (*self.admitted, *self.flat)}

    def metrics(self) -> dict[str, float]:
        """Of the step that was taken last, in groups."""
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
        return {"waiting": [_told(group) for group in self.waiting]}

    def restore(self, state: Mapping[str, Any], prompts: Sequence[Prompt]) -> None:
        by_id = {prompt.example.id: prompt for prompt in prompts}
        self.waiting = [_group(told, by_id[told["id"]]) for told in state["waiting"]]


def born(group: Group) -> int:
    """Version of the policy that sampled it."""
    return group.rollouts[0].version


def _told(group: Group) -> dict[str, Any]:
    return {
        "id": group.prompt.example.id,
        "rollouts": [{**asdict(each), "prompt_ids": []} for each in group.rollouts],
        "scores": [asdict(score) for score in group.scores],
    }


def _group(told: Mapping[str, Any], prompt: Prompt) -> Group:
    rollouts = (
        Rollout(
            prompt.ids,
            tuple(each["response_ids"]),
            tuple(each["logprobs"]),
            each["finish_reason"],
            each["version"],
            each["text"],
        )
        for each in told["rollouts"]
    )
    return Group(prompt, tuple(rollouts), tuple(Score(**score) for score in told["scores"]))
