"""Which verifier judges which kind of answer."""

from __future__ import annotations

from collections.abc import Callable

from qwenlong.rewards import (
    choice,
    citation,
    date,
    extractive,
    form,
    listing,
    numeric,
    official,
    order,
    summary,
    yes_no,
)
from qwenlong.types import Example, InputError, Score

Verifier = Callable[[Example, str, bool], Score]
Check = Callable[[Example], None]

VERIFIERS: dict[str, Verifier] = {
    "extractive": extractive.score,
    "numeric": numeric.score,
    "choice": choice.score,
    "yes_no": yes_no.score,
    "list": listing.score,
    "order": order.score,
    "date": date.score,
    "summary": summary.score,
    "citation": citation.score,
    "format": form.score,
    # Compatible mode, for comparing with published numbers only.
    "official_docqa": official.score_docqa,
    "official_docmath": official.score_docmath,
    "official_choice": official.score_choice,
}

CHECKS: dict[str, Check] = {
    "extractive": extractive.check,
    "numeric": numeric.check,
    "choice": choice.check,
    "yes_no": yes_no.check,
    "list": listing.check,
    "order": order.check,
    "date": date.check,
    "summary": summary.check,
    "citation": citation.check,
    "format": form.check,
    "official_docmath": official.check_docmath,
    "official_choice": official.check_choice,
}
"""Of the kinds whose gold answers can be unreadable: raises ``ValueError`` for one that is, with
key, value and what would be right; the example's id is added here."""


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """The verdict of the verifier named by ``example.kind``.

    Raises:
        InputError: the kind is unknown.
    """
    return _named(example)(example, response, thinking)


def verifier(example: Example) -> Verifier:
    """The verifier of an example; asked of every example before a run starts.

    Raises:
        InputError: the kind is unknown, or its verifier cannot read the gold answers.
    """
    found = _named(example)
    check = CHECKS.get(example.kind)
    if check:
        try:
            check(example)
        except ValueError as error:
            told = " ".join(str(error).split())
            raise InputError(f"example {example.id!r}: {told}") from None
    return found


def _named(example: Example) -> Verifier:
    if example.kind not in VERIFIERS:
        raise InputError(
            f"kind={example.kind!r} of example {example.id!r}: must be one of"
            f" {', '.join(VERIFIERS)}"
        )
    return VERIFIERS[example.kind]
