"""Other ways to write an answer that is a number or a date, over folded words (``words``).

Whole numbers up to a hundred in words, larger ones with other separators, and dates in the common
orders. The verifiers read more forms than these; a distractor is only sure to have none of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from qwenlong.data.words import folded
from qwenlong.rewards.numbers.words import ENGLISH_MONTHS, NUMBER_WORDS

_WORDS = {number: word for word, number in NUMBER_WORDS["en"].items()}
_HAN = "零一二三四五六七八九十"
_MONTHS = [names.split()[0] for names in ENGLISH_MONTHS]
_MONTH = {form: n for n, name in enumerate(_MONTHS, 1) for form in (name, name[:3])} | {"sept": 9}
_NAMED = "|".join(_MONTH)
_DAY, _YEAR = r"(?P<day>0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?", r"(?: (?P<year>\d{4}))?"
_DATES = (
    re.compile(rf"(?:the )?{_DAY} (?:of )?(?P<month>{_NAMED}){_YEAR}"),
    re.compile(rf"(?P<month>{_NAMED}) (?:the )?{_DAY}{_YEAR}"),
    re.compile(r"(?P<year>\d{4}) (?P<month>0?[1-9]|1[0-2]) (?P<day>0?[1-9]|[12]\d|3[01])"),
    re.compile(r"(?P<year>\d{4}) 年 (?P<month>0?[1-9]|1[0-2]) 月 (?P<day>0?[1-9]|[12]\d|3[01]) 日"),
)


def _written(number: int) -> tuple[str, str]:
    """0 to 100 in English and in Chinese, folded: "twenty one", "二 十 一"."""
    if number == 100:
        return "one hundred", "一 百"
    tens, units = divmod(number, 10)
    english = _WORDS.get(number) or f"{_WORDS[number - units]} {_WORDS[units]}"
    signs = (_HAN[tens] if tens > 1 else "") + ("十" if tens else "")
    return english, " ".join(signs + (_HAN[units] if units or not tens else ""))


_NUMBERS = {number: _written(number) for number in range(101)}
_READ = {form: number for number, forms in _NUMBERS.items() for form in forms}
_SPELT = re.compile(
    rf"\b(?:{'|'.join(sorted(map(re.escape, _READ), key=len, reverse=True))})\b(?! [{_HAN}百])"
)
_SHORT = re.compile(r"(?<![\d.])\d{1,3}(?![\d.])")
EVERYWHERE = frozenset(("one", "two", *_HAN[:10]))
"""Words of numbers that nearly every text has: no distractor is left out because of them."""


def spellings(form: str) -> list[str]:
    """Other forms of a folded answer; [] for an answer without a number or a date.

    A number within an answer ("five boats") is also written both ways.
    """
    date = next(filter(None, (pattern.fullmatch(form) for pattern in _DATES)), None)
    if date:
        return _others(form, _of_date(date))
    digits = _SPELT.sub(lambda match: str(_READ[match[0]]), form)
    others = [digits, _spelt(digits, 0), _spelt(digits, 1)]
    if re.fullmatch(r"\d{4,}", form):
        parts = f"{int(form):,}".split(",")
        others += [" ".join(parts), ".".join(parts)]
    return _others(form, others)


def _spelt(form: str, language: int) -> str:
    """``form`` with its numbers up to a hundred in words: English (0) or Chinese (1)."""
    return _SHORT.sub(lambda match: _NUMBERS.get(int(match[0]), match.group(0, 0))[language], form)


def _of_date(date: re.Match[str]) -> Iterator[str]:
    said, d, y = date["month"], int(date["day"]), date["year"]
    m = int(said) if said.isdigit() else _MONTH[said]
    year = f" {y}" if y else ""
    suffix = "th" if d in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(d % 10, "th")
    for month in (_MONTHS[m - 1], _MONTHS[m - 1][:3], *(("sept",) if m == 9 else ())):
        for day in (str(d), f"{d:02}", f"{d}{suffix}"):
            yield from (f"{day} {month}{year}", f"{day} of {month}{year}", f"{month} {day}{year}")
    if y:
        for month, day in ((f"{m}", f"{d}"), (f"{m:02}", f"{d:02}")):
            for order in ((y, month, day), (day, month, y), (month, day, y)):
                yield from (" ".join(order), ".".join(order))
            yield f"{y} 年 {month} 月 {day} 日"


def _others(form: str, forms: Iterator[str] | list[str]) -> list[str]:
    known = dict.fromkeys(folded(each) for each in forms)
    return [each for each in known if each != form and each not in EVERYWHERE]
