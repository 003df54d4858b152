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

from collections.abc import Callable

from qwenlong.rewards.text.answer import THINK_CLOSE, shown
from qwenlong.types import Example, Score

SAID = "the answer is"
_TEXT_END, _FORMAT = "</text>", "Format your response as follows:"

JUDGE_SYSTEM = (
    "You decide whether two answers to a problem are the same. Do not solve the problem. Answers"
    " in other words or another notation are the same if they have the same value or meaning."
    " First explain, then give your verdict as [[YES]] or [[NO]]."
)
"""Says what the official prompt says, in other words; ``official_judge`` takes any prompt."""


def official_question(prompt: str) -> str:
    """What the official judge takes as the question: everything after the first ``</text>``.

    Of a document that contains ``</text>``, the judge therefore sees the rest.

    Raises:
        ValueError: the prompt lacks ``</text>`` or the sentence about the format, as officially.
    """
    question = prompt[prompt.index(_TEXT_END) : prompt.index(_FORMAT)]
    return question.replace(_TEXT_END, "").strip()


def official_judge(
    prompt: str,
    answer: str,
    gold: str,
    complete: Callable[[list[dict[str, str]]], str],
    system: str = JUDGE_SYSTEM,
) -> float:
    """1 if the reply has a "YES" anywhere, else 0, also if the endpoint fails.

    The official reward is the larger of this and the rule's value. The judge is only asked where
    the rule gives less than 1.
    """
    question = official_question(prompt)
    user = f"\nProblem: {question}\nAnswer 1: {answer}\nAnswer 2: {gold}\n"
    try:
        reply = complete([{"role": "system", "content": system}, {"role": "user", "content": user}])
    except Exception:  # What the official code does with it is what is shown here.
        return 0.0
    return 1.0 if "YES" in reply else 0.0


def final_part(response: str, thinking: bool) -> str | None:
    _, closed, final = response.rpartition(THINK_CLOSE)
    return final.strip() if closed or not thinking else None


def unread(kind: str, example: Example, why: str, marker: str = SAID) -> Score:
    return scored(0.0, kind, example, "", f"no answer: {why}", marker)


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
