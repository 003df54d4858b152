"""Which examples belong to which phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qwenlong.config import RlStage
from qwenlong.types import InputError, Prompt


def phase_prompts(
    prompts: Sequence[Prompt], phases: Mapping[str, RlStage]
) -> dict[str, Sequence[Prompt]]:
    """The prompts of each phase: those of its lengths, and of the sources in its ``mix``.

    Phases of the same context draw from the same lengths.

    Raises:
        InputError: a phase has no prompt, or none of a source that it names, or an example's pass
            rate is not one.
    """
    by_phase: dict[str, Sequence[Prompt]] = {}
    for name, phase in phases.items():
        shorter = [each.context for each in phases.values() if each.context < phase.context]
        lower = max(shorter, default=0) if phase.lengths == "band" else 0
        band = length_band(prompts, lower, phase.context, name)
        if "pass_rate" in phase.sampler.balance:
            _check_pass_rates(band)
        sources = {prompt.example.source for prompt in band}
        for source, share in phase.mix.items():
            if source not in sources:
                raise InputError(
                    f"stages.{name}.mix.{source}={share}: no example of the phase's lengths is of"
                    f" that source; they are of {', '.join(sorted(sources))}"
                )
        by_phase[name] = [p for p in band if not phase.mix or p.example.source in phase.mix]
    return by_phase


def _check_pass_rates(prompts: Sequence[Prompt]) -> None:
    for prompt in prompts:
        given = prompt.example.metadata.get("pass_rate")
        if given is not None and not (isinstance(given, (int, float)) and 0 <= given <= 1):
            raise InputError(
                f"data.train: example {prompt.example.id!r}: metadata.pass_rate={given!r}: must be"
                " a number from 0 to 1"
            )


def within(prompts: Sequence[Prompt], lower: int, upper: int) -> tuple[Prompt, ...]:
    """The prompts with ``lower`` < tokens <= ``upper``."""
    return tuple(prompt for prompt in prompts if lower < len(prompt.ids) <= upper)


def length_band(
    prompts: Sequence[Prompt], lower: int, upper: int, stage: str
) -> tuple[Prompt, ...]:
    """The prompts with ``lower`` < tokens <= ``upper``, at least one.

    Phase k of QwenLong-L1 (arXiv 2505.17667, section 3.2) draws only lengths in (L(k-1), L(k)],
    where L(0) = 0.

    Raises:
        InputError: there is none; the message names ``stage``.
    """
    band = within(prompts, lower, upper)
    if not band:
        lengths = sorted(len(prompt.ids) for prompt in prompts)
        have = f"{lengths[0]} to {lengths[-1]}" if lengths else "no"
        raise InputError(
            f"stages.{stage}.context={upper}: no example has more than {lower} and at most"
            f" {upper} tokens (data.train has {have} tokens)"
        )
    return band
