"""How kinds show an example and a response to a judge."""

from __future__ import annotations

from qwenlong.rewards.judge.prompt import Case
from qwenlong.rewards.kind import JudgeView
from qwenlong.rewards.text.answer import extract
from qwenlong.types import Example


def question_of(example: Example) -> str:
    """The question, also where the prompt only has the first of the keys that lead to it."""
    return str(example.metadata.get("hidden_question") or example.question)


def gold_case(example: Example) -> Case:
    """The gold answers as they are, any of which is right."""
    return Case(question_of(example), example.answers)


def final_answer(response: str, thinking: bool) -> str | None:
    return extract(response, thinking).answer


GOLD_ANSWERS = JudgeView(gold_case, final_answer)
"""For kinds whose gold answers are aliases of each other."""
