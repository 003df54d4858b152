"""Shares prompts out among the rollout actors and puts their answers back in order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from qwenlong.types import Prompt, Rollout, Sampling

Request = tuple[Sequence[Prompt], Sampling, Sequence[int]]


class Actors(Protocol):
    """Rollout actors, as ``actors`` keeps them."""

    def __len__(self) -> int: ...

    def generate(self, requests: Sequence[Request]) -> list[list[tuple[Rollout, ...]]]:
        """The answer of each actor to its own request, whoever fails meanwhile."""
        ...


def collect(
    actors: Actors, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]
) -> list[tuple[Rollout, ...]]:
    """``sampling.n`` rollouts of every prompt, in the prompts' order.

    ``seeds`` has one integer a prompt: which actor serves a prompt does not change its rollouts.
    """
    shares = balanced([len(prompt.ids) for prompt in prompts], len(actors))
    requests = [
        ([prompts[i] for i in share], sampling, [seeds[i] for i in share]) for share in shares
    ]
    collected: dict[int, tuple[Rollout, ...]] = {}
    for share, rollouts in zip(shares, actors.generate(requests), strict=True):
        collected.update(zip(share, rollouts, strict=True))
    return [collected[i] for i in range(len(prompts))]


def balanced(lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Indices in ``parts`` shares of about the same sum of lengths: longest first, to the least."""
    shares: list[list[int]] = [[] for _ in range(parts)]
    loads = [0] * parts
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        least = loads.index(min(loads))
        shares[least].append(i)
        loads[least] += lengths[i]
    return [sorted(share) for share in shares]


def request_seeds(prompts: Sequence[Prompt], *salt: object, first: int = 0) -> list[int]:
    """A sampling seed for each prompt, from its example, its place and ``salt``.

    Args:
        salt: the run's seed, the stage, the step.
        first: place of the first prompt among all that the step samples.
    """
    return [
        int.from_bytes(
            hashlib.sha256(repr((*salt, i, prompt.example.id)).encode()).digest()[:4], "big"
        )
        & 0x7FFFFFFF
        for i, prompt in enumerate(prompts, start=first)
    ]
