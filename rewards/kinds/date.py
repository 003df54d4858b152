"""Dates: the gold answer's day, month, quarter or year, however it is written.

How dates are read is in ``numbers/dates``. What counts as right:

- **Precision.** The gold answer's: for "March 2021" the fourth of March 2021 is right, for the
  fourth of March 2021 "March 2021" is not. A month may answer for its quarter.
- **Order.** 2021-03-04 and names of months are clear; 04.03.2021 has the day first. 3/4/2021 and
  3-4-2021 are not: ``metadata["day_first"]`` (true or false) decides, for gold answers and answers,
  or a weekday next to the date. Without them an answer is right only if all its readings agree
  with the gold answer and all readings of the gold answer with it: 3/4/2021 for 3/4/2021 or for
  2021, but not for 2021-03-04. Another date next to it with only one reading decides, too.
- **Two-digit years** are 2000 to 2068 and 1969 to 1999, as POSIX has it. FY2019 is 2019. 令和3年
  and 民國110年 are 2021.
- **Weekdays** must fall on the date. A time of day does not count. Several dates must all agree.
- **Refused**: a question mark, unknown words in languages without Latin letters
  (``numbers/neutral``), days that do not exist, a negation, before and after, anniversaries and
  "a week from", a choice of months, other numbers next to a date. "By", "until" and "since" a date
  are read as that date.
"""

from __future__ import annotations

from functools import lru_cache, partial

from qwenlong.rewards.kind import GOLD_ANSWERS, Kind, Wording, all_or_nothing
from qwenlong.rewards.numbers.dates import Date, read
from qwenlong.rewards.numbers.neutral import allowed_by
from qwenlong.rewards.text.answer import asks, extract, shown
from qwenlong.types import Example, Score

NAME = "date"
_LONGEST = 300
"""Characters of the longest answer that can be one date."""
_LONGEST_GOLD = 60
"""Characters of the longest gold answer; more is a sentence with a date in it."""


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if the final answer is a gold answer's date, else 0; see the module."""
    return all_or_nothing(
        NAME,
        extract(response, thinking),
        " | ".join(example.answers),
        partial(_why_wrong, example),
        right="it is the gold answer's date",
    )


def check(example: Example) -> None:
    """Raises ``ValueError`` where a gold answer is no date, or the metadata is wrong."""
    day_first = example.metadata.get("day_first")
    if day_first not in (None, True, False):
        raise ValueError(f"metadata day_first={day_first!r}: must be true or false")
    if not example.answers:
        raise ValueError("answers=[]: must be one date or more")
    for answer in example.answers:
        _gold(answer, day_first)


@lru_cache(maxsize=4096)
def _gold(answer: str, day_first: bool | None) -> tuple[Date, ...]:
    """The readings of a gold answer."""
    reading = read(answer, day_first) if len(answer) <= _LONGEST_GOLD else None
    if reading is None or len(set(reading.claims)) != 1:
        why = (reading.problem if reading else "it is too long") or "it is no single date"
        raise ValueError(f"answers=[{shown(answer)!r}]: must be a date such as 2021-03-04; {why}")
    return reading.claims[0]


def _why_wrong(example: Example, answer: str) -> str:
    """Why the answer is wrong; empty where it is right."""
    if len(answer) > _LONGEST:
        return f"{len(answer)} characters, longer than any date"
    day_first = example.metadata.get("day_first")
    if asks(answer):
        return "it is a guess: it ends in a question mark"
    reading = read(answer, day_first, allowed_by(example.question, example.answers))
    if reading.problem:
        return reading.problem
    wrong = ""
    for text in example.answers:
        golds = _gold(text, day_first)
        differences = [_compared(golds, readings) for readings in reading.claims]
        if not any(differences):
            return ""
        wrong = wrong or next(filter(None, differences))
    return wrong


def _compared(golds: tuple[Date, ...], readings: tuple[Date, ...]) -> str:
    """How a claim differs from a gold answer, in words; empty where it does not."""
    every = all(any(_agrees(gold, date) for gold in golds) for date in readings)
    if every and all(any(_agrees(gold, date) for date in readings) for gold in golds):
        return ""
    if len(readings) > 1 or len(golds) > 1:
        return "day and month may be either way round"
    if any(mine and not theirs for mine, theirs in zip(golds[0][:3], readings[0][:3], strict=True)):
        return "it is less precise than the gold answer"
    return "it is another date than the gold answer"


def _agrees(gold: Date, date: Date) -> bool:
    """The date says all that the gold answer says, and perhaps more."""
    if gold.quarter and gold.quarter != (date.quarter or (date.month + 2) // 3):
        return False
    return all(not mine or mine == theirs for mine, theirs in zip(gold[:3], date[:3], strict=True))


_ASKS = Wording(
    "the date, as precise as the documents have it, with the month's name",
    "日期",
    "精确程度与文档一致",
)
KIND = Kind(
    NAME,
    score,
    check,
    takes=("day_first",),
    asks=lambda example: _ASKS,
    asked_alike=True,
    is_citable=True,
    judge=GOLD_ANSWERS,
)
