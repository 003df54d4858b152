"""Questions answered by yes, by no, or by saying that the documents do not answer them.

Gold answers are forms of one of the labels yes, no, unanswerable, true, false in any language of
``tables/yes_no.toml``: "yes", "No.", "不是", "insufficient information". Where the gold is true or
false, yes and no are read as true and false; a gold of yes or no is not answered by "true".

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
from itertools import product

from qwenlong.rewards.kind import GOLD_ANSWERS, Comparison, Kind, Wording, scored
from qwenlong.rewards.tables import alternatives, table
from qwenlong.rewards.text.answer import LEAD_IN, asks, extract
from qwenlong.rewards.text.normalise import normalise
from qwenlong.rewards.wording import is_chinese
from qwenlong.types import Example, Score

NAME = "yes_no"
LIMIT = 2000
"""Characters of the longest answer that is read."""

_TABLE = table("yes_no")


def _forms() -> dict[str, list[str]]:
    """The forms of each label, with ``unstated`` for a second set of forms of unanswerable."""
    forms = {key: alternatives(text).split("|") for key, text in _TABLE["labels"].items()}
    parts = (alternatives(text).split("|") for text in _TABLE["unstated_phrases"].values())
    forms["unstated"] += [" ".join(phrase) for phrase in product(*parts)]
    return forms


_KEYS = {normalise(form): key for key, forms in _forms().items() for form in forms}
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


_READING = {name: alternatives(lines) for name, lines in _TABLE["reading"].items()}
_LABEL = re.compile(
    rf"{LEAD_IN}(?:laut [^,.;]{{1,80}}, )?(?:definitely |certainly |clearly )?"
    # A label ends where a reason may begin; "no one", "no doubt", "yes is wrong" are no labels.
    rf"(?:{_READING['subject']})?({_any()})(?={_READING['end']})"
)
_SO = re.compile(
    rf"(?:^|[,.;:]) ?(?:so|thus|hence|therefore),? (?:the answer is |it is )?({_any()})$"
)
# The others as claims of their own: "… the answer is no", "No, yes", not "no other film".
_ALONE = re.compile(
    rf"(?<!not )(?:(?<![^\W_])|(?<=[\u3040-\u9fff]))({_any('yes', 'no', 'true', 'false')})"
    r"(?=$|[,.;:!?)\]]| (?:for|to|is)\b)"
)
_UNSURE = re.compile(f"{alternatives(_TABLE['doubts']['pattern'])}|{_word('unanswerable')}")
_CONDITION = re.compile(_READING["condition"])
_JOINED = re.compile(rf"\W{{0,3}}(?:{_READING['joint']})?\W{{0,3}}")
_NEXT = re.compile(_word("no", "false", "yes", "true", "unanswerable", "unstated"))
_CLAUSE = re.compile(_READING["clause"])
_DENIAL = re.compile(alternatives(_TABLE["denials"]["anywhere"]))
_DENIAL_OF = {
    normalise(form): re.compile(language["denials"])
    for language in _TABLE["denials"]["of_language"]
    for form in language["yes"].split("|")
}
"""What denies in one language, by a form of yes that only it has."""
_SHORT = re.compile(_READING["short"])
_AFFIRMS = re.compile(_READING["affirms"])
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
    gold = _gold_label(example.answers[0]) or "unreadable"

    def compare(answer: str) -> Comparison:
        label, why = read(answer)
        if label is None:
            return 0.0, why, {}
        right = gold in (label, {"yes": "true", "no": "false"}.get(label))
        return float(right), f"the answer says {label}, the gold answer {gold}", {}

    return scored(NAME, extract(response, thinking), gold, compare)


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
    """What right behind a label denies it; or ""."""
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
    """What in ``text``, which stands next to a label, claims another or doubts it; or ""."""
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
    texts=lambda example: (),  # a "yes" in a document says nothing about the question
    may_hide_question=True,
)
