"""Which examples belong to which phase."""

from __future__ import annotations

from collections.abc import Sequence

from qwenlong.types import InputError, Prompt


def length_band(
    prompts: Sequence[Prompt], lower: int, upper: int, stage: str
) -> tuple[Prompt, ...]:
    """The prompts with ``lower`` < tokens <= ``upper``.

    Phase k of QwenLong-L1 (arXiv 2505.17667, section 3.2) draws only lengths in (L(k-1), L(k)],
    L(0) = 0.

    Raises:
        InputError: there is none, naming ``stage``.
    """
    band = tuple(prompt for prompt in prompts if lower < len(prompt.ids) <= upper)
    if not band:
        lengths = sorted(len(prompt.ids) for prompt in prompts)
        have = f"{lengths[0]} to {lengths[-1]}" if lengths else "no"
        raise InputError(
            f"stages.{stage}.context={upper}: no example has more than {lower} and at most"
            f" {upper} tokens (data.train has {have} tokens)"
        )
    return band
