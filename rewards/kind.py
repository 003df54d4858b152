"""What a kind of answer is: one frozen object, in a file of its own in ``kinds/``.

Everything that depends on the kind of an answer is a field here, so that nothing outside the folder
needs to know which kinds there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qwenlong.rewards.judge.prompt import Case
from qwenlong.rewards.text.answer import Extraction, extract, shown
from qwenlong.types import Example, Score

Verifier = Callable[[Example, str, bool], Score]
"""Scores a response to an example; the last argument says whether it must close its thinking."""


@dataclass(frozen=True)
class Wording:
    """What a prompt asks for, in the two languages that prompts are written in."""

    english: str = "the answer"
    chinese: str = "答案"
    note: str = ""
    """Chinese: stands in brackets at the end of the sentence."""
    whole: bool = False
    """It is a sentence about the whole response ("write only the summary"), not what to put behind
    "Therefore, the answer is"."""
    thinking: bool | None = None
    """Whether the response is to think, where the example itself says so."""


@dataclass(frozen=True)
class JudgeView:
    """What a judge is shown, where it may replace the kind's rule.

    A judge asks whether an answer means the same as *one* of the gold answers.
    """

    case: Callable[[Example], Case]
    """The question and its gold answers; everything but the answer."""
    answer: Callable[[str, bool], str | None]
    """The whole answer of a response that must close its thinking or not, as the rule finds it."""


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


def gold_texts(example: Example) -> tuple[str, ...]:
    """The gold answers and their aliases."""
    aliases: Any = example.metadata.get("aliases", {})
    others = aliases.values() if isinstance(aliases, Mapping) else ()
    return (
        *example.answers,
        *(str(a) for each in others for a in (each if isinstance(each, list | tuple) else [each])),
    )


def _accept(example: Example) -> None:
    """The check of a kind that can read every gold answer."""


@dataclass(frozen=True)
class Kind:
    """One kind of answer."""

    name: str
    score: Verifier
    check: Callable[[Example], None] = _accept
    """Raises ``ValueError`` for gold answers or metadata that the verifier cannot read, with key,
    value and what would be right."""
    takes: tuple[str, ...] = ()
    """Keys of the metadata that the kind reads."""
    needs_gold: bool = True
    """Whether an example of this kind must have a gold answer."""

    asks: Callable[[Example], Wording] = lambda example: Wording()
    """What the prompt asks for."""
    asked_alike: bool = False
    """Some sets say of each question whether it has an answer. Whether their questions of this kind
    are asked in the words that all such kinds share, which do not tell whether there is one."""
    question: Callable[[Example], str] = lambda example: example.question
    """The question as the prompt has it, with its options where the kind shows some."""
    states: Callable[[Example], str] = lambda example: example.answers[0]
    """A right answer in the words that the prompt asks for."""
    is_bare: Callable[[Example], bool] = lambda example: False
    """Whether a right response is the answer alone, without "Therefore, the answer is"."""
    is_citable: bool = False
    """Whether an answer of this kind may be asked for with the passages that it is from."""

    judge: JudgeView | None = None
    """None where a judge would pay for wrong answers, and must not replace the rule."""

    needs_all_text: Callable[[Example], bool] = lambda example: False
    """Whether the answer holds for the whole text alone, so that nothing may be cut out of it."""
    texts: Callable[[Example], tuple[str, ...]] = gold_texts
    """Texts by which an answer is found in a document: cutting keeps them, and no distractor has
    one."""
    cited_places: Callable[[Example], tuple[int, ...] | None] = lambda example: None
    """Places, from 0, of the documents in ``metadata["gold_citations"]``, where the prompt numbers
    its documents; else None."""
    may_hide_question: bool = False
    """Whether the prompt may show the question only at the end of a chain of keys. Not where the
    question names a unit, a scale or what is listed, which the verifier reads, nor where passages
    are asked for, among which the chain would stand."""


Comparison = tuple[float, str, dict[str, str]]
"""The value of an answer, why it has that value, and what else the breakdown shows."""


def scored(
    name: str,
    extraction: Extraction,
    compared_with: str,
    compare: Callable[[str], Comparison],
    figures: Mapping[str, str] | None = None,
) -> Score:
    """The score of a final answer, or 0 where there is none.

    Args:
        figures: what the breakdown shows if there is no answer, too.
    """
    parts = {
        "extracted": shown(extraction.answer or ""),
        "rule": extraction.how,
        "compared_with": shown(compared_with),
        **(figures or {}),
    }
    if extraction.answer is None:
        return Score(0.0, name, {**parts, "why": extraction.how})
    value, why, more = compare(extraction.answer)
    word = "right" if value == 1.0 else "partly" if value else "wrong"
    return Score(value, name, {**parts, **more, "why": f"{word}: {why}"})


def all_or_nothing(
    name: str,
    extraction: Extraction,
    compared_with: str,
    why_wrong: Callable[[str], str],
    right: str,
) -> Score:
    """1 for a right answer and 0 for a wrong one, where nothing lies between.

    Args:
        why_wrong: from the answer to why it is wrong, or to "" where it is right.
        right: what the breakdown says of a right answer.
    """

    def compare(answer: str) -> Comparison:
        wrong = why_wrong(answer)
        return float(not wrong), wrong or right, {}

    return scored(name, extraction, compared_with, compare)
