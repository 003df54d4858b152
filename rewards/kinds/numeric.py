"""Numeric answers: the right number with its sign, scale and unit, however it is written.

How numbers are read is in ``numbers/``, from ``quantities`` on. What counts as right:

- **Tolerance.** Half a unit of the gold answer's last place: 32.44 is right for 32.4, and 32.36
  too, 32.5 is not. A gold answer that is a bare whole number is often a count: at most half a per
  cent there. One that is a fraction (2/3): 0.1 %. ``metadata["rel_tolerance"]`` (0 to 0.1)
  replaces these; sets whose gold answers have more digits than anybody writes need it.
- **Separators.** 1,234.5, 1.234,5, 1'234, 1 234 and 12,34,567 say themselves how they are to be
  read. 1,234 and 1.234 do not, and are read the English way, unless ``metadata["decimal"]``
  (``.`` or ``,``), the gold answer's own writing or German words say otherwise; in Spanish, whose
  countries differ, they are refused. Digits written just as the gold answer's are read like them.
- **Percent.** A gold answer in percent (by its own sign or ``metadata["scale"] = "percent"``)
  accepts 12.5 %, 12.5, and 0.125 only where the answer calls it a fraction, decimal or ratio, or
  writes 12.5 % next to it. For a gold answer without percent 12.5 % is 0.125. Where the question
  asks for a percentage the gold answer may already be one: from 10 up it is taken so, below 1
  for a fraction, and between for either; ``metadata["scale"]`` ``"percent"`` or ``"fraction"``
  settles it.
- **Scale.** ``metadata["scale"]`` ("thousand", "million", …) belongs to every gold answer that has
  no scale of its own. 35 million is 35,000,000; a bare 35 is right only if the question asks
  "in millions".
- **Sign.** A lone (32.4) is accounting for -32.4. "A decrease of 5" is -5, unless the question
  asks for the decrease and the gold answer is positive; there "an increase of 5" is -5. A dash
  with a space before the number is refused.
- **Units.** A unit or currency may be left out, but not contradicted; $ is any dollar. 32,000 m
  is 32 km. The letter m is metres where the question or the gold answer says so, else a million;
  ``check`` refuses a gold answer "12 m" that nothing explains.
- **Words next to it.** Denials, bounds, guesses ("1998?", "3!") and "after 1998" are refused; in
  Chinese, Japanese, Korean, Arabic and Hindi all words that are not known (``numbers/neutral``).
- **Several numbers** must each be right; in parentheses or behind ≈, rounded is enough. Dates and
  years next to the number, sums in parentheses, "Table 2", "rounded to two decimals" and what
  stands before the last = do not count. A fraction counts in lowest terms, its denominator below
  1000: 2072/2 is a division left undone.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from functools import partial

from qwenlong.rewards.judge.prompt import Case
from qwenlong.rewards.kind import (
    JudgeView,
    Kind,
    Wording,
    all_or_nothing,
    final_answer,
    question_of,
)
from qwenlong.rewards.numbers.claims import Quantity
from qwenlong.rewards.numbers.golds import Gold, golds_of
from qwenlong.rewards.numbers.quantities import read
from qwenlong.rewards.numbers.question import PERCENT, Wanted, in_units, same_dimension, signed
from qwenlong.rewards.numbers.units import CURRENCIES
from qwenlong.rewards.text.answer import asks, extract
from qwenlong.types import Example, Score

NAME = "numeric"
_LONGEST = 400
"""Characters of the longest answer that can be one number."""
_POWER_OF_TEN = re.compile("10+|1/10+")
_FACTORIAL = re.compile(r"\d ?[!！](?!=)")
_COUNTED = frozenset("shares employees people persons units customers stores options".split())


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if the final answer claims a gold answer's number, else 0; see the module."""
    scale = str(example.metadata.get("scale") or "")
    return all_or_nothing(
        NAME,
        extract(response, thinking),
        " | ".join(f"{answer} {scale}".strip() for answer in example.answers),
        partial(_why_wrong, example),
        right="it claims the gold answer's number",
    )


def check(example: Example) -> None:
    """Raises ``ValueError`` where a gold answer is no number, or the metadata is wrong."""
    golds_of(example)


def _why_wrong(example: Example, answer: str) -> str:
    """Why the answer is wrong; empty where it is right."""
    if len(answer) > _LONGEST:
        return f"{len(answer)} characters, longer than any number"
    if not answer[-1:].isalnum() and asks(answer):
        return "it is a guess: it ends in a question mark"
    if ("!" in answer or "！" in answer) and _FACTORIAL.search(answer):
        return "it has an exclamation mark, which makes another number of it"
    # One gold answer or one way of reading that fits is enough; else the first reason is given.
    golds, wrong = golds_of(example), ""
    for options in golds.options:
        reading = read(answer, options)
        if reading.problem:
            wrong = wrong or reading.problem
            continue
        for gold in golds.each:
            reason = _compared(gold, reading.claims, golds.wanted)
            if not reason:
                return ""
            wrong = wrong or reason
    return wrong


def _compared(gold: Gold, claims: tuple[Quantity, ...], wanted: Wanted) -> str:
    """Why the claims do not come to the gold answer; empty where they do."""
    if wanted.down and gold.quantity.value < 0:  # it is a change, whatever the question says
        wanted = replace(wanted, down=False, loss=False)
    units = gold.quantity.measures
    claims = _with_fractions(tuple(in_units(signed(claim, wanted), units) for claim in claims))
    main = claims[0]
    for claim in claims:
        reason = _contradiction(gold.quantity, claim, wanted)
        if not reason and (claim is main or not claim.aside or not _restates(claim, main)):
            reason = _difference(gold, claim, wanted)
        if reason:
            return reason
    return ""


def _with_fractions(claims: tuple[Quantity, ...]) -> tuple[Quantity, ...]:
    """0.125 next to 12.5% is a fraction."""
    if len(claims) == 1:
        return claims
    shares = [claim for claim in claims if claim.form == "percent"]
    return tuple(
        claim._replace(form="fraction")
        if claim.form == "plain"
        and any(abs(claim.value - x.value) <= max(claim.step, x.step) / 2 for x in shares)
        else claim
        for claim in claims
    )


def _restates(aside: Quantity, main: Quantity) -> bool:
    """Whether it is the main claim, rounded to its last place or written as a percentage."""
    value, step = aside.value, aside.step
    if main.form == "plain" and aside.form == "fraction":
        value, step = value * 100, step * 100
    if not value or (value > 0) != (main.value > 0):
        return False
    return abs(value - main.value) <= step / 2


def _difference(gold: Gold, claim: Quantity, wanted: Wanted) -> str:
    """How a claim differs from the gold answer, in words; empty where it does not."""
    target = gold.quantity.value
    reason = f"{claim.literal!r} is another number than {gold.text!r}"
    for value in _readings(gold.quantity, claim, wanted):
        if value == target:
            return ""
        same_sign = (value.numerator > 0) == (target.numerator > 0)
        if same_sign and abs(value - target) <= gold.tolerance:
            return ""
        if not value or not target:
            continue
        if not same_sign and abs(value + target) <= gold.tolerance:
            reason = f"{claim.literal!r} has the wrong sign"
        elif _POWER_OF_TEN.fullmatch(str(abs(value / target))):
            reason = f"{claim.literal!r} has the wrong scale"
    return reason


def _readings(gold: Quantity, claim: Quantity, wanted: Wanted) -> tuple[Fraction, ...]:
    """What the claim may be worth, in the terms of the gold answer."""
    value = claim.value
    if gold.form == "percent":
        return (value * wanted.share if claim.form == "plain" else value,)
    if claim.form == "percent":
        if gold.form == "plain" and abs(gold.value) >= 1 and wanted.percent:
            # "5" for 5 % is common, 1.6383 for 163.83 % is not unknown.
            return (value / PERCENT,) if abs(gold.value) >= 10 else (value / PERCENT, value)
        return (value,) if gold.form != "scaled" else ()
    if wanted.scale is None or (claim.form == "scaled") == (gold.form == "scaled"):
        return (value,)
    if gold.form == "scaled":
        return (value, value * wanted.scale)
    return (value / wanted.scale,)


def _contradiction(gold: Quantity, claim: Quantity, wanted: Wanted) -> str:
    """A unit, currency or noun other than the gold answer's, or thousands in a year."""
    measures = claim.measures
    if wanted.year and gold.step == 1:
        marked = any(mark in claim.literal for mark in ",.' ")
        if marked or measures - {"year"}:
            return f"{claim.literal!r} is no way to write a year"
    if gold.measures:
        wrong = bool(measures) and gold.measures.isdisjoint(measures)
        physical = not gold.measures & CURRENCIES
        nouns = claim.nouns if physical else [noun for noun in claim.nouns if noun in _COUNTED]
        if wrong or (nouns and not measures):
            return "it has another unit or currency than the gold answer"
    elif gold.nouns and (measures or claim.nouns):
        if measures or not any(_same_noun(a, b) for a in gold.nouns for b in claim.nouns):
            return "it counts something else than the gold answer"
    elif measures and gold.form == "percent" and claim.form == "plain":
        return "it has a unit, and the gold answer is a percentage"
    elif wanted.things and measures and measures <= CURRENCIES:
        return "it is money, and the question asks how many"
    elif wanted.measures.isdisjoint(measures) and same_dimension(measures, wanted.measures):
        return "it has another unit or currency than the question asks for"
    return ""


def _same_noun(noun: str, other: str) -> bool:
    length = min(len(noun), len(other), 5)
    return length > 1 and noun[:length] == other[:length]


_ASKS = Wording(
    "the number, with its sign, its scale (thousand, million) and its unit (%, $)"
    " where it has them",
    "数字",
    "有正负号、数量级（千、百万）或单位（%、元）时一并写出",
)
_SCALED = re.compile(
    r"[%％千万萬亿億兆]|percent|thousand|million|billion|trillion|\d\s?(?:k|m|mn|bn|tn|bps)\b",
    re.IGNORECASE,
)


def _stated(example: Example) -> str:
    """The gold number with the scale that its set keeps in the metadata."""
    number, scale = example.answers[0], example.metadata.get("scale", "")
    if any(sign.isalpha() or sign == "%" for sign in number):
        return number
    if scale in ("thousand", "million", "billion"):
        return f"{number} {scale}"
    return f"{number}%" if scale == "percent" else number


def scaled_case(example: Example) -> Case:
    """Gold answers with the scale that the metadata gives those that have none of their own."""
    scale = str(example.metadata.get("scale") or "")
    if scale.lower() in ("fraction", "decimal", "ratio"):
        golds = [f"{gold}, as a {scale} and not in percent" for gold in example.answers]
    else:
        golds = [
            gold if _SCALED.search(gold) else f"{gold} {scale}".strip() for gold in example.answers
        ]
    return Case(question_of(example), tuple(golds))


KIND = Kind(
    NAME,
    score,
    check,
    takes=("scale", "decimal", "rel_tolerance"),
    asks=lambda example: _ASKS,
    asked_alike=True,
    states=_stated,
    is_citable=True,
    judge=JudgeView(scaled_case, final_answer),
)
