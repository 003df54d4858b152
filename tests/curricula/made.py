"""Prompts, groups of known rewards, and how likely counts are under what was expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from qwenlong.types import Example, Group, Prompt, Score
from tests.arrays import rollout

Key = TypeVar("Key", bound=object)


def prompt(
    id: str, source: str = "mine", kind: str = "extractive", length: int = 1, **metadata: object
) -> Prompt:
    example = Example(id, source, "Who?", ("Ann.",), ("Ann",), kind, metadata=metadata)
    return Prompt(example, (7,) * length)


def group(of: Prompt, rewards: Sequence[float], version: int = 0) -> Group:
    """A rollout a reward, two tokens each; a reward of NaN was not judged."""
    rollouts = tuple(
        rollout([1, i], [-0.5, -1.0], version=version, text=f"{of.example.id} {i}")
        for i in range(len(rewards))
    )
    return Group(of, rollouts, tuple(Score(each, "exact", {"why": "made"}) for each in rewards))


def plain(groups: Sequence[Group]) -> list[Any]:
    """All that is in groups, comparable by value."""
    return [
        (
            each.prompt,
            [
                (r.response_ids.tolist(), r.logprobs.tolist(), r.finish_reason, r.version, r.text)
                for r in each.rollouts
            ],
            each.scores,
        )
        for each in groups
    ]


def ids(prompts: Iterable[Prompt]) -> list[str]:
    return [prompt.example.id for prompt in prompts]


def p_value(counts: Mapping[Key, float], shares: Mapping[Key, float]) -> float:
    """Of Pearson's chi-square test that draws were made by ``shares``, which add up to 1.

    Draws without replacement spread less than the test takes for granted, so it refuses them less
    often than it says.
    """
    assert set(counts) <= set(shares)
    assert abs(sum(shares.values()) - 1) < 1e-9
    total = sum(counts.values())
    statistic = sum(
        (counts.get(key, 0) - total * share) ** 2 / (total * share) for key, share in shares.items()
    )
    return chi_square_tail(statistic, len(shares) - 1)


def chi_square_tail(statistic: float, freedom: int) -> float:
    of = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return torch.special.gammaincc(of[0], of[1]).item()


def uniform(keys: Iterable[Key]) -> dict[Key, float]:
    keys = list(keys)
    return {key: 1 / len(keys) for key in keys}


def tally(draws: Iterable[Sequence[Prompt]]) -> Counter[str]:
    return Counter(key for drawn in draws for key in ids(drawn))
