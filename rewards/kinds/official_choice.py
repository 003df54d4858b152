"""Compatible mode: one of A to D, as the QwenLong-L1 repository compares them (``official``)."""

from __future__ import annotations

import re

from qwenlong.rewards.kind import JudgeView, Kind, gold_case
from qwenlong.rewards.kinds.choice import option_texts, question_with_options
from qwenlong.rewards.official import final_part, scored
from qwenlong.rewards.text.answer import shown
from qwenlong.types import Example, Score

NAME = "official_choice"
_CHOSEN = "The correct answer is"
_IN_BRACKETS, _BARE_LETTER = (re.compile(f"{_CHOSEN} {x}") for x in (r"\(([A-D])\)", "([A-D])"))
_BARE = re.compile(r"\(?[A-D]\)?\.?")


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if the capital A to D that follows "The correct answer is" is the gold one."""
    letter = answer_of(response, thinking)
    if letter is None:
        why = f"no answer: no letter A to D after {_CHOSEN!r}"
        return scored(0.0, NAME, example, "", why, _CHOSEN)
    right = letter in [_letter(_gold(gold)) for gold in example.answers]
    why = f"{'right' if right else 'wrong'}: read as {letter}"
    return scored(float(right), NAME, example, letter, why, _CHOSEN)


def answer_of(response: str, thinking: bool = True) -> str | None:
    return _letter(final_part(response, thinking) or "")


def check(example: Example) -> None:
    """Officially a gold answer without a letter is a silent 0 for every response."""
    for gold in example.answers:
        bare = _CHOSEN not in gold
        if _letter(_gold(gold)) is None or (bare and not _BARE.fullmatch(gold.strip())):
            raise ValueError(f"answers=[{shown(gold)!r}]: must be A, B, C or D for {NAME}")


def _letter(text: str) -> str | None:
    text = text.replace("*", "")
    found = _IN_BRACKETS.search(text) or _BARE_LETTER.search(text)
    return found[1] if found else None


def _gold(gold: str) -> str:
    return gold if _CHOSEN in gold else f"{_CHOSEN} {gold.strip()}"


KIND = Kind(
    NAME,
    score,
    check,
    question=question_with_options,
    judge=JudgeView(gold_case, answer_of),
    texts=option_texts,
    may_hide_question=True,
)
