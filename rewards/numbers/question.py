"""Reads from a question how its answer is written: scale, percent, sign, unit, language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from qwenlong.rewards.numbers.claims import Quantity
from qwenlong.rewards.numbers.quantities import read
from qwenlong.rewards.numbers.units import DIMENSION, MEANINGS, METRIC, SIGNS
from qwenlong.rewards.tables import patterns

_LONGEST = 4000
PERCENT, BASIS_POINT = Fraction(1, 100), Fraction(1, 10000)

_TABLE = patterns("questions")
_NO_MOVES = frozenset("up down lower higher".split())
"""Words of direction that say little in a question: "up to 2019", "the lower of both"."""


def _moves(*kinds: str) -> str:
    """The words by which an answer has its sign, within a question; some scripts have no blanks."""
    words = [word for kind in kinds for word in SIGNS[kind].split() if word not in _NO_MOVES]
    spaced = "|".join(word for word in words if word < "\u0400")
    return rf"\b(?:{spaced})\b|" + "|".join(word for word in words if word >= "\u0400")


_SAYS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _TABLE.items()}
_SAYS["either_way"] = re.compile(f"{_TABLE['either_way']}|{_moves('increase')}", re.IGNORECASE)
_DOWN = re.compile(_moves("decrease", "loss"), re.IGNORECASE)
_LOSS = re.compile(_moves("loss"), re.IGNORECASE)
_HOW_MANY = re.compile(r"\bhow many\b", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """What a question wants."""

    scale: Fraction | None = None
    """"in millions": how a number without a scale is to be read."""
    percent: bool = False
    """It asks for a percentage, if by another name: a growth rate, a margin."""
    share: Fraction = PERCENT
    """What 1 is worth in a percentage without its sign: 1/10000 in basis points."""
    count: bool = False
    """It asks how many, so that "none" is 0."""
    money: bool = False
    """It speaks of money, so that 5m is five million."""
    things: bool = False
    """It asks how many things there are, and not for money."""
    down: bool = False
    """It asks how far something fell, so that "a decrease of 5" is 5."""
    loss: bool = False
    """It speaks of losses, so that the word "loss" in an answer makes no number negative."""
    year: bool = False
    metres: bool = False
    measures: frozenset[str] = frozenset()
    style: str = "."
    """The decimal sign of its language; empty where that differs from country to country."""


@lru_cache(maxsize=4096)
def wanted_by(question: str) -> Wanted:
    question = question[:_LONGEST]
    scale = _SAYS["scale"].search(question)
    points = bool(_SAYS["basis_points"].search(question))
    measures: set[str] = set()
    for match in _SAYS["unit"].finditer(question):
        word = match[1].lower()
        meaning = MEANINGS.get(word)
        if meaning and meaning.kind == "measure" and word != "second":
            measures |= meaning.measures
    return Wanted(
        scale=_factor(scale[1] or scale[2]) if scale else None,
        percent=not scale and (points or bool(_SAYS["percent"].search(question))),
        share=BASIS_POINT if points else PERCENT,
        count=bool(_SAYS["count"].search(question)),
        money=bool(_SAYS["money"].search(question) or _SAYS["about_money"].search(question)),
        things=bool(_HOW_MANY.search(question)) and not _SAYS["money"].search(question),
        down=bool(_DOWN.search(question)) and not _SAYS["either_way"].search(question),
        loss=bool(_LOSS.search(question)),
        year=bool(_SAYS["year"].search(question)),
        metres=bool(_SAYS["metres"].search(question)),
        measures=frozenset(measures),
        style="" if "¿" in question else "," if len(_SAYS["german"].findall(question)) > 1 else ".",
    )


def _factor(words: str) -> Fraction | None:
    words = {"miles de millones": "mil millones"}.get(words.lower(), words)
    claims = read(f"1 {words}").claims
    return claims[0].value if claims else None


def signed(quantity: Quantity, wanted: Wanted) -> Quantity:
    """``quantity`` with the sign of "a decrease of", or of "an increase of" a decrease."""
    if wanted.down:
        trends: tuple[str, ...] = ("increase",)
    else:
        trends = ("decrease",) if wanted.loss else ("decrease", "loss")
    if quantity.trend in trends and quantity.value > 0:
        return quantity._replace(value=-quantity.value)
    return quantity


def in_units(quantity: Quantity, units: frozenset[str]) -> Quantity:
    """32,000 m as 32 km: ``quantity`` in ``units``, where both are metric and of one dimension."""
    if len(units) != 1 or len(quantity.measures) != 1 or units == quantity.measures:
        return quantity
    (unit,), (own,) = units, quantity.measures
    if unit not in METRIC or own not in METRIC or DIMENSION[unit] != DIMENSION[own]:
        return quantity
    factor = Fraction(10) ** (METRIC[own] - METRIC[unit])
    value, step = quantity.value * factor, quantity.step * factor
    return quantity._replace(value=value, step=step, measures=units)


def same_dimension(units: frozenset[str], others: frozenset[str]) -> bool:
    """Whether there are units, and each measures what one of the others measures."""
    dimensions = {DIMENSION.get(other) for other in others} if units else ()
    return bool(units) and all(DIMENSION.get(unit) in dimensions for unit in units)
