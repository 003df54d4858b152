"""Compatible mode: the rules that the QwenLong-L1 repository trained and published with.

Use them only to compare with published numbers: they accept wrong answers and refuse right ones
(tests/rewards/test_official.py has examples). Each is a kind of its own, ``official_docqa``,
``official_docmath`` and ``official_choice``.

Behaviour after Tongyi-Zhiwen/QwenLong-L1, verl/utils/reward_score/{docqa,docmath,long}.py,
in our own words. These differences are on purpose:

- The official number is handed to ``eval``; here a literal is parsed, which is all that could
  reach it, since only digits, points and a minus are left by then.
- A gold answer may be bare ("32.4") or the official sentence ("the answer is 32.4.").
- Several gold answers count as aliases; the official code has one.
- With ``thinking=False`` a response without ``</think>`` is read whole; officially it is a 0.
"""

from __future__ import annotations

from qwenlong.rewards.text.answer import THINK_CLOSE, shown
from qwenlong.types import Example, Score

SAID = "the answer is"


def final_part(response: str, thinking: bool) -> str | None:
    _, closed, final = response.rpartition(THINK_CLOSE)
    return final.strip() if closed or not thinking else None


def scored(
    value: float, kind: str, example: Example, answer: str, why: str, marker: str = SAID
) -> Score:
    """
    Args:
        marker: the words behind which the answer is looked for.
    """
    breakdown = {
        "extracted": shown(answer),
        "rule": f"official: {marker} …",
        "compared_with": shown(" | ".join(example.answers)),
        "why": why,
    }
    return Score(value, kind, breakdown)
