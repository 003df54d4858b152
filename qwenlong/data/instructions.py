"""What a prompt asks for, by kind of answer, in English or Chinese; and how an answer is given.

The kinds are those of ``docs/rewards.md``; what an instruction asks for, its verifier reads.

A set in which some questions have no answer says of each whether it has one
(``metadata["answerable"]``). All of them are asked alike then, whatever their kind and whether
they have one: the instruction must not tell which have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from qwenlong.data.sources.fields import closed_answer
from qwenlong.data.words import HAN
from qwenlong.types import Example

INSTRUCTION = 'Think first, then end with "Therefore, the answer is" and the answer.'
"""Of the kinds that have none of their own. Published runs depend on it to the letter."""
_END = 'nd with "Therefore, the answer is" and {}.'
_END_ZH = "以“因此，答案是”加上{}结尾{}。"

ASKED = {
    "choice": "the letter of the right option",
    "yes_no": "yes or no, or unanswerable if the documents do not tell",
    "numeric": "the number, with its sign, its scale (thousand, million) and its unit (%, $)"
    " where it has them",
    "list": "all items, separated by semicolons",
    "json": "all items in their order, as a JSON array of texts",
    "order": "all items in their order, separated by semicolons",
    "date": "the date, as precise as the documents have it, with the month's name",
}
# What stands behind the bar is said at the end, in brackets.
ASKED_ZH = {
    "choice": "正确选项的字母",
    "yes_no": "“是”或“否”|文档中没有依据时回答“无法回答”",
    "numeric": "数字|有正负号、数量级（千、百万）或单位（%、元）时一并写出",
    "list": "所有项目|用分号隔开",
    "json": "按顺序排列的所有项目|写成JSON字符串数组",
    "order": "按顺序排列的所有项目|用分号隔开",
    "date": "日期|精确程度与文档一致",
}
_UNLESS = ", or unanswerable if the documents do not tell"
_UNLESS_ZH = "文档中没有依据时回答“无法回答”"
_ANY = f"the answer, several items separated by semicolons{_UNLESS}"
_ANY_ZH = f"答案|多个项目用分号隔开；{_UNLESS_ZH}"
_ALIKE = ("extractive", "yes_no", "numeric", "list", "date", "summary")
"""Kinds that are asked for as ``_ANY`` where ``answerable`` is told; others show in a question."""
_SAID_ZH = {"yes": "是", "no": "否", "unanswerable": "无法回答"}
_HAN = re.compile(f"[{HAN}]")
_KANA_OR_HANGUL = re.compile("[\u3040-\u30ff\uac00-\ud7a3]")
_LATIN = re.compile("[A-Za-z]+")
_LETTERED = re.compile(r"^\s*[\[(]?[A-Za-z][.):\]]\s")
_NUMBERED = re.compile(
    r"(?:(?:passage|document|doc|paragraph|chunk|source|ref|reference)s? ?#?|[第\[] ?)?(\d{1,6})"
    r"(?:[\]段篇])?",
    re.IGNORECASE,
)


def is_chinese(text: str) -> bool:
    """Whether a question is in Chinese: more Han signs than Latin words, and no kana."""
    signs = len(_HAN.findall(text))
    return signs > len(_LATIN.findall(text)) and not _KANA_OR_HANGUL.search(text)


def instruction(example: Example, thinking: bool) -> str:
    """The last lines of a prompt, in the question's language."""
    chinese = is_chinese(example.question)
    if example.kind == "summary" and not _alike(example):
        return _told([_only(example, chinese)], thinking, chinese)
    if example.kind == "format":
        asked = example.metadata.get("thinking")
        thinking = {"present": True, "absent": False}.get(str(asked), thinking)
        return _told(list(_form(example.metadata, chinese)), thinking, chinese)
    what = _asked(example, chinese)
    if chinese:
        noun, _, aside = what.partition("|")
        aside = f"（{aside}）" if aside else ""
        return ("请先思考，最后" if thinking else "请") + _END_ZH.format(noun, aside)
    return ("Think first, then e" if thinking else "E") + _END.format(what)


def _alike(example: Example) -> bool:
    return "answerable" in example.metadata and example.kind in _ALIKE


def _only(example: Example, chinese: bool) -> str:
    """``summary`` measures any answer in people's own words, and few of them are summaries."""
    if example.metadata.get("summarisation"):
        return "只写摘要" if chinese else "write only the summary"
    return "只写答案" if chinese else "write only the answer"


def _asked(example: Example, chinese: bool) -> str:
    if _alike(example):
        return _ANY_ZH if chinese else _ANY
    what = _noun(example, chinese)
    if example.kind == "citation":
        by_number = numbered(example)
        if chinese:
            how = "编号，如[1][3]" if by_number else "名称"
            what = _joined(what, f"在答案后用方括号注明依据的段落{how}")
        else:
            what += _CITED.format(*(("numbers", "[1][3]") if by_number else ("labels", "[label]")))
    if "answerable" in example.metadata:
        what = _joined(what, _UNLESS_ZH) if chinese else what + _UNLESS
    return what


def _noun(example: Example, chinese: bool) -> str:
    kind = example.kind
    if kind == "citation":
        kind = str(example.metadata.get("answer_kind", "extractive"))
    if kind == "list" and _in_json(example):
        kind = "json"
    elif kind == "list" and example.metadata.get("ordered"):
        kind = "order"
    table = ASKED_ZH if chinese else ASKED
    return table.get(kind, "答案" if chinese else "the answer")


def _in_json(example: Example) -> bool:
    """Whether a list is asked for as JSON, for its items have semicolons or may have some."""
    if example.kind != "list":
        return False
    return bool(example.metadata.get("as_json")) or any(";" in each for each in example.answers)


def _joined(what: str, aside: str) -> str:
    return f"{what}{'，' if '|' in what else '|'}{aside}"


_CITED = ", followed by the {} of the passages that show it, in brackets, as in {}"


def _told(parts: list[str], thinking: bool, chinese: bool) -> str:
    if chinese:
        return f"请{'先思考，然后' if thinking else ''}{'；'.join(parts)}。"
    text = "; ".join(parts)
    return f"Think first, then {text}." if thinking else f"{text[0].upper()}{text[1:]}."


def _form(metadata: Mapping[str, Any], chinese: bool) -> Iterable[str]:
    schema, least = metadata.get("json_schema"), metadata.get("min_characters")
    most, line = metadata.get("max_characters"), metadata.get("answer_line")
    if schema is not None:
        text = json.dumps(schema, ensure_ascii=False)
        head = "只用符合此模式的JSON回答：" if chinese else "answer only with JSON of this schema: "
        yield head + text
    if least is not None:
        yield f"至少写{least}个字符" if chinese else f"write at least {least} characters"
    if most is not None:
        yield f"最多写{most}个字符" if chinese else f"write at most {most} characters"
    if line:
        yield (
            "最后以“因此，答案是”加上答案结尾"
            if chinese
            else 'end with "Therefore, the answer is" and the answer'
        )
    if not line and schema is None and least is None and most is None:
        yield "回答问题" if chinese else "answer the question"


def asked(example: Example) -> str:
    """The question, with its options, a line each, where it has some."""
    options = example.metadata.get("options")
    if example.kind not in ("choice", "order", "official_choice") or not options:
        return example.question
    if isinstance(options, Mapping):
        lines = [f"{letter}. {text}" for letter, text in options.items()]
    elif example.kind == "order":
        lines = [f"- {text}" for text in options]
    elif all(_LETTERED.match(str(text)) for text in options):
        lines = [str(text).strip() for text in options]
    else:
        lines = [f"{chr(ord('A') + place)}. {text}" for place, text in enumerate(options)]
    return "\n".join([example.question, *lines])


def answer_text(example: Example) -> str:
    """A right final answer as the instruction asks for it."""
    chinese = is_chinese(example.question)
    kind, meta = example.kind, example.metadata
    bare = kind == "summary" and not _alike(example)
    if bare or (kind == "format" and not meta.get("answer_line")):
        return example.answers[0]
    stated = str(meta.get("answer_kind")) if kind == "citation" else kind
    answer = _stated(example, stated, chinese)
    if kind == "citation":
        cited = [passage_number(each) or each for each in meta.get("gold_citations", ())]
        answer += " " + "".join(f"[{each}]" for each in cited)
    stop = "" if answer.endswith((".", "。")) else "。" if chinese else "."
    return f"因此，答案是{answer}{stop}" if chinese else f"Therefore, the answer is {answer}{stop}"


def _stated(example: Example, kind: str, chinese: bool) -> str:
    """The gold answer, in the words that the instruction has for it."""
    answer = example.answers[0]
    if kind == "numeric":
        return _scaled(answer, str(example.metadata.get("scale", "")))
    if kind == "yes_no":
        said = closed_answer(example.answers)
        return (_SAID_ZH.get(said) if chinese else said) or answer
    if _in_json(example):
        return json.dumps(example.answers, ensure_ascii=False)
    return "; ".join(example.answers) if kind in ("list", "order") else answer


def _scaled(number: str, scale: str) -> str:
    """A gold number with the scale that its set keeps beside it."""
    if any(sign.isalpha() or sign == "%" for sign in number):
        return number
    behind = {"percent": "%", **{each: f" {each}" for each in ("thousand", "million", "billion")}}
    return number + behind.get(scale, "")


def numbered(example: Example) -> bool:
    """Whether the prompt numbers the documents: citations are asked for by number."""
    cited = example.metadata.get("gold_citations", ())
    return example.kind == "citation" and all(passage_number(each) for each in cited)


def passage_number(cited: Any) -> int | None:
    """3 of 3, "3", "[3]" or "Passage 3"; None for a label, which stands in the passage itself."""
    match = _NUMBERED.fullmatch(str(cited).strip())
    return int(match[1]) if match else None


def gold_of(example: Example) -> tuple[int, ...]:
    """The documents known to hold the answer: as said, or as cited by number."""
    if example.gold_documents or not numbered(example):
        return example.gold_documents
    cited = example.metadata.get("gold_citations", ())
    places = {number - 1 for number in map(passage_number, cited) if number}
    return tuple(sorted(place for place in places if 0 <= place < len(example.documents)))


def rearranged(
    example: Example, documents: Sequence[str], origins: Sequence[int | None], gold: Sequence[int]
) -> Example:
    """``example`` over other documents; what numbers its documents is set anew.

    Args:
        origins: of each new document, which of the old ones it is (or is cut from), None if none.
        gold: which of the old documents are gold.
    """
    new = {old: place for place, old in enumerate(origins) if old is not None}
    metadata = dict(example.metadata)
    if numbered(example) and "gold_citations" in metadata:
        places = [int(passage_number(each) or 0) - 1 for each in metadata["gold_citations"]]
        metadata["gold_citations"] = [new[place] + 1 for place in places if place in new]
    return replace(
        example,
        documents=tuple(documents),
        gold_documents=tuple(sorted(new[old] for old in gold if old in new)),
        metadata=metadata,
    )
