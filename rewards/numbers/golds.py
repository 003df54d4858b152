"""Reads gold answers that are numbers: value, unit, and the difference that is still right.

``kinds/numeric`` states the rules. What cannot be a gold answer raises ``ValueError``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

from qwenlong.rewards.numbers.canonical import canonical
from qwenlong.rewards.numbers.claims import Quantity
from qwenlong.rewards.numbers.neutral import allowed_by
from qwenlong.rewards.numbers.numerals import styles_of
from qwenlong.rewards.numbers.quantities import YEAR, read
from qwenlong.rewards.numbers.question import BASIS_POINT, Wanted, signed, wanted_by
from qwenlong.rewards.numbers.tokens import Options, tokens_of
from qwenlong.rewards.numbers.units import CURRENCIES
from qwenlong.rewards.text.answer import shown
from qwenlong.types import Example

_LONGEST, _MOST_WORDS, _MOST_GLYPHS = 60, 6, 3
"""A gold answer with more characters, words or glyphs of unknown words is a sentence."""
_DOUBLE = 15
"""Digits that a floating-point number can be trusted with."""
_NOISE = Fraction(1, 10**_DOUBLE)
_HALF = Fraction(1, 2)
_BARE_M = re.compile(r"\d[ -]?m[ .]*$")


@dataclass(frozen=True)
class Gold:
    """One gold answer, and how far an answer may be from it."""

    text: str
    quantity: Quantity
    tolerance: Fraction
    style: str
    """The decimal sign that its separators prove; "" where they leave it open."""
    read_as: str
    """The decimal sign by which it was read."""


@dataclass(frozen=True)
class Golds:
    """All gold answers of an example, and the ways in which an answer may be read."""

    each: tuple[Gold, ...]
    options: tuple[Options, ...]
    wanted: Wanted


def golds_of(example: Example) -> Golds:
    """The gold answers of an example, read once for all responses to it."""
    metadata: Mapping[str, Any] = example.metadata
    return _golds(
        tuple(example.answers),
        example.question,
        str(metadata.get("scale") or ""),
        str(metadata.get("decimal") or ""),
        str(metadata.get("rel_tolerance") if "rel_tolerance" in metadata else ""),
    )


@lru_cache(maxsize=4096)
def _golds(
    answers: tuple[str, ...], question: str, scale: str, decimal: str, relative: str
) -> Golds:
    if not answers:
        raise ValueError("answers=[]: must be one number or more")
    if decimal not in ("", ".", ","):
        raise ValueError(f"metadata decimal={decimal!r}: must be '.' or ','")
    wanted = wanted_by(question)
    golds = tuple(_gold(text, wanted, scale, decimal, relative) for text in answers)
    known = frozenset((gold.quantity.literal, gold.read_as) for gold in golds)
    allowed = allowed_by(question, answers)
    options = (_options(gold, decimal, wanted) for gold in golds)
    options = (each._replace(known=known, allowed=allowed) for each in options)
    return Golds(golds, tuple(dict.fromkeys(options)), wanted)


def _options(gold: Gold, decimal: str, wanted: Wanted) -> Options:
    """How to read an answer that is compared with this gold answer."""
    return Options(
        style=decimal or gold.style or wanted.style,
        decided=bool(decimal or gold.style),
        metres=wanted.metres or "m" in gold.quantity.measures,
        year=wanted.year and gold.quantity.form == "plain",
        divisions=not gold.quantity.step,
        none_is_zero=wanted.count,
    )


def _gold(text: str, wanted: Wanted, scale: str, decimal: str, relative: str) -> Gold:
    options = Options(decimal or ".", bool(decimal), wanted.metres)
    claims, why = read(text, options) if len(text) <= _LONGEST else ((), "it is too long")
    if len(claims) != 1 or _says_more(text, claims[0]):
        why = why or "it is no single number"
        raise ValueError(f"answers=[{shown(text)!r}]: must be a number such as -1,234.5; {why}")
    claim = claims[0]
    # Of "12 m" something has to say whether it is metres or millions; a capital M is a million.
    known = scale or wanted.metres or wanted.money or wanted.scale or claim.measures & CURRENCIES
    if not known and _BARE_M.search(text):
        raise ValueError(
            f"answers=[{shown(text)!r}]: must be a number such as -1,234.5; m may be metres"
            " or million, and neither the question nor metadata scale says which"
        )
    if not scale and wanted.share == BASIS_POINT and claim.form == "plain":
        scale = "bps"
    quantity = signed(_rescaled(claim, text, scale), wanted)
    style, read_as = _styles(claim, text, options)
    return Gold(text, quantity, _tolerance(quantity, relative), style, read_as)


def _says_more(text: str, claim: Quantity) -> bool:
    """Whether the number is only one of the things that a gold answer says."""
    if text.lstrip("-$") == claim.literal:
        return False
    tokens = tokens_of(canonical(text))
    glyphs = sum(token.kind == "sym" and token.text.isalpha() for token in tokens)
    years = any(
        token.text != claim.literal and YEAR.fullmatch(token.text) and behind.kind != "han"
        for token, behind in pairwise((*tokens, tokens[-1]))
    )
    return len(text.split()) > _MOST_WORDS or glyphs > _MOST_GLYPHS or years


def _styles(claim: Quantity, text: str, options: Options) -> tuple[str, str]:
    """The decimal sign that a gold answer's writing proves, and that by which it was read."""
    if not any(mark in claim.literal for mark in ".,"):
        return "", options.style
    styles = styles_of(claim.literal.lower().partition("e")[0])
    if len(styles) == 1:
        return next(iter(styles)).replace("'", ""), options.style
    # German words next to the number may have decided against the English way.
    decided = read(text, options._replace(decided=True)).claims
    return "", options.style if [c.value for c in decided] == [claim.value] else ","


def _rescaled(quantity: Quantity, text: str, scale: str) -> Quantity:
    """The gold quantity with the scale that the metadata gives it."""
    if not scale:
        return quantity
    if scale.lower() in ("fraction", "decimal", "ratio"):
        return quantity._replace(form="fraction")
    one = read(f"1 {scale}").claims if len(scale) < 40 else ()
    if len(one) != 1 or one[0].form not in ("scaled", "percent"):
        raise ValueError(
            f"metadata scale={scale!r}: must be a word such as 'thousand', 'million', 'percent'"
            " or 'fraction'"
        )
    factor, form = one[0].value, one[0].form
    if quantity.form == form:
        return quantity
    if quantity.form not in ("plain", "fraction"):
        raise ValueError(f"answers=[{shown(text)!r}] and metadata scale={scale!r}: must agree")
    return quantity._replace(value=quantity.value * factor, step=quantity.step * factor, form=form)


def _tolerance(quantity: Quantity, relative: str) -> Fraction:
    size = abs(quantity.value)
    if relative:
        try:
            share = Fraction(relative)
        except (ValueError, ZeroDivisionError):
            share = Fraction(-1)
        if not 0 <= share <= Fraction(1, 10):
            raise ValueError(f"metadata rel_tolerance={relative!r}: must be a number from 0 to 0.1")
        return share * size
    if not quantity.step:  # a fraction such as 2/3 has no last place
        return size / 1000
    # A bare whole number is often a count: half a unit is too much next to a small one.
    if quantity.form == "plain" and quantity.step == 1:
        return min(_HALF, size / 200)
    if len(quantity.literal) > _DOUBLE:  # 0.30000000000000004: its last places are noise
        return max(quantity.step / 2, size * _NOISE)
    return quantity.step / 2
