"""Questions answered by yes, by no, or by saying that the documents do not answer them.

Gold answers are forms of one of the labels yes, no, unanswerable, true, false in the languages of
``_WORDS``: "yes", "No.", "不是", "insufficient information". Where the gold is true or false, yes
and no are read as true and false; a gold of yes or no is not answered by "true".

The answer must begin with a form of one label ("Yes, because …", "No: only one is", "Not
answerable from the documents") or end in "…, so yes"; what follows may give a reason. Refused:
two labels ("Yes and no", "yes, no", "No. Yes."), a label denied ("not yes", "Yes, they are not"),
in its own language, too ("Sí, no lo son", "はい、違います"), a question ("Yes?"), a condition or
doubt ("Yes, if …", "yes, maybe"), "I do not know".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from qwenlong.rewards.judge.view import GOLD_ANSWERS
from qwenlong.rewards.kind import Kind, Wording, breakdown
from qwenlong.rewards.text.answer import LEAD_IN, asks, extract
from qwenlong.rewards.text.normalise import normalise
from qwenlong.rewards.wording import is_chinese
from qwenlong.types import Example, Score

NAME = "yes_no"
LIMIT = 2000
"""Longer answers are not read, in characters."""

_WORDS: dict[str, str] = {
    "yes": "yes|yeah|yep|yes indeed|yes it is|是|是的|对|對|对的|對的|是肯定的"
    "|はい|ええ|そうです|はいそうです|예|네|그렇습니다"
    "|claro que sí|por supuesto que sí|うん"
    "|맞습니다|نعم|أجل|بلى|sí|si|ja|jawohl|हाँ|हां|जी हाँ|जी हां",
    "no": "no|nope|nah|claro que no|por supuesto que no|并不是|並不是|没有|沒有"
    "|否|不|不是|不是的|不对|不對|いいえ|いえ|いや|違います|ちがいます"
    "|아니요|아니오|아뇨|아닙니다|لا|كلا|nein|नहीं|जी नहीं|ना",
    "true": "true|correct|正确的|正確的|verdadero|cierto|wahr|正确|正確|真|참|صحيح|صح|सही|सत्य",
    "false": "false|incorrect|wrong|不正确|不正確|错误的|錯誤的|falso|falsch|unwahr"
    "|错误|錯誤|错|錯|假|誤り|거짓|خطأ|خاطئ|गलत|असत्य",
    "unanswerable": "unanswerable|n/a|not answerable|not answered|no answer"
    "|cannot answer|can't answer"
    "|cannot be answered|can't be answered|can not be answered|could not be answered"
    "|impossible to answer|impossible to say|impossible to determine|impossible to tell"
    "|insufficient information|insufficient evidence|insufficient context|insufficient data"
    "|not enough information|not enough evidence|not enough context|not sufficient information"
    "|not enough info|indeterminate|undeterminable|not determinable|cannot tell|can't tell"
    "|cannot be determined|can't be determined|can not be determined|cannot determine"
    "|无法回答|無法回答|不能回答|不可回答|无法作答|無法作答|无法确定|無法確定|不能确定|不能確定|无法判断|無法判斷"
    "|无法得知|無法得知|信息不足|信息不够|資訊不足|没有足够信息|没有足够的信息"
    "|沒有足夠的資訊|沒有足夠資訊|不确定|不確定"
    "|回答不能|回答不可|回答できません|回答できない|答えられません|答えられない|情報不足"
    "|情報が不足しています|情報が足りません"
    "|判断できません|判断できない|답변 불가|답변 불가능|답할 수 없음|답할 수 없습니다"
    "|대답할 수 없습니다|알 수 없음"
    "|알 수 없습니다|정보 부족|정보가 부족합니다|정보가 충분하지 않습니다|판단할 수 없습니다"
    "|판단 불가"
    "|لا يمكن الإجابة|غير قابل للإجابة|غير قابلة للإجابة|معلومات غير كافية|المعلومات غير كافية"
    "|لا توجد معلومات كافية|لا يمكن تحديد|لا يمكن التحديد|لا يمكن تحديد ذلك|لا توجد إجابة"
    "|no se puede responder|no se puede contestar|no se puede determinar|no se puede saber"
    "|sin respuesta|información insuficiente|no hay suficiente información|imposible de responder"
    "|no hay información suficiente|no tiene respuesta|no respondible"
    "|nicht beantwortbar|unbeantwortbar|kann nicht beantwortet werden|nicht zu beantworten"
    "|lässt sich nicht beantworten|nicht genügend informationen|nicht genug informationen"
    "|unzureichende informationen|keine ausreichenden informationen|keine antwort möglich"
    "|kann nicht bestimmt werden|lässt sich nicht bestimmen"
    "|उत्तर नहीं दिया जा सकता|उत्तर देना संभव नहीं|अनुत्तरित|अपर्याप्त जानकारी|पर्याप्त जानकारी नहीं"
    "|पर्याप्त जानकारी नहीं है|जानकारी अपर्याप्त है|निर्धारित नहीं किया जा सकता",
    # The same label as an answer; in the reason for another they say little.
    "unstated": "unknown|not known|undetermined|not mentioned|not stated|not specified|not given"
    "|not provided|insufficient|do not say|does not say|do not mention|does not mention"
    "|do not state|does not state|do not specify|does not specify|no information"
    "|do not provide|does not provide|do not contain|does not contain"
    + "".join(
        f"|{verb} {enough} {what}"
        for verb in "do not contain|does not contain|do not provide|does not provide"
        "|do not give|does not give|do not have|does not have|doesn't provide|don't provide"
        "|doesn't contain|don't contain".split("|")
        for enough in ("enough", "sufficient")
        for what in ("information", "evidence", "context", "detail", "details", "data")
    )
    + "|not found"
    "|not available|not contained|not included"
    "|no information is given|no information is provided"
    "|未提及|未提到|没有提到|沒有提到|无法从文中得知|没有提及|沒有提及|没有答案|沒有答案|未知|不明|不明です|記載なし|記載がありません"
    "|언급되지 않음"
    "|غير معروف|غير مذكور|desconocido|no se menciona|unbekannt|nicht bekannt|nicht angegeben"
    "|अज्ञात|ज्ञात नहीं",
}
_KEYS = {normalise(form): key for key, forms in _WORDS.items() for form in forms.split("|")}
_LABELS = {form: "unanswerable" if key == "unstated" else key for form, key in _KEYS.items()}
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
_WRITTEN_IN_CJK = re.compile(f"[{_CJK}]")


def _any(*keys: str) -> str:
    forms = [form for form, key in _KEYS.items() if key in keys or not keys]
    return "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))


def _word(*keys: str) -> str:
    """Forms within a text: whole words, but where no spaces mark words."""
    forms = _any(*keys).split("|")
    spaced = "|".join(form for form in forms if not _WRITTEN_IN_CJK.search(form))
    joined = "|".join(form for form in forms if _WRITTEN_IN_CJK.search(form))
    return f"(?<![^\\W_])(?:{spaced})(?![^\\W_])|{joined}"


_SUBJECT = (
    rf"{LEAD_IN}(?:laut [^,.;]{{1,80}}, )?(?:definitely |certainly |clearly )?"
    r"(?:(?:it|this|that|(?:(?:the|this) )?(?:question|answer|statement|claim)) (?:is |was )?"
    r"|there (?:is|was) |(?:the )?(?:provided |given )?(?:documents?|texts?|passages?|context)"
    r" (?:(?:gives?|has|have) )?|(?:(?:the|this) )?information (?:is|was) "
    r"|die frage (?:ist )?|es gibt |la pregunta |esto "
    r"|该问题|这个问题|本题|(?:文档|文章|文本|原文|文)中|(?:この)?(?:情報|文書|資料)からは?)?"
)
# A label ends where a reason may begin; "no one", "no doubt", "yes is wrong" are no labels.
_END = (
    r"(?=$|[,;:!\n]|\.(?! ?\d)| - | ?\(|\s(?:because|since|as|given|for|due|based|from|in|by|with"
    r"|to|about|on|the|it|he|she|they|both|neither|this|that|these|we|porque|ya|pues|ambos|según|con|"
    r"para|weil|da|denn|beide|aus|anhand|لان|क्योंकि)\b"
    r"|因为|因為|[该此]问题|这个问题| (?:عن|على) السؤال)"
)
_LABEL = re.compile(f"{_SUBJECT}({_any()}){_END}")
_SO = re.compile(
    r"(?:^|[,.;:]) ?(?:so|thus|hence|therefore),? (?:the answer is |it is )?" rf"({_any()})$"
)
# The others as claims of their own: "… the answer is no", "No, yes", not "no other film".
_ALONE = re.compile(
    rf"(?<!not )(?:(?<![^\W_])|(?<=[\u3040-\u9fff]))({_any('yes', 'no', 'true', 'false')})"
    r"(?=$|[,.;:!?)\]]| (?:for|to|is)\b)"
)
_UNSURE = re.compile(
    r"\b(?:maybe|perhaps|possibly|depends|depending|unsure|uncertain|not sure|unclear|either way"
    r"|quizás|quizá|tal vez|depende|vielleicht|möglicherweise|kommt darauf an)\b|ربما|शायद"
    r"|\b(?:wait|hold on|hmm+|on second thoughts?|let me (?:think|check|see)|espera|warte)\b"
    r"(?! (?:for|in|at|to))"
    r"|等等|等一下|待って|잠깐|انتظر|रुको|也许|也許|可能|或许|或許|たぶん|かもしれ|아마|"
    + _word("unanswerable")
)
_CONDITION = re.compile(
    r"\W{0,3}(?:but )?(?:only )?(?:if|unless|si|wenn|falls)\b|\W{0,3}(?:如果|若|もし)"
)
_JOINED = re.compile(
    r"\W{0,3}(?:(?:and|or|but|y|o|pero|und|oder|aber|و|او|لكن|और|या)\b|[/和或也但])?\W{0,3}"
)
_NEXT = re.compile(_word("no", "false", "yes", "true", "unanswerable", "unstated"))
_CLAUSE = re.compile(
    r"\b(?:because|since|as|given|porque|weil|da|denn)\b|لان|क्योंकि|因为|因為|[,.;:]"
)
_DENIAL = re.compile(
    r"\b(?:not|never|neither|none|nobody|non|não|нет|nicht|keine?|nunca)\b|n't\b|不是|没有|沒有|ではありません|아닙니다|नहीं|ليس"
)
_HAN = r"不是|没|沒|不对|不對|不正确|不正確|[并並]不|[并並]非|[都皆均也]不|[都皆均]非|错|錯|否"
# What denies in a language, by a form of "yes" that only it has: "no" is a reason in English.
_DENIALS = {
    "sí si": re.compile(r"\b(?:no|ni|ningun[oa]s?|ningún|nadie|nunca|jamás|tampoco|falso)\b"),
    "ja jawohl": re.compile(
        r"\b(?:nicht|nichts|kein\w{0,2}|nie|niemals|niemand|weder|falsch|keines\w{1,4})\b"
    ),
    "예 네 맞습니다 그렇습니다": re.compile("아니|아닙|아닌|않|못|없|틀|안 "),
    "はい ええ うん そうです はいそうです": re.compile(
        "(?<!少)ない|なか|ません|違|ちが|いいえ|誤|間違|うそ|嘘|どちらでもな"
    ),
    "نعم اجل بلى": re.compile(r"\b[وف]?(?:لم|لن|لا|ما|ليس\w{0,3}|غير|خطا|كلا(?! ?هما))\b"),
    "हाँ हां": re.compile("नहीं|गलत|ग़लत|असत्य|झूठ|(?<!\\S)(?:न|ना|मत)(?!\\S)"),
    "是 是的 对 對 对的 對的": re.compile(_HAN),
}
_DENIAL_OF = {
    normalise(form): pattern for forms, pattern in _DENIALS.items() for form in forms.split()
}
for _form in ("जी हाँ", "जी हां"):
    _DENIAL_OF[normalise(_form)] = _DENIAL_OF[normalise("हाँ")]
for _form in ("claro que sí", "por supuesto que sí"):
    _DENIAL_OF[normalise(_form)] = _DENIAL_OF[normalise("sí")]
_SHORT = re.compile(
    r"(?:it|he|she|they|these|those|this|that) (?:is|are|was|were|does|do|did|has|have|had|can"
    r"|could|will|would)(?P<no> not|n't)?"
)
_AFFIRMS = re.compile(
    r"\W{0,3}(?:actually |in fact )?(?:it|he|she|they|both|this|that) (?:both )?"
    r"(?:is|are|was|were|does|do|did|has|have|can|will|would)(?: both| all| indeed)?\W{0,3}$"
)
_BUT_WRONG = re.compile(r"\b(?:but|however)\b[^.;]{0,40}\b(?:wrong|incorrect|false|untrue)\b")
_DASH = re.compile(r"\s{0,3}(?:[–—]|--)\s{0,3}")
_MARKS = re.compile(r"[*_`\"]|(?<!\w)'|'(?!\w)")
_OPPOSITE = {"yes": {"no", "false"}, "true": {"no", "false"}, "no": {"yes", "true"}}
_OPPOSITE |= {"false": {"yes", "true"}, "unanswerable": {"yes", "no", "true", "false"}}


def check(example: Example) -> None:
    """Raises ``ValueError`` where the gold answers are not forms of one label."""
    labels = {_gold_label(gold) for gold in example.answers}
    if len(labels) != 1 or None in labels:
        raise ValueError(
            f"answers={list(example.answers)!r}: must all be forms of one of yes, no,"
            " unanswerable, true, false"
        )


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if the final answer claims the gold label and no other, else 0."""
    extraction = extract(response, thinking)
    answer = extraction.answer or ""
    gold = _gold_label(example.answers[0]) or "unreadable"
    parts = breakdown(extraction, gold)
    if extraction.answer is None:
        return Score(0.0, NAME, {**parts, "why": extraction.how})
    label, why = read(answer)
    if label is None:
        return Score(0.0, NAME, {**parts, "why": f"wrong: {why}"})
    right = gold in (label, {"yes": "true", "no": "false"}.get(label))
    why = f"{'right' if right else 'wrong'}: the answer says {label}, the gold answer {gold}"
    return Score(float(right), NAME, {**parts, "why": why})


def read(answer: str) -> tuple[str | None, str]:
    """The label that an answer claims, or None and why it claims none."""
    if len(answer) > LIMIT:
        return None, f"{len(answer)} characters, too long for a label and its reason"
    if asks(answer):
        return None, "the answer is a question"
    text = _MARKS.sub("", normalise(_DASH.sub(" - ", answer))).strip()
    match = _LABEL.match(text)
    if not match:
        last = _SO.search(text)
        if last and not _doubted(_LABELS[last[1]], text[: last.start()]):
            return _LABELS[last[1]], ""
        if short := _SHORT.fullmatch(text):
            return "no" if short["no"] else "yes", ""
        return None, "the answer begins with no form of yes, no or unanswerable"
    label, rest = _LABELS[match[1]], text[match.end() :]
    if against := _taken_back(label, match[1], rest) or _doubted(label, rest):
        return None, f"the answer says {label} and takes it back: {against}"
    return label, ""


def _taken_back(label: str, form: str, rest: str) -> str:
    """What right behind a label denies it."""
    joined = _JOINED.match(rest)
    following = _NEXT.match(rest, joined.end() if joined else 0)
    if following and _LABELS[following[0]] in ({"unanswerable"} | _OPPOSITE[label]) - {label}:
        # "No, no other film" repeats the label; "Yes, no other film" is a reason.
        reason = _LABELS[following[0]] == "no" and rest[following.end() :][:1] == " "
        if not reason:
            return f"{following[0]!r} follows it"
    if _CONDITION.match(rest):
        return "it is said under a condition"
    first = _CLAUSE.split(rest.lstrip(" ,.;:!-"), maxsplit=1)[0]
    if label in ("yes", "true") and (denial := _DENIAL.search(first)):
        return f"{denial[0]!r} denies it"
    if (own := _DENIAL_OF.get(form)) and (denial := own.search(first)):
        return f"{denial[0]!r} denies it"
    if label in ("no", "false") and _AFFIRMS.match(first):
        return "what follows affirms"
    if called := _BUT_WRONG.search(rest):
        return f"{called[0]!r}"
    return ""


def _doubted(label: str, text: str) -> str:
    """What in a text beside a label claims another, or doubts it."""
    for other in _ALONE.finditer(text):
        if _LABELS[other[1]] in _OPPOSITE[label]:
            return f"{other[1]!r} stands as a claim of its own"
    if label != "unanswerable" and (doubt := _UNSURE.search(text)):
        return f"{doubt[0]!r} doubts it"
    return ""


@lru_cache(maxsize=1024)
def _gold_label(gold: str) -> str | None:
    return _LABELS.get(normalise(gold))


_UNANSWERABLE = {"unanswerable", "insufficient information", "无法回答", "不能回答", "無法回答"}
_IN_CHINESE = {"yes": "是", "no": "否", "unanswerable": "无法回答"}


def closed_answer(answers: Sequence[str]) -> str:
    """``yes``, ``no`` or ``unanswerable`` where that is what all the answers say, else ""."""
    said = {each.strip(" .。").casefold() for each in answers}
    if said and said <= _UNANSWERABLE:
        return "unanswerable"
    return said.pop() if len(said) == 1 and said <= {"yes", "no"} else ""


def _stated(example: Example) -> str:
    label = closed_answer(example.answers)
    said = _IN_CHINESE.get(label, "") if is_chinese(example.question) else label
    return said or example.answers[0]


def _no_texts(example: Example) -> tuple[str, ...]:
    """A "yes" in a document says nothing about the question."""
    return ()


_ASKS = Wording(
    "yes or no, or unanswerable if the documents do not tell",
    "“是”或“否”",
    "文档中没有依据时回答“无法回答”",
)
KIND = Kind(
    NAME,
    score,
    check,
    asks=lambda example: _ASKS,
    asked_alike=True,
    states=_stated,
    is_citable=True,
    judge=GOLD_ANSWERS,
    texts=_no_texts,
    may_hide_question=True,
)
