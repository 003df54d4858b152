"""Extractive and multi-hop question answering: exact match of the final answer."""

from __future__ import annotations

from qwenlong.rewards.answer import extract
from qwenlong.rewards.normalise import normalise
from qwenlong.types import Example, Score

NAME = "extractive"
_SHOWN = 200
# Unicode normalisation is quadratic in a run of combining marks, so long answers are not tried.
_LONGER = 1000


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if the normalised final answer equals one of the normalised gold answers, else 0.

    Equality, because containment pays for a list of all candidates and for "not Paris". A
    response without a final answer scores 0. ``thinking``: see ``answer.extract``.
    """
    extraction = extract(response, thinking)
    answer = extraction.answer or ""
    golds = [normalise(gold) for gold in example.answers]
    breakdown = {
        "extracted": _shown(answer),
        "rule": extraction.how,
        "compared_with": _shown(" | ".join(golds)),
    }
    if extraction.answer is None:
        return Score(0.0, NAME, {**breakdown, "why": extraction.how})
    if len(answer) > _LONGER + 8 * max(map(len, example.answers), default=0):
        why = f"wrong: {len(answer)} characters, far longer than any gold answer"
        return Score(0.0, NAME, {**breakdown, "why": why})
    answer = normalise(answer)
    if answer and answer in golds:
        gold = example.answers[golds.index(answer)]
        why = f"right: {_shown(answer)!r} equals the gold answer {_shown(gold)!r}"
        return Score(1.0, NAME, {**breakdown, "why": why})
    why = f"wrong: {_shown(answer)!r} equals no gold answer"
    return Score(0.0, NAME, {**breakdown, "why": why})


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
