"""Compatible mode: numbers, as the QwenLong-L1 repository compares them (``official``)."""

from __future__ import annotations

import math
import re

from qwenlong.rewards.kind import JudgeView, Kind
from qwenlong.rewards.kinds.numeric import scaled_case
from qwenlong.rewards.official import SAID, final_part, scored
from qwenlong.rewards.text.answer import shown
from qwenlong.types import Example, Score

NAME = "official_docmath"
# The symbols in this order only, the minus after them: "$-32.4" is read and "-$32.4" is not.
_NUMBER = re.compile(rf"{SAID} (=?≈?`?%?\$?°?£?€?¥?-?[0-9.,]+)", re.IGNORECASE)
_SYMBOLS = str.maketrans("", "", "=≈`%$°£€¥")
# Possessive, so that a long run of digits is read once.
_POINT_FIRST = re.compile(r"[.]{1,2}([0-9]++|[0-9]*+[.]++[0-9]++)")
_WHOLE = re.compile(r"-?(?:0+|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?[0-9]*[.][0-9]+")


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if the first number after "the answer is" is close to gold, by size alone.

    Raises:
        ValueError: the gold answer has no number, as officially.
    """
    golds = [_gold(gold) for gold in example.answers]
    read = answer_of(response, thinking)
    if not read:
        return scored(0.0, NAME, example, "", f"no answer: no number right after {SAID!r}")
    number = _number(read)
    for text, gold in zip(example.answers, golds, strict=True):
        if _same(number, gold):
            why = f"right: {shown(read)!r} is close enough to {shown(text)!r}"
            return scored(1.0, NAME, example, read, why)
    return scored(0.0, NAME, example, read, f"wrong: {shown(read)!r} is close to no gold")


def answer_of(response: str, thinking: bool = True) -> str | None:
    return _read((final_part(response, thinking) or "").replace("*", "")) or None


def check(example: Example) -> None:
    """Officially a gold answer without a number raises in the middle of training."""
    for gold in example.answers:
        _gold(gold)


def _read(text: str) -> str | None:
    found = _NUMBER.search(text)
    return found[1].replace(",", "").rstrip(".") if found else None


def _gold(gold: str) -> float:
    text = gold.replace("*", "")
    read = _read(text if SAID in text.lower() else f"{SAID} {text.strip()}")
    number = None if read is None else _number(read)
    if number is None or math.isinf(number):
        raise ValueError(
            f"answers=[{shown(gold)!r}]: must be a number in plain digits, such as 32.4 or -1,234,"
            f" for {NAME}"
        )
    return number


def _number(read: str) -> float:
    """``read`` as a number; what is none counts as 0, and ".5" as 5."""
    text = read.translate(_SYMBOLS).rstrip(".")
    point_first = _POINT_FIRST.fullmatch(text)
    text = point_first[1] if point_first else text
    if _DECIMAL.fullmatch(text):
        return float(text)
    try:
        return int(text) if _WHOLE.fullmatch(text) else 0
    except ValueError:  # more digits than Python takes
        return 0


def _same(number: float, gold: float) -> bool:
    large, small = max(abs(gold), abs(number)), min(abs(gold), abs(number))
    try:
        if large and small:
            powers = math.log10(large) - math.log10(small)
            if int(powers) == powers:
                return True
        for least, times in ((50, 100), (500, 1_000), (50_000, 100_000)):
            if small <= large / least and _within(small * times, large):
                return True
        if _thousandths(large) == _thousandths(small):
            return True
        return _within(number, gold)
    except OverflowError:
        return False


def _within(number: float, gold: float) -> bool:
    tolerance = abs(gold) * 0.0015
    return gold - tolerance <= number <= gold + tolerance


def _thousandths(number: float) -> float:
    return math.ceil(number * 1000) / 1000


KIND = Kind(NAME, score, check, judge=JudgeView(scaled_case, answer_of))
