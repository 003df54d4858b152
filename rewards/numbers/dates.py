"""Reads the dates that a short text claims, full or partial, in several languages.

Every pattern has bounded repetition, and callers cut what is too long.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from qwenlong.rewards.numbers.canonical import REFERENCE, canonical
from qwenlong.rewards.numbers.neutral import Allowed, unknown_words
from qwenlong.rewards.numbers.numerals import read_han
from qwenlong.rewards.numbers.qualifiers import offers_choice, problem_of
from qwenlong.rewards.numbers.words import ERAS, MONTHS, ORDINALS, QUARTERS, WEEKDAYS
from qwenlong.rewards.tables import alternatives, table

PIVOT = 69
"""Two-digit years below it are 20xx, from it on 19xx, as POSIX has it."""


class Date(NamedTuple):
    """A date; what the text does not say is 0, and years before Christ are negative."""

    year: int = 0
    month: int = 0
    day: int = 0
    quarter: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """The dates claimed, each with all its readings: 3/4/2021 has two."""

    claims: tuple[tuple[Date, ...], ...] = ()
    problem: str = ""


def _any_of(names: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True))


_TABLE = table("dates")
_NAMED_PART = re.compile(r"\{([a-z_]+)\}")
_END = r"(?![a-z\u00c0-\u024f\u0610-\u066f\u0900-\u0963])"
_PARTS = {
    "month": rf"(?:{_any_of(MONTHS)}){_END}",
    "era": _any_of(ERAS),
    "ordinal": _any_of(ORDINALS),
    "quarter": _any_of(QUARTERS),
    **{name: alternatives(lines) for name, lines in _TABLE["parts"].items()},
}


def _filled(lines: str) -> str:
    """A pattern of the table with the parts that it names."""
    pattern = alternatives(lines)
    while (filled := _NAMED_PART.sub(lambda name: _PARTS[name[1]], pattern)) != pattern:
        pattern = filled
    return pattern


_DATE = re.compile("|".join(f"(?P<{kind}>{_filled(x)})" for kind, x in _TABLE["kinds"].items()))
_TIME = re.compile(_PARTS["time"])
_TWICE = re.compile(_filled("({month}) ?/ ?({month})"))
_HAN = re.compile(r"[〇零一二三四五六七八九十廿]{1,4}(?= ?[年月日号號季四])")
_WEEKDAY = re.compile(rf"(?<![a-z])(?:{_any_of(WEEKDAYS)}){_END}")
_BESIDE_MONTH = re.compile(rf"^(?:(?:in|en|im|during|the month of|{_any_of(WEEKDAYS)}) ?)+|[ .]+$")
_APART = re.compile(alternatives(table("qualifiers")["dates"]["before_or_after"]))


def read(text: str, day_first: bool | None = None, allowed: Allowed | None = None) -> Reading:
    """The dates that ``text`` claims, or in words why it claims none for sure.

    Args:
        day_first: whether 3/4/2021 is the third of April; None where nobody knows.
        allowed: words that may stand next to the dates; None for gold answers, which may say
            anything.
    """
    text = canonical(text).casefold()
    if not text.isascii():
        text = _HAN.sub(_digits, text)
        # آذار/مارس is one month by two names.
        text = _TWICE.sub(lambda x: x[1] if MONTHS[x[1]] == MONTHS[x[2]] else x[0], text)
    claims: list[tuple[Date, ...]] = []
    rest, end = [], 0
    text = _TIME.sub(" ", text)
    month_alone = None
    for match in _DATE.finditer(text):
        readings = _readings(match, day_first)
        if readings is None:
            month_alone = match
            continue
        if not readings:
            return Reading(problem=f"{match[0].strip()!r} is no date")
        claims.append(readings)
        rest.append(text[end : match.start()])
        end = match.end()
    rest.append(REFERENCE.sub("", text[end:]))
    if month_alone and not claims and _BESIDE_MONTH.sub("", text) == month_alone["mdy_m"]:
        return Reading(((Date(month=MONTHS[month_alone["mdy_m"]]),),))
    if month_alone and claims and offers_choice(text):
        return Reading(problem="it offers a choice of months")
    return _checked(claims, " ".join(rest), allowed)


def _checked(claims: list[tuple[Date, ...]], rest: str, allowed: Allowed | None) -> Reading:
    if not claims:
        return Reading(problem="there is no date in it")
    problem = problem_of(rest)
    if problem or _APART.search(rest):
        return Reading(problem=problem or "it says before or after, not when")
    words = unknown_words(rest, allowed, dated=True) if allowed else ""
    if words:
        return Reading(problem=f"{words!r} next to the date is no known word")
    if any(map(str.isdigit, rest)):
        return Reading(problem="there is another number next to the date")
    weekday = _WEEKDAY.search(rest)
    if weekday:
        claims = [_on(WEEKDAYS[weekday[0]], readings) for readings in claims]
        if not all(claims):
            return Reading(problem=f"it was no {weekday[0]}")
    # A date with one reading decides between the readings of another.
    sure = {readings[0] for readings in claims if len(readings) == 1}
    return Reading(tuple(tuple(sure.intersection(each)) or each for each in claims))


def _digits(match: re.Match[str]) -> str:
    number = read_han(match[0].replace("廿", "二十"))
    return str(number.value) if number else match[0]


def _on(weekday: int, readings: tuple[Date, ...]) -> tuple[Date, ...]:
    """The readings that fall on a weekday, or are too imprecise to fall on any."""
    return tuple(
        date
        for date in readings
        if not (date.year > 0 and date.day)
        or datetime.date(date.year, date.month, date.day).weekday() == weekday
    )


def _readings(match: re.Match[str], day_first: bool | None) -> tuple[Date, ...] | None:
    """All valid readings of a match: () where it is no date, None for a month alone."""
    kind = str(match.lastgroup)
    parts = {
        name.removeprefix(f"{kind}_"): text
        for name, text in match.groupdict().items()
        if text and name.startswith(f"{kind}_")
    }
    if kind == "num":
        return _numeric(parts, day_first)
    if kind == "quarter":
        named = parts.get("n") or parts.get("m") or ""
        quarter = QUARTERS.get(named) or int(next(parts[key] for key in "qsr" if key in parts))
        year = next(parts[key] for key in "yzxvw" if key in parts)
        return (Date(_year(year), quarter=quarter),)
    # "May" alone may be a verb: the caller looks at what stands around it.
    if kind == "mdy" and len(parts) == 1:
        return None
    date = Date(-int(parts.get("a") or parts["b"])) if kind == "bc" else _parted(kind, parts)
    return (date,) if _exists(date) else ()


def _parted(kind: str, parts: dict[str, str]) -> Date:
    month = parts.get("m") or parts.get("n") or "0"
    day = int(parts.get("d", 0)) or ORDINALS.get(parts.get("o", ""), 0)
    written = parts.get("y") or parts.get("f") or ""
    year = 1 if written == "元" else _year(written, kind != "era")
    year = year or int(parts.get("a") or parts.get("c") or 0)
    if "e" in parts:
        year += ERAS[parts["e"]]
    number = int(month) if month.isdigit() else MONTHS[month]
    return Date(year, number, day, int(parts.get("q", 0)))


def _year(written: str, pivots: bool = True) -> int:
    digits = written.lstrip("'")
    if len(digits) == 2 and pivots:
        return int(digits) + (2000 if int(digits) < PIVOT else 1900)
    return int(digits or 0)


def _numeric(parts: dict[str, str], day_first: bool | None) -> tuple[Date, ...]:
    """04.03.2021 is the fourth of March; 3/4/2021 either, unless ``day_first`` says."""
    a, b, year = int(parts["a"]), int(parts["b"]), _year(parts["y"])
    day_then_month, month_then_day = Date(year, b, a), Date(year, a, b)
    valid = tuple(dict.fromkeys(filter(_exists, (day_then_month, month_then_day))))
    if len(valid) > 1 and (parts["s"] == "." or day_first is not None):
        return (day_then_month if parts["s"] == "." or day_first else month_then_day,)
    return valid


def _exists(date: Date) -> bool:
    if date.month > 12 or (date.day and not date.month):
        return False
    if not date.day:
        return date != Date()
    try:
        datetime.date(date.year if date.year > 0 else 2000, date.month, date.day)
    except ValueError:
        return False
    return True
