"""One quantity in a row of tokens: sign, currency, number, scale, percent, unit."""

from __future__ import annotations

from fractions import Fraction
from itertools import takewhile
from typing import NamedTuple

from qwenlong.rewards.numbers.tokens import Options, Token, amount_at
from qwenlong.rewards.numbers.units import CURRENCIES, MEANINGS, Meaning

_ONE = Fraction(1)
_NONE: frozenset[str] = frozenset()


class Quantity(NamedTuple):
    """One number as claimed: exact, with its scale or percent multiplied in.

    Signs that depend on other claims and on words next to it are applied by ``quantities``.
    """

    value: Fraction
    step: Fraction
    """The value of the last place written; 0 for a fraction such as 3/4."""
    form: str = "plain"
    """``plain``, ``scaled`` (by million, 万, k, …), ``percent``, or ``fraction`` where the text
    says that it is one and no percentage."""
    measures: frozenset[str] = frozenset()
    """The unit or currency, or all that it may be; empty where none is known."""
    nouns: tuple[str, ...] = ()
    """Words behind it that are no known unit, such as ``employees``."""
    literal: str = ""
    first: int = 0
    last: int = 0
    """Its tokens, signs and parentheses included: ``tokens[first:last]``."""
    bracketed: bool = False
    signed: bool = False
    aside: bool = False
    """It restates another: in parentheses, or behind an "about" or ≈."""
    trend: str = ""
    """``decrease``, ``loss`` or ``increase`` where the words next to it say so and it has no
    sign."""


class _Before(NamedTuple):
    sign: str
    opened: bool
    measures: frozenset[str]
    share: Fraction | None
    first: int


_NOTHING_BEFORE = _Before("", False, _NONE, None, 0)


class _After(NamedTuple):
    scale: Fraction
    share: Fraction | None
    measures: frozenset[str]
    nouns: tuple[str, ...]
    closed: bool
    end: int


def claim_at(
    tokens: list[Token], i: int, options: Options, follows: bool
) -> tuple[Quantity | None, int] | str:
    """The claim whose number begins at ``i`` and the index behind it, or a problem in words.

    None for a label or an ordinal (Q3, 3rd). ``follows``: the tokens stand behind an equals sign.
    """
    found = amount_at(tokens, i, options)
    if found is None:
        return f"{tokens[i].text!r} cannot be read safely"
    amount, form, end = found
    if _is_label(tokens, i, end):
        return None, end
    before = _before(tokens, i, follows)
    if isinstance(before, str):
        return before
    after = _after(tokens, end, before, options)
    share = before.share or after.share
    scale = after.scale
    if share:
        scale = share if scale is _ONE else scale * share
    value, step = amount.value, amount.step
    if scale is not _ONE:
        value, step = value * scale, step * scale
    if share:
        form = "percent"
    elif scale is not _ONE or amount.scaled:
        form = "scaled"
    if before.sign in ("-", "−"):
        value = -value
    # "$5 USD": what both sides allow; else the side that says more, which is the one behind.
    measures = before.measures & after.measures or after.measures or before.measures
    claim = Quantity(
        value, step, form, measures, after.nouns, tokens[i].text, before.first, after.end,
        after.closed, bool(before.sign),
    )  # fmt: skip
    return claim, after.end


def _is_label(tokens: list[Token], i: int, end: int) -> bool:
    """Q3, COVID-19, G20, 3rd, 1950s, 5G, 第3: a number that counts nothing."""
    if end < len(tokens) and tokens[end].start == tokens[end - 1].end:
        behind = tokens[end]
        unknown = behind.kind == "word" and not behind.meaning and behind.text.isascii()
        decade = behind.text == "s" and len(tokens[i].text) == 4 and tokens[i].text[-1] == "0"
        if unknown or decade or behind.means == "ordinal":
            return True
    if i and tokens[i].text == "عشر" and tokens[i - 1].text.startswith("ال"):
        return True
    if not i or tokens[i - 1].end != tokens[i].start or tokens[i].kind == "word":
        return False
    last = tokens[i - 1]
    if last.text.lower() == "fy" and len(tokens[i].text) == 4:
        return False
    if last.text in ("-", "/") and i > 1 and tokens[i - 2].end == last.start:
        last = tokens[i - 2]
    if last.text in ("第", "#"):
        return True
    # USD and Rs. are no labels, but p may be a page.
    currency = last.meaning and last.meaning.measures & CURRENCIES and len(last.text) > 1
    return last.kind == "word" and last.means != "minus" and not currency


def _before(tokens: list[Token], i: int, follows: bool) -> _Before | str:
    if not i:
        return _NOTHING_BEFORE
    sign, opened, measures, share = "", False, _NONE, None
    j = i - 1
    while j >= 0 and i - j < 8:
        token = tokens[j]
        prior = tokens[j - 1] if j else None
        # From the number to the left: sign, bracket, currency and percent, in any order.
        if token.text in "-−+":
            if sign:
                return "it has two signs"
            if prior and (
                prior.is_number or prior.text in ")%" or prior.means in ("scale", "percent")
            ):
                break
            # "- 5" may be a list item or a negative number, unless a currency or bracket precedes.
            spaced = token.end != tokens[j + 1].start
            if spaced and token.text == "-" and not (prior.text in "($€£" if prior else follows):
                return "a dash and a space before the number may be a sign or not"
            sign = token.text
        elif token.text == "(" and not opened:
            opened = True
        elif token.means == "measure" and token.meaning and token.meaning.measures & CURRENCIES:
            if prior and (prior.is_number or prior.means == "scale"):
                break
            measures = token.meaning.measures
        elif token.means == "percent" and token.meaning and token.text in "%٪" and not share:
            if prior and prior.is_number:
                break
            share = token.meaning.amount
        elif token.text != "." or not prior or prior.text.lower() not in ("rs", "rmb"):
            break
        j -= 1
    # minus 5, negative 5, 负5; but 7 minus 5 is a difference.
    if not sign and j >= 0 and tokens[j].means == "minus" and not (j and tokens[j - 1].is_number):
        sign = "-"
    return _Before(sign, opened, measures, share, j + 1)


def _after(tokens: list[Token], i: int, before: _Before, options: Options) -> _After:
    start, n = i, len(tokens)
    if i == n:
        return _After(_ONE, None, _NONE, (), False, i)
    # To the right: scale, percent, unit and currency, as in "5 thousand square metres".
    scale, share, measures, power, closed = _ONE, None, _NONE, False, False
    money = bool(before.measures)
    while i < n and i - start < 10:
        token = tokens[i]
        meaning = token.meaning
        if meaning is None:
            if token.text == ")" and before.opened and not closed:
                closed = True
            elif token.text == "." and i > start and tokens[i - 1].means == "scale" and i + 1 < n:
                pass  # 5 Mio. €
            elif token.text != "-" or not _joins(tokens, i):
                break
        elif token.text in ("of", "de", "di") and scale != 1 and _money_follows(tokens, i + 1):
            pass  # 5 millones de euros
        elif meaning.kind == "letter":
            known = _letter(token.text, money or _money_follows(tokens, i + 1), options)
            scale *= known.amount
            measures = measures or known.measures
        elif meaning.kind == "scale" and share is None:
            scale = meaning.amount if scale is _ONE else scale * meaning.amount
        elif token.text in ("割", "成") and (
            i > start or (i + 1 < n and tokens[i + 1].text in ("立", "为", "為", "本"))
        ):
            break  # 7成, but not 1998年成立
        elif meaning.kind == "percent":
            share = share or meaning.amount
        elif meaning.kind == "power":
            power = True
        elif meaning.kind == "measure" and not (measures and measures.isdisjoint(meaning.measures)):
            measures = meaning.measures
            if power:
                measures = frozenset(f"{unit}2" for unit in measures)
            money = money or bool(measures & CURRENCIES)
        else:
            break
        i += 1
    behind = takewhile(lambda token: token.kind == "word" and not token.meaning, tokens[i : i + 4])
    nouns = tuple(token.text.casefold() for token in behind)
    return _After(scale, share, measures, nouns, closed, i)


def _joins(tokens: list[Token], i: int) -> bool:
    """The hyphen of ``5-year`` and ``5-million``."""
    return (
        i + 1 < len(tokens)
        and tokens[i - 1].end == tokens[i].start
        and tokens[i].end == tokens[i + 1].start
        and tokens[i + 1].means in ("measure", "scale", "percent")
    )


def _money_follows(tokens: list[Token], i: int) -> bool:
    meaning = tokens[i].meaning if i < len(tokens) else None
    return bool(meaning and meaning.measures & CURRENCIES)


_MILLION, _TRILLION = Meaning("scale", Fraction(10**6)), Meaning("scale", Fraction(10**12))


def _letter(text: str, money: bool, options: Options) -> Meaning:
    """What m, mm and t say: a scale next to money and in capitals, else a unit."""
    if text.lower() == "t":
        return _TRILLION if money or text == "T" else MEANINGS["tonne"]
    if text.lower() == "mm":
        return _MILLION if money or text == "MM" else MEANINGS["millimetre"]
    return MEANINGS["metre"] if options.metres and text == "m" and not money else _MILLION
