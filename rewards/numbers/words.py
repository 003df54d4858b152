"""Number words, numerals and names of the calendar, from ``tables/number_words.toml`` and
``tables/calendar.toml``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from qwenlong.rewards.tables import table

_TABLE = table("number_words")
_EN_TENS, _DE_TENS, _ES_TENS = (_TABLE["tens"][language].split() for language in ("en", "de", "es"))


def _numbered(row: str, start: int = 0) -> dict[str, int]:
    """Each word of a row to its number; words with / between them have the same one."""
    return {
        word: number for number, words in enumerate(row.split(), start) for word in words.split("/")
    }


NUMBER_WORDS = {language: _numbered(row) for language, row in _TABLE["from_zero"].items()}
NUMBER_WORDS["en"] |= {word: 10 * ten for ten, word in enumerate(_EN_TENS, 2)}
NO_NUMBERS = frozenset(_TABLE["only_alone"]["words"].split())
"""Numbers only where they are the whole answer; in a text they are an article or another word."""
COMPOUNDS = {
    **{
        f"{one}und{ten}": 10 * tens + ones
        for tens, ten in enumerate(_DE_TENS, 2)
        for one, ones in _numbered(_TABLE["compounds"]["de_ones"], 1).items()
    },
    **{ten: 10 * tens for tens, ten in enumerate(_DE_TENS, 2)},
    **{ten: 10 * tens for tens, ten in enumerate(_ES_TENS, 3)},
    **{
        f"veinti{word}": 20 + ones
        for word, ones in _numbered(_TABLE["compounds"]["es_twenties"], 1).items()
    },
}
"""German and Spanish numbers from 21 that are one word."""

HAN_DIGITS, MORE_DIGITS = (
    {numeral: digit for digit, row in enumerate(_TABLE["han"][name].split()) for numeral in row}
    for name in ("digits", "more_digits")
)
HAN_LARGE = {
    unit: 10 ** int(power) for power, row in _TABLE["han"]["large"].items() for unit in row
}
HAN_UNITS = {
    numeral: 10**power
    for power, name in enumerate(("tens", "hundreds", "thousands"), 1)
    for numeral in _TABLE["han"][name]
}

_CALENDAR = table("calendar")
ENGLISH_MONTHS: list[str] = _CALENDAR["english_months"]
ERAS: dict[str, int] = _CALENDAR["eras"]
"""Era to the year before its year 1."""


def _by_name(rows: Iterable[str], start: int) -> dict[str, int]:
    names = {}
    for number, row in enumerate(rows, start):
        for name in row.split():
            plain = name.replace("_", " ")
            names[plain] = names[unicodedata.normalize("NFKC", plain)] = number
    return names


MONTHS = _by_name(ENGLISH_MONTHS, 1) | _by_name(_CALENDAR["other_months"], 1)
WEEKDAYS = _by_name(_CALENDAR["weekdays"], 0)
"""From 0, Monday, as ``datetime.date.weekday`` has it."""
ORDINALS = {name: day for day, name in enumerate(_CALENDAR["ordinals"].split(), 1)}
QUARTERS = {name: n for n, row in enumerate(_CALENDAR["quarters"], 1) for name in row.split()}
