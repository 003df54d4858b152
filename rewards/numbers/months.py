"""The names of months, weekdays, eras and ordinals (``tables/calendar.toml``)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from qwenlong.rewards.tables import table

_TABLE = table("calendar")
ENGLISH_MONTHS: list[str] = _TABLE["english_months"]
ERAS: dict[str, int] = _TABLE["eras"]
"""Era to the year before its year 1."""


def _by_name(rows: Iterable[str], start: int) -> dict[str, int]:
    names = {}
    for number, row in enumerate(rows, start):
        for name in row.split():
            plain = name.replace("_", " ")
            names[plain] = names[unicodedata.normalize("NFKC", plain)] = number
    return names


MONTHS = _by_name(ENGLISH_MONTHS, 1) | _by_name(_TABLE["other_months"], 1)
WEEKDAYS = _by_name(_TABLE["weekdays"], 0)
"""From 0, Monday, as ``datetime.date.weekday`` has it."""
ORDINALS = {name: day for day, name in enumerate(_TABLE["ordinals"].split(), 1)}
QUARTERS = {name: n for n, row in enumerate(_TABLE["quarters"], 1) for name in row.split()}
