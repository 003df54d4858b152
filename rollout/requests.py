"""The requests of a step: reproducible seeds, and even shares for several engines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from qwenlong.types import Prompt, Request, token_ids


def requests_of(prompts: Sequence[Prompt], *salt: object, first: int = 0) -> list[Request]:
    """A request for each prompt, seeded by its example, its place in the step, and ``salt``.

    Args:
        salt: what tells this step from others: the run's seed, the stage, the step.
        first: place of the first prompt among all that the step samples. The same example twice
            in a step gets two seeds.
    """
    return [
        Request(token_ids(prompt.ids), _seed((*salt, place, prompt.example.id)))
        for place, prompt in enumerate(prompts, start=first)
    ]


def _seed(key: tuple[object, ...]) -> int:
    """31 bits: vLLM takes a signed 32-bit integer."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


def balanced(lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Indices of ``lengths`` in ``parts`` shares whose sums are about equal.

    Greedy: the longest first, each into the share with the smallest sum so far.
    """
    shares: list[list[int]] = [[] for _ in range(parts)]
    sums = [0] * parts
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):  # stable: ties in order
        smallest = sums.index(min(sums))
        shares[smallest].append(i)
        sums[smallest] += lengths[i]
    return [sorted(share) for share in shares]
