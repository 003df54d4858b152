"""Compatible mode: answers in words, as the QwenLong-L1 repository compares them (``official``)."""

from __future__ import annotations

import re
import string

from qwenlong.rewards.kind import JudgeView, Kind, gold_case
from qwenlong.rewards.official import SAID, final_part, scored
from qwenlong.rewards.text.answer import shown
from qwenlong.types import Example, Score

NAME = "official_docqa"
_SPECIAL = ("<｜Assistant｜>", "<｜end▁of▁sentence｜>")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if answer and gold, normalised, contain each other in either direction."""
    answer = answer_of(response, thinking)
    if not answer:
        return scored(0.0, NAME, example, "", f"no answer: nothing after {SAID!r}")
    said = _normalised(answer)
    for gold in example.answers:
        meant = _normalised(_gold(gold))
        if meant in said or said in meant:
            why = f"right: {shown(said)!r} and {shown(meant)!r} contain one the other"
            return scored(1.0, NAME, example, answer, why)
    return scored(0.0, NAME, example, answer, f"wrong: {shown(said)!r} and no gold share a text")


def answer_of(response: str, thinking: bool = True) -> str | None:
    return _after_marker(final_part(response, thinking) or "") or None


def _after_marker(final: str) -> str:
    _, said, answer = final.replace("*", "").rpartition(SAID)
    if not said:
        return ""
    answer = answer.strip()
    for token in _SPECIAL:
        answer = answer.replace(token, "")
    return answer.strip().strip(".").strip()


def _gold(gold: str) -> str:
    return _after_marker(gold) if SAID in gold else gold.replace("*", "")


def _normalised(text: str) -> str:
    text = _ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION))
    return " ".join(text.split())


KIND = Kind(NAME, score, judge=JudgeView(gold_case, answer_of))
