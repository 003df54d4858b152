"""Which verifier judges which kind of answer."""

from __future__ import annotations

from collections.abc import Callable

from qwenlong.rewards import extractive
from qwenlong.types import Example, InputError, Score

Verifier = Callable[[Example, str, bool], Score]

VERIFIERS: dict[str, Verifier] = {
    "extractive": extractive.score,
}


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """The verdict of the verifier named by ``example.kind``.

    Raises:
        InputError: the kind is unknown.
    """
    return verifier(example)(example, response, thinking)


def verifier(example: Example) -> Verifier:
    """The verifier of an example; asked of every example before a run starts.

    Raises:
        InputError: the kind is unknown.
    """
    if example.kind not in VERIFIERS:
        raise InputError(
            f"kind={example.kind!r} of example {example.id!r}: must be one of"
            f" {', '.join(VERIFIERS)}"
        )
    return VERIFIERS[example.kind]
