"""Section ``evaluation``."""

from __future__ import annotations

from dataclasses import dataclass

from qwenlong.config.keys import key


@dataclass(frozen=True)
class EvaluationConfig:
    """How the policy is evaluated on data.held_out, before the first stage and after each."""

    contexts: list[int] = key(
        [], "Context lengths in tokens; if empty, those of the stages.", at_least=1
    )
    examples: int = key(200, "Most held-out questions of each source at each context.", at_least=1)
    response: int | None = key(
        None,
        "Longest response in tokens; null takes the longest of the phases, so it must be set"
        " without any.",
        at_least=1,
    )
    temperature: float = key(0.0, "Sampling temperature; 0 takes the likeliest token.", at_least=0)
    top_p: float = key(
        1.0, "Sample from the likeliest tokens of this total probability.", above=0, at_most=1
    )
