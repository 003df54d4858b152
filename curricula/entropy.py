"""Adaptive entropy control: when a policy wanders too far, it learns from what was right alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from qwenlong.types import Group


def sampled_entropy(groups: Sequence[Group]) -> float:
    """Entropy of the behaviour policy over a step's response tokens, in nats a token.

    Estimated by what was sampled, as the mean of -log p; unbiased, of the distribution that was
    sampled from (temperature and top-p included). It is known before the step is trained on.
    """
    logprobs = [x for group in groups for rollout in group.judged for x in rollout.logprobs]
    return -fsum(logprobs) / max(1, len(logprobs))


class EntropyControl:
    """AEPO (QwenLong-L1.5, arXiv 2512.12967): negative gradients raise entropy, so they pause.

    Above ``high`` all negative advantages are masked, until the entropy is below ``low``. Masked
    responses still count in the loss's normaliser.
    """

    def __init__(self, high: float, low: float) -> None:
        self.high, self.low = high, low
        self.masking = False

    def observe(self, entropy: float) -> None:
        if entropy > self.high:
            self.masking = True
        elif entropy < self.low:
            self.masking = False

    def masked(self, advantages: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
        if not self.masking:
            return list(advantages)
        return [tuple(max(each, 0.0) for each in of_group) for of_group in advantages]
