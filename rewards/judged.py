"""What a judge is shown of an example and of a response, by kind of answer.

A judge asks whether an answer means the same as *one* of the gold answers. Where these are aliases
it is shown them as they are, a number with its scale, an option among its options. Where they are
parts of one answer (lists, orders), or where no answer is compared at all (citations, formats), a
judge would pay for what is wrong, and must not replace the rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from qwenlong.rewards import choice, official
from qwenlong.rewards.judge.prompt import Case
from qwenlong.rewards.text.answer import extract, final_part
from qwenlong.types import Example

_SCALED = re.compile(
    r"[%％千万萬亿億兆]|percent|thousand|million|billion|trillion|\d\s?(?:k|m|mn|bn|tn|bps)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Shown:
    case: Callable[[Example], Case]
    """All but the answer."""
    answer: Callable[[str, bool], str | None]
    """The whole answer of a response that thinks or not, as the kind's rule extracts it."""


def shown(kind: str) -> Shown | None:
    """None where a judge must not replace the rule."""
    return SHOWN.get(kind, OTHER)


def _question(example: Example) -> str:
    """The true one, where a chain of keys leads to it."""
    return str(example.metadata.get("hidden_question") or example.question)


def _aliases(example: Example) -> Case:
    return Case(_question(example), example.answers)


def _scaled(example: Example) -> Case:
    """Gold answers with the scale that the metadata gives those that have none of their own."""
    scale = str(example.metadata.get("scale") or "")
    if scale.lower() in ("fraction", "decimal", "ratio"):
        golds = [f"{gold}, as a {scale} and not in percent" for gold in example.answers]
    else:
        golds = [
            gold if _SCALED.search(gold) else f"{gold} {scale}".strip() for gold in example.answers
        ]
    return Case(_question(example), tuple(golds))


def _option(example: Example) -> Case:
    """The options in the question; the control is another option."""
    options = [(label, text) for label, text in choice.pairs(example) if text]
    if not options:
        return _aliases(example)
    lines = {label: f"{label}. {text}" for label, text in options}
    gold = next(label for label in lines if _is_gold(example, label))
    question = "\n".join([_question(example), *lines.values()])
    decoy = next((line for label, line in lines.items() if label != gold), "")
    return Case(question, (lines[gold],), decoy=decoy)


def _is_gold(example: Example, label: str) -> bool:
    return choice.score(example, f"\\boxed{{{label}}}", False).value == 1.0


def _final(response: str, thinking: bool) -> str | None:
    return extract(response, thinking).answer


def _all(response: str, thinking: bool) -> str | None:
    """Of a summary, which may have paragraphs."""
    text, unfinished = final_part(response, thinking)
    return None if unfinished else text.strip()


OTHER = Shown(_aliases, _final)
"""Kinds that only a ``module:callable`` knows."""

SHOWN: dict[str, Shown | None] = {
    "extractive": Shown(_aliases, _final),
    "numeric": Shown(_scaled, _final),
    "choice": Shown(_option, _final),
    "yes_no": Shown(_aliases, _final),
    "date": Shown(_aliases, _final),
    "summary": Shown(_aliases, _all),
    "list": None,
    "order": None,
    "citation": None,
    "format": None,
    official.DOCQA: Shown(_aliases, official.docqa_answer),
    official.DOCMATH: Shown(_scaled, official.docmath_answer),
    official.CHOICE: Shown(_aliases, official.choice_answer),
}
