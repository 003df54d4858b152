"""Cuts a text into tokens, and reads the number, without sign or unit, at one of them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from qwenlong.rewards.numbers.neutral import Allowed
from qwenlong.rewards.numbers.numerals import (
    HAN_ONLY,
    HAN_POINT,
    HANGUL_DIGITS,
    HANGUL_UNITS,
    Amount,
    read_digits,
    read_han,
)
from qwenlong.rewards.numbers.units import CJK, GLUED, MEANINGS, Meaning

_MARKS = "\u0300-\u036f\u0900-\u0963\u0970-\u097f"
_LETTER = rf"(?:[^\W\d_{CJK}]|[{_MARKS}])"
_EURO = frozenset({"EUR"})
_EUROS = ("€", "euros", "eur")
# A number (1 234,5 or 1.2e3), a word or unit, a word of a script without blanks, Han or Hangul
# numerals, or any other character; the first of these that fits.
_TOKEN = re.compile(
    rf"""
      (?P<num>(?:\d{{1,3}}(?:[ ]\d{{3}}(?!\d))+(?:[.,]\d+)?|\d+(?:[.,']\d+)*|(?<![0-9A-Za-z_])\.\d+)
              (?:[eE][-+−]?\d+(?!\w))?)
    | (?P<word>(?:km/h|m/s|mi/h|[a-z]{{1,2}}[23](?!\w))|°[ ]?[CFcf](?!\w)
              |(?:US|AU|A|CA|C|S|HK|NZ|NT|R)\$|{_LETTER}+(?:'{_LETTER}+)?)
    | (?P<glued>(?=[\u1100-\uffff])(?:{"|".join(map(re.escape, GLUED))}))
    | (?P<han>(?:[{HAN_ONLY}]|参(?=[拾佰仟万萬]))
              (?:[{HAN_ONLY}参{HAN_POINT}]{{0,38}}[{HAN_ONLY}参])?
              |(?<=[\d{HANGUL_UNITS}])[ ]?[{HANGUL_UNITS}]{{1,4}}
              |(?<![가-힣])(?=[{HANGUL_DIGITS}]{{0,11}}[{HANGUL_UNITS}])
               [{HANGUL_DIGITS}{HANGUL_UNITS}]{{2,12}}(?=원|달러|명|개|건|년|퍼센트|[^가-힣]|$))
    | (?P<sym>[^\s])
    """,
    re.VERBOSE,
)


class Options(NamedTuple):
    """How to read a text where its writing alone does not decide."""

    style: str = "."
    """The decimal sign of ``1,234`` and ``1.234``; empty where it is not known."""
    decided: bool = False
    """``style`` holds whatever the language of the words next to the number."""
    metres: bool = False
    """``5m`` is five metres, not five million."""
    year: bool = False
    """The question asks for a year; money and percentages next to it are no claims."""
    divisions: bool = True
    """Fractions that are divisions left undone, such as 2072/2, are numbers, too."""
    known: frozenset[tuple[str, str]] = frozenset()
    """Digits as the gold answers have them, and the style in which these were read."""
    none_is_zero: bool = False
    """The question is how many, so that "none" is 0."""
    allowed: Allowed | None = None
    """Words that may stand next to the number; None for gold answers, which may say anything."""


class Token(NamedTuple):
    kind: str
    """``num``, ``word``, ``glued`` (of a script without spaces), ``han`` or ``sym``."""
    text: str
    start: int
    end: int
    meaning: Meaning | None
    means: str
    """Its meaning's kind; empty without one."""
    is_number: bool


def tokens_of(text: str) -> list[Token]:
    tokens = []
    for match in _TOKEN.finditer(text):
        kind, word, (start, end) = str(match.lastgroup), match[0], match.span()
        if kind == "num":
            tokens.append(Token(kind, word, start, end, None, "", True))
            continue
        word = word.strip()
        meaning = MEANINGS.get(word) or MEANINGS.get(word.lower())
        means = meaning.kind if meaning else ""
        is_number = kind == "han" or means == "number"
        tokens.append(Token(kind, word, start, end, meaning, means, is_number))
    return tokens


def amount_at(tokens: list[Token], i: int, options: Options) -> tuple[Amount, str, int] | None:
    """The number at ``i`` without sign, its form and the index behind it."""
    first = tokens[i]
    if first.kind == "word":
        return _worded(tokens, i)
    if first.kind == "glued":
        assert first.meaning
        return Amount(first.meaning.amount, Fraction(1)), "plain", i + 1
    found = _mixture(tokens, i, options)
    if found is None:
        return None
    amount, end = found
    if end + 1 < len(tokens) and tokens[end + 1].kind in ("num", "han"):
        if tokens[end].means == "over":
            return _share_of(amount, _mixture(tokens, end + 1, options))
        if tokens[end].text == "/":
            return _ratio(tokens, i, end, options)
    if end + 2 < len(tokens) and tokens[end].kind == "num" and tokens[end + 1].text == "/":
        fraction = _ratio(tokens, end, end + 1, options)
        if fraction and first.text.isdigit() and 0 < fraction[0].value < 1:
            return fraction[0]._replace(value=amount.value + fraction[0].value), *fraction[1:]
    return amount, "plain", end


def _mixture(tokens: list[Token], i: int, options: Options) -> tuple[Amount, int] | None:
    """Digits, Chinese numerals or both, such as 1億2,345万."""
    first = tokens[i]
    if first.kind == "num" and (i + 1 == len(tokens) or tokens[i + 1].kind != "han"):
        digits = first.text.isdigit()
        amount = read_digits(first.text, "" if digits else _style(tokens, i, options))
        return (amount, i + 1) if amount else None
    items: list[Amount | str] = []
    while i < len(tokens) and tokens[i].kind in ("num", "han"):
        if tokens[i].kind == "han":
            items.extend(tokens[i].text)
        else:
            followed = i + 1 < len(tokens) and tokens[i + 1].kind == "han"
            if items and (tokens[i - 1].kind == "num" or not (followed or _touches(tokens, i))):
                break
            amount = read_digits(tokens[i].text, _style(tokens, i, options))
            if amount is None:
                return None
            items.append(amount)
        i += 1
    japanese = any("\u3040" <= each.text[0] <= "\u30ff" or each.text in "円億" for each in tokens)
    number = read_han(items, colloquial=not japanese)
    return (number, i) if number else None


def _touches(tokens: list[Token], i: int) -> bool:
    return tokens[i - 1].end == tokens[i].start


def _style(tokens: list[Token], i: int, options: Options) -> str:
    """The decimal sign of an ambiguous number.

    German scale words decide; Romance ones differ by country, and 1.234 € may be either.
    """
    text = tokens[i].text
    for literal, style in options.known:
        if text == literal:
            return style
    if options.decided:
        return options.style
    around = [tokens[j].meaning for j in (i - 1, i + 1) if 0 <= j < len(tokens)]
    languages = {meaning.lang for meaning in around if meaning}
    if "de" in languages:
        return ","
    euros = any(meaning and meaning.measures == _EURO for meaning in around)
    if "es" in languages and any(each.text.lower() in _EUROS for each in tokens[i : i + 5]):
        return ","  # 5.000 millones de euros: of the countries that differ Spain has euros
    return "" if "es" in languages or (euros and "." in text) else options.style


def _share_of(whole: Amount, found: tuple[Amount, int] | None) -> tuple[Amount, str, int] | None:
    """百分之十二点五 is a percentage, 三分之一 a fraction."""
    if found is None or not whole.value:
        return None
    part, end = found
    if whole.value in (100, 1000, 10000):
        return Amount(part.value / whole.value, part.step / whole.value), "percent", end
    return Amount(part.value / whole.value, Fraction(0)), "fraction", end


def _ratio(
    tokens: list[Token], i: int, slash: int, options: Options
) -> tuple[Amount, str, int] | None:
    """``3/4``; but 3/4/2021 is no fraction."""
    above, below = read_digits(tokens[i].text), read_digits(tokens[slash + 1].text)
    end = slash + 2
    if not above or not below or not below.value or slash != i + 1:
        return None
    if end + 1 < len(tokens) and tokens[end].text == "/" and tokens[end + 1].is_number:
        return None
    value = above.value / below.value
    if not options.divisions and not 1 < value.denominator == below.value < 1000:
        return None
    return Amount(value, Fraction(0)), "fraction", end


def _worded(tokens: list[Token], i: int) -> tuple[Amount, str, int]:
    """``twenty-five``, ``one hundred and five thousand``."""
    total, section, current = 0, 0, -1
    step, scaled = 1, False
    while i < len(tokens):
        token = tokens[i]
        size = int(token.meaning.amount) if token.meaning else 0
        if token.means == "number":
            if current < 0:
                current = size
            elif current >= 20 and current % 10 == 0 and 0 < size < 10:
                current += size
            else:
                break
        elif token.means == "scale" and size == 100 and current > 0:
            section, current = section + 100 * current, -1
        elif token.means == "scale" and size >= 1000 and section + max(current, 0) > 0:
            total, section, current = total + size * (section + max(current, 0)), 0, -1
            step, scaled = size, True
        else:  # the "and" or the hyphen before another word of the number
            goes_on = i + 1 < len(tokens) and tokens[i + 1].means == "number"
            joint = token.text == "-" and _touches(tokens, i)
            if not goes_on or not (joint or (token.text.lower() == "and" and section + total > 0)):
                break
        i += 1
    number = total + section + max(current, 0)
    return Amount(Fraction(number), Fraction(step), scaled), "plain", i
