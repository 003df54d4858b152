"""Adaptive entropy control: while the entropy is too high, only right answers are learned from."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from qwenlong.types import Group


def sampled_entropy(groups: Sequence[Group]) -> float:
    """Entropy of the behaviour policy over a step's response tokens, in nats a token.

    Estimated from the sampled tokens as the mean of -log p. The estimate is unbiased for the
    distribution that was sampled from, temperature and top-p included, and needs no forward pass,
    so it is known before the step is trained on.
    """
    each = [x for group in groups for rollout in group.judged for x in rollout.logprobs.tolist()]
    return -fsum(each) / max(1, len(each))


class EntropyControl:
    """AEPO (QwenLong-L1.5, arXiv 2512.12967): negative gradients raise the entropy.

    Above ``high`` nats a token all negative advantages are masked, until the entropy is below
    ``low``. Masked responses still count in the loss's normaliser.
    """

    def __init__(self, high: float, low: float) -> None:
        self.high, self.low = high, low
        self.masking = False

    def observe(self, entropy: float) -> None:
        # Between the two bounds the state stays as it is, so it does not flip at every step.
        if entropy > self.high:
            self.masking = True
        elif entropy < self.low:
            self.masking = False

    def masked(self, advantages: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
        if not self.masking:
            return list(advantages)
        return [tuple(max(each, 0.0) for each in of_group) for of_group in advantages]
