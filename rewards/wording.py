"""What a prompt asks for and how a right answer is written, in the language of the question.

The words for each kind stand with the kind; here they become sentences, in English or Chinese.
What a prompt asks for, the kind's verifier reads.

Some sets have questions without an answer, and say of each question whether it has one
(``metadata["answerable"]``). All of them are asked in the same words then, whatever their kind: the
instruction must not tell which have an answer.
"""

from __future__ import annotations

import re

from qwenlong.rewards.kind import Kind, Wording
from qwenlong.rewards.registry import kind_of
from qwenlong.types import Example

INSTRUCTION = 'Think first, then end with "Therefore, the answer is" and the answer.'
"""For kinds without words of their own. Published runs depend on every letter of it."""
UNANSWERABLE = ", or unanswerable if the documents do not tell"
UNANSWERABLE_ZH = "文档中没有依据时回答“无法回答”"
_ANY_ANSWER = Wording(
    f"the answer, several items separated by semicolons{UNANSWERABLE}",
    "答案",
    f"多个项目用分号隔开；{UNANSWERABLE_ZH}",
)
_HAN = re.compile("[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA_OR_HANGUL = re.compile("[\u3040-\u30ff\uac00-\ud7a3]")
_LATIN = re.compile("[A-Za-z]+")


def is_chinese(text: str) -> bool:
    """Whether a question is in Chinese: more Han characters than Latin words, and no kana."""
    characters = len(_HAN.findall(text))
    return characters > len(_LATIN.findall(text)) and not _KANA_OR_HANGUL.search(text)


def question_text(example: Example) -> str:
    """The question, with its options, a line each, where it has some."""
    return kind_of(example).question(example)


def instruction(example: Example, thinking: bool) -> str:
    """The last lines of a prompt, in the question's language."""
    chinese = is_chinese(example.question)
    wording = _wording(example)
    thinking = thinking if wording.thinking is None else wording.thinking
    if wording.whole and chinese:
        return f"请{'先思考，然后' if thinking else ''}{wording.chinese}。"
    if wording.whole:
        text = wording.english
        return f"Think first, then {text}." if thinking else f"{text[0].upper()}{text[1:]}."
    if chinese:
        note = f"（{wording.note}）" if wording.note else ""
        first = "请先思考，最后" if thinking else "请"
        return f"{first}以“因此，答案是”加上{wording.chinese}结尾{note}。"
    first = "Think first, then e" if thinking else "E"
    return f'{first}nd with "Therefore, the answer is" and {wording.english}.'


def answer_text(example: Example) -> str:
    """A right final answer, as the instruction asks for it."""
    kind = kind_of(example)
    answer = kind.states(example)
    if kind.is_bare(example) and not _is_asked_alike(example, kind):
        return answer
    chinese = is_chinese(example.question)
    stop = "" if answer.endswith((".", "。")) else "。" if chinese else "."
    return f"因此，答案是{answer}{stop}" if chinese else f"Therefore, the answer is {answer}{stop}"


def with_note(wording: Wording, english: str, chinese: str) -> Wording:
    """``wording`` with more behind what it asks for."""
    note = f"{wording.note}，{chinese}" if wording.note else chinese
    return Wording(wording.english + english, wording.chinese, note)


def _wording(example: Example) -> Wording:
    kind = kind_of(example)
    if _is_asked_alike(example, kind):
        return _ANY_ANSWER
    wording = kind.asks(example)
    if "answerable" in example.metadata and not wording.whole:
        return with_note(wording, UNANSWERABLE, UNANSWERABLE_ZH)
    return wording


def _is_asked_alike(example: Example, kind: Kind) -> bool:
    return kind.asked_alike and "answerable" in example.metadata
