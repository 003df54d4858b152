"""Digits with separators and Chinese numerals, as exact fractions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from qwenlong.rewards.numbers.words import HAN_DIGITS, HAN_LARGE, HAN_UNITS, MORE_DIGITS

LARGEST_EXPONENT = 400
"""Powers of ten beyond it are no answer to anything, and cost memory."""
_ONE = Fraction(1)


class Amount(NamedTuple):
    """A number without sign, exact, with what its writing says about precision."""

    value: Fraction
    step: Fraction
    """The value of its last place: 1/10 in 32.4, 10000 in 3万; 0 for a fraction such as 3/4."""
    scaled: bool = False
    """It carries a scale of its own, as 3万 does."""


_GROUPED = re.compile(r"([1-9]\d{0,2}(?:([ '])\d{3}(?:\2\d{3})*))(?:[.,](\d+))?")
_WESTERN = re.compile(r"([1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d\d)+,\d{3}|\d*)(?:\.(\d+))?")
_EUROPEAN = re.compile(r"([1-9]\d{0,2}(?:\.\d{3})+|\d*)(?:,(\d+))?")


def read_digits(literal: str, style: str = ".") -> Amount | None:
    """``literal``, such as ``1,234.5e3``; None for what is no number, such as ``3,4,5``.

    ``1,234`` and ``1.234`` have two readings: ``style`` names the decimal sign that decides,
    and the empty style gives None. All else is read in whichever way it can be.
    """
    if literal.isdigit():
        return Amount(Fraction(int(literal)), _ONE)
    mantissa, _, exponent = literal.lower().partition("e")
    if mantissa.isdigit():
        whole, decimals = mantissa, ""
    else:
        styles = styles_of(mantissa)
        chosen = style if len(styles) > 1 else next(iter(styles), "")
        if chosen not in styles:
            return None
        whole, decimals = styles[chosen]
    power = int(exponent.replace("−", "-")) if exponent else 0
    if abs(power) > LARGEST_EXPONENT:
        return None
    digits, step = int(whole + decimals), _power_of_ten(power - len(decimals))
    return Amount(Fraction(digits * step.numerator, step.denominator), step)


@lru_cache(maxsize=4 * LARGEST_EXPONENT)
def _power_of_ten(power: int) -> Fraction:
    return Fraction(10**power) if power >= 0 else Fraction(1, 10**-power)


def styles_of(mantissa: str) -> dict[str, tuple[str, str]]:
    """The readings of a number with separators: decimal sign to digits before and after it."""
    if " " in mantissa or "'" in mantissa:
        grouped = _GROUPED.fullmatch(mantissa)
        return {"'": (_only_digits(grouped[1]), grouped[3] or "")} if grouped else {}
    readings = {}
    for style, pattern in ((".", _WESTERN), (",", _EUROPEAN)):
        match = pattern.fullmatch(mantissa)
        if match and (match[1] or match[2]):
            readings[style] = (_only_digits(match[1]), match[2] or "")
    return readings


def _only_digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


_HAN_DIGITS = {**HAN_DIGITS, **MORE_DIGITS}
_HAN_SMALL = {**HAN_UNITS, "십": 10, "백": 100, "천": 1000}
_COLLOQUIAL = {**HAN_UNITS, **{unit: HAN_LARGE[unit] for unit in "万萬亿億"}}
"""Units behind which a single digit without 零 takes the next place."""
HAN_ONLY = "〇零一二三四五六七八九壹贰叁肆伍陆柒捌玖貳參陸两兩弐十拾百佰千仟万萬亿億兆"
HAN_POINT = "点點"
HANGUL_DIGITS, HANGUL_UNITS = "영일이삼사오육칠팔구공", "십백천만억조"


def read_han(items: Sequence[Amount | str], colloquial: bool = True) -> Amount | None:
    """Chinese numerals, Hangul ones and mixtures such as 1億2,345万, one character an item.

    None where the order makes no number. 二〇一九 is read by its digits, 3千2百万 by its units;
    三四 would be "three or four". ``colloquial``: 三千五 is 3500, as Chinese has it; Japanese not.
    """
    if len(items) > 2 and all(item in _HAN_DIGITS for item in items):
        number = int("".join(str(_HAN_DIGITS[str(item)]) for item in items))
        return Amount(Fraction(number), Fraction(1))
    total, section, current = Fraction(0), Fraction(0), None
    step, scaled, in_digits, point = Fraction(1), False, False, 0
    last_large, zero = 10**40, False
    for item in items:
        if isinstance(item, Amount):
            if current is not None:
                return None
            current, step, in_digits = item.value, item.step, False
        elif item in HAN_POINT:
            if point or current is None:
                return None
            point = 1
        elif item in _HAN_DIGITS:
            digit = _HAN_DIGITS[item]
            zero = zero or not digit
            if point:
                point *= 10
                current, step = (current or 0) + Fraction(digit, point), Fraction(1, point)
            elif current:
                return None
            else:
                current, step, in_digits = Fraction(digit), Fraction(1), True
        elif item in _HAN_SMALL:
            unit = _HAN_SMALL[item]
            section += (1 if current is None else current) * unit
            if current is not None and (point or not in_digits):
                step, scaled = step * unit, True
            current, point, zero = None, 0, False
        else:
            unit = HAN_LARGE[item]
            here = section + (current or 0)
            if here == 0 and total and scaled:  # 万亿: one unit upon another
                total, step = total * unit, step * unit
            elif here == 0 or unit >= last_large:
                return None
            else:
                total, step, last_large = total + here * unit, step * unit, unit
            section, current, point, scaled, zero = Fraction(0), None, 0, True, False
    if colloquial and current and in_digits and not point and not zero:
        # A lone digit at the end counts hundreds in 三千五, and one in 二十五 and 千五.
        unit = _COLLOQUIAL.get(str(items[-2]), 10) if len(items) > 2 else 10
        place = unit // 10
        current, step = current * place, step * place
    return Amount(total + section + (current or 0), step, scaled)
