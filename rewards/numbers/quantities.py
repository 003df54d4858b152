"""Reads the numbers and quantities that a text claims: value, precision, scale, unit.

``read`` looks at a short text, such as a final answer, and returns every number that it claims.
Years, dates, ordinals and labels (Q3, CO2) next to another number are no claims. What cannot be
read for sure is a ``problem`` in words: a negation, a bound, a sum instead of its result, digits
that no convention allows. Arithmetic is exact.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from qwenlong.rewards.numbers.canonical import (
    canonical,
    drop_asides,
    in_digits,
    one_word,
    says_none,
)
from qwenlong.rewards.numbers.claims import Quantity, claim_at
from qwenlong.rewards.numbers.neutral import unknown_words
from qwenlong.rewards.numbers.qualifiers import (
    APPROXIMATE,
    SEGMENT,
    offers_choice,
    problem_of,
    takes_back,
    year_apart,
)
from qwenlong.rewards.numbers.tokens import Options, Token, tokens_of
from qwenlong.rewards.numbers.units import Meaning


class Reading(NamedTuple):
    """What a text claims; or, in words, the ``problem`` for which it claims nothing for sure."""

    claims: tuple[Quantity, ...] = ()
    problem: str = ""


PLAIN = Options()
_LONE = re.compile(
    r"[-\s\d.,'+−$€£¥₹%()/eE]{1,60}(?:(?:thousand|(?:m|b|tr)illion|percent|bps|[kmb]n?|[万亿萬億])\s*)?",
    re.IGNORECASE,
)
"""A number by itself: what it equals is claimed, too."""
YEAR = re.compile(r"(?:1[5-9]|2[01])\d\d")
_OPERATORS = frozenset("+ - − × * ÷ ^ / : x X plus minus times".split())
_COUNTERS = "个個つ件名人家种種项項条次"
_DATE_JOINTS = frozenset(", - / to and y und 月 년 월".split())
_PAUSES = ".;:,。；："
_TRENDS = ("decrease", "loss", "increase")


def read(text: str, options: Options = PLAIN) -> Reading:
    """What ``text`` claims; see the module."""
    whole = in_digits(one_word(canonical(text)))
    if options.allowed and options.none_is_zero and says_none(whole):
        whole = "0"
    text = drop_asides(whole)
    *earlier, last = SEGMENT.split(text)
    if not last.strip():
        return Reading(problem="nothing stands behind its last equals sign")
    reading = _read_segment(last, options, bool(earlier))
    denied = takes_back("=".join((*earlier, ""))) if earlier else ""  # != ends in an equals sign
    problem = reading.problem or denied
    if problem:
        return Reading(problem=problem)
    # "5 = 10/2": a number by itself before the equals sign is claimed, too, and must agree.
    if not earlier or text != whole or not _LONE.fullmatch(earlier[-1]):
        return reading  # what stands before the last equals sign is workings
    before = _read_segment(earlier[-1], options, len(earlier) > 1)
    if before.problem or len(before.claims) != 1:
        return reading
    restated = tuple(claim._replace(aside=True) for claim in reading.claims)
    return Reading((*before.claims, *restated))


def _read_segment(text: str, options: Options, follows: bool) -> Reading:
    tokens = tokens_of(text)
    claims: list[Quantity] = []
    stated: Meaning | None = None
    i = 0
    while i < len(tokens):
        token = tokens[i]
        if token.is_number and not (token.kind == "han" and _is_no_numeral(tokens, i)):
            found = claim_at(tokens, i, options, follows)
            if isinstance(found, str):
                return Reading(problem=found)
            claim, i = found
            claims += [claim] if claim else []
            continue
        # A scale away from its number: "in millions" belongs to every bare number of the answer.
        if token.means == "scale" and len(token.text) > 2:
            if not i or tokens[i - 1].means != "in":
                return Reading(problem=f"{token.text!r} stands next to no number")
            stated = token.meaning
        i += 1
    if not claims:
        return Reading(problem="there is no number in it")
    if len(claims) == 1 and claims[0].last - claims[0].first == len(tokens):
        return Reading(_finished(claims, tokens, stated))
    problem = _choice(claims, tokens)
    if options.allowed and not text.isascii():
        words = unknown_words(_rest(text, claims, tokens), options.allowed)
        problem = problem or (words and f"{words!r} next to the number is no known word")
    claims = _without_context(claims, tokens, options)
    problem = problem or _between(claims, tokens, text) or problem_of(text)
    years = () if problem else [claim.literal for claim in claims if len(claim.literal) == 4]
    if years and year_apart(text) in years:
        problem = "it says before or after a year, not which"
    if problem:
        return Reading(problem=problem)
    return Reading(_finished(claims, tokens, stated))


def _rest(text: str, claims: list[Quantity], tokens: list[Token]) -> str:
    """The text without the claims."""
    rest, end = [], 0
    for claim in claims:
        rest.append(text[end : tokens[claim.first].start])
        end = tokens[claim.last - 1].end
    return " ".join((*rest, text[end:]))


def _is_no_numeral(tokens: list[Token], i: int) -> bool:
    """一 in 一共, 万 in 万一, 十 in 十分: numerals that are part of another word."""
    token = tokens[i]
    if len(token.text) > 1 or token.text not in "一十百千万亿萬億兆":
        return False
    touching = i + 1 < len(tokens) and tokens[i + 1].start == token.end
    if touching and tokens[i + 1].kind == "sym":
        return tokens[i + 1].text.isalpha() and tokens[i + 1].text not in _COUNTERS
    return bool(i) and tokens[i - 1].end == token.start and tokens[i - 1].text in "统統唯第每"


def _without_context(
    claims: list[Quantity], tokens: list[Token], options: Options
) -> list[Quantity]:
    """Drops dates, years and the pronoun "one" next to other numbers, but never all claims."""
    if len(claims) == 1:
        return claims
    if options.year:  # 2019, with $5 million
        years = [claim for claim in claims if claim.form == "plain" and not claim.measures]
        return years if years and all(YEAR.fullmatch(claim.literal) for claim in years) else claims
    # Next to an amount of money, a percentage or decimals, a whole number may only be a year.
    amounts = any(claim.form != "plain" or claim.measures - {"year"} for claim in claims)
    amounts = amounts or any(not claim.literal.isalnum() for claim in claims)
    kept: list[Quantity] = []
    dropped: Quantity | None = None
    for claim in claims:
        between = tokens[dropped.last : claim.first] if dropped else []
        near = dropped is not None and claim.first - dropped.last <= 2
        joined = near and all(token.text in _DATE_JOINTS for token in between)
        if _is_pronoun(claim, tokens) or _is_date(claim, tokens, joined, amounts):
            dropped = claim
        else:
            kept.append(claim)
    return kept or claims


def _is_pronoun(claim: Quantity, tokens: list[Token]) -> bool:
    """One of them, the one."""
    if claim.literal.lower() not in ("one", "una", "uno"):
        return False
    before = tokens[claim.first - 1].text.lower() if claim.first else ""
    behind = tokens[claim.last].text.lower() if claim.last < len(tokens) else ""
    return behind in ("of", "de") or before in ("the", "this", "that", "which", "each", "any")


def _is_date(claim: Quantity, tokens: list[Token], after_date: bool, amounts: bool) -> bool:
    """A year, or the day or month of a date. ``after_date``: a part of one stands before it."""
    if claim.signed or claim.form != "plain" or not claim.measures <= {"year", "day"}:
        return False
    last = tokens[claim.first - 1] if claim.first else None
    following = tokens[claim.last] if claim.last < len(tokens) else None
    if not claim.literal.isdigit():
        return False
    month = (last and last.means == "month") or (following and following.means == "month")
    if month or (following and following.text in "月월" and len(claim.literal) < 3):
        return len(claim.literal) < 3 or bool(YEAR.fullmatch(claim.literal))
    if after_date and claim.measures <= {"day"} and len(claim.literal) < 3:
        return bool(claim.measures)
    if not YEAR.fullmatch(claim.literal):
        return False
    if claim.measures:  # 2019年
        return tokens[claim.last - 1].text in ("年", "년")
    said = last is not None and (last.means in ("year", "in") or last.text.lower() == "year")
    named = (
        amounts and following is not None and (following.kind == "word" or following.text == ":")
    )
    return after_date or claim.bracketed or said or named


def _choice(claims: list[Quantity], tokens: list[Token]) -> str:
    """Why it is a choice: numbers with an "or" between them, or units; "" where it is none."""
    for claim, following in pairwise(claims):
        between = tokens[claim.last : following.first]
        if claim.value != following.value and any(offers_choice(each.text) for each in between):
            return "it offers a choice of numbers"
    for token, behind in pairwise(tokens[claims[-1].last :]):
        if behind.means in ("measure", "percent") and offers_choice(token.text):
            return "it offers a choice of units"
    return ""


def _between(claims: list[Quantity], tokens: list[Token], text: str) -> str:
    """Why several numbers are no claim: an operator or an "or" between them; "" if they are."""
    for claim, following in pairwise(claims):
        between = [token.text for token in tokens[claim.last : following.first]]
        if between and between[0] in _OPERATORS and len(between) < 3:
            return "it leaves something to work out"
    if len(claims) > 1 and len({claim.value for claim in claims}) > 1 and offers_choice(text):
        return "it offers a choice of numbers"
    return ""


def _finished(
    claims: list[Quantity], tokens: list[Token], stated: Meaning | None
) -> tuple[Quantity, ...]:
    quantities = []
    for position, claim in enumerate(claims):
        value, step, form = claim.value, claim.step, claim.form
        if stated and form == "plain":
            value, step, form = value * stated.amount, step * stated.amount, "scaled"
        earlier = [token.text for token in tokens[: claim.first]]
        inside = claim.bracketed or earlier.count("(") > earlier.count(")")
        restates = bool(earlier) and earlier[-1].lower() in APPROXIMATE
        aside = position > 0 and (inside or restates)
        if claim.bracketed and not claim.signed and not aside and position == 0:
            value = -value  # accounting: (32.4)
        nearby = _nearby(claim, tokens)
        if form == "plain" and "fraction" in nearby:
            form = "fraction"
        unsigned = not claim.signed and not claim.bracketed
        trend = next((kind for kind in _TRENDS if unsigned and kind in nearby), "")
        if "minus" in nearby and not claim.signed and value > 0:
            value = -value
        quantities.append(
            claim._replace(value=value, step=step, form=form, aside=aside, trend=trend)
        )
    return tuple(quantities)


def _nearby(claim: Quantity, tokens: list[Token]) -> set[str]:
    """The meanings of six words before a claim and of a few behind it, up to a pause."""
    found: set[str] = set()
    for distance, token in enumerate(reversed(tokens[max(claim.first - 6, 0) : claim.first])):
        if token.is_number or token.text in _PAUSES or (not distance and token.means == "to"):
            break
        if token.means != "minus" or distance < 4:
            found.add(token.means)
    for distance, token in enumerate(tokens[claim.last : claim.last + 4]):
        if token.is_number or token.text in _PAUSES:
            break
        if token.means == "fraction" or (token.means in _TRENDS and distance < 2):
            found.add(token.means)
    return found
