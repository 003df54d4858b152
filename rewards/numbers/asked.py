"""What the question says about how its answer is written: scale, percent, sign, unit, language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from qwenlong.rewards.numbers.quantities import Quantity, read
from qwenlong.rewards.numbers.units import DIMENSION, MEANINGS, METRIC, SIGNS

_LONGEST = 4000
PERCENT, BASIS_POINT = Fraction(1, 100), Fraction(1, 10000)

_SCALE = re.compile(
    r"\b(?:in|en|how many)(?: the| of)? ?(?:u\.?s\.? ?\$?|usd|eur|[$€£₹]|rs\.?)? ?"
    r"(thousands?|millions?|billions?|trillions?|lakhs?|crores?|tausend|millionen|milliarden"
    r"|mi[lo]\b|mrd\b|miles de millones|miles|millones)\b"
    r"|(?:单位|單位|単位|단위|多少|以|几|幾|何|몇) ?[:：]? ?([十百千万亿萬億兆십백천만억조]{1,3})",
    re.IGNORECASE,
)
_PERCENT = re.compile(
    r"(?<!\d)(?<!\d[ -])(?:\bper ?cent|\bpct\b|prozent|porcentaje|por ?cien|百分|パーセント|퍼센트"
    r"|प्रतिशत|مئوية)"
    r"|\bwhat (?:is|was|were|are|would be) (?:the )?(?:[a-z]{1,20} ){0,3}"
    r"(?:rate|margin|yield|growth)\b"
    r"|比例|比率|利率|増加率|成長率|增长率|비율|증가율|성장률|दर क्या|معدل|نسبة",
    re.IGNORECASE,
)
_NO_MOVES = frozenset("up down lower higher".split())
"""In a question they say little of what is asked: "up to 2019", "the lower of both"."""


def _moves(*kinds: str) -> str:
    """The words by which an answer has its sign, within a question; some scripts have no spaces."""
    words = [word for kind in kinds for word in SIGNS[kind].split() if word not in _NO_MOVES]
    spaced = "|".join(word for word in words if word < "\u0400")
    return rf"\b(?:{spaced})\b|" + "|".join(word for word in words if word >= "\u0400")


_DOWN = re.compile(_moves("decrease", "loss"), re.IGNORECASE)
_LOSS = re.compile(_moves("loss"), re.IGNORECASE)
_EITHER_WAY = re.compile(
    r"\b(?:chang\w+|incomes?|variation|differences?|cambi\w+|aument\w+|(?:ver)?[aä]nder\w+)\b"
    r"|变化|變化|変化|增减|增減|変動|变动|증감|변화|बदलाव|تغير|" + _moves("increase"),
    re.IGNORECASE,
)
_YEAR = re.compile(
    r"\b(?:which|what|in what|in which)(?: fiscal| financial| calendar)? years?\b(?! over)"
    r"|[哪何]一?年|어느 해|몇 년도|qu[eé] año|welche[ms] jahr|किस (?:वर्ष|साल)|أي (?:عام|سنة)",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"\b(?:in|how many|wie viele|cu[aá]nt[oa]s)"
    r"(?: (?:the|us|u\.s\.|of|thousands?|millions?|billions?)){0,3} ([^\W\d_]{1,20})",
    re.IGNORECASE,
)
_METRES = re.compile(
    r"\b(?:met(?:re|er)s?|heights?|lengths?|widths?|depths?|distances?|elevation|altitude"
    r"|how (?:long|tall|high|far|deep|wide)|wie (?:lang|hoch|weit|tief|breit)|länge|höhe|tiefe"
    r"|metros|altura|longitud|profundidad|anchura)\b|(?<!增)[长長高深宽寬]度?是?多少|多[长長高深宽寬远遠]|मीटर|متر",
    re.IGNORECASE,
)
_BASIS_POINTS = re.compile(r"\bbasis[- ]points?\b|\bbps?\b|基点|基點|puntos básicos", re.IGNORECASE)
_HOW_MANY = re.compile(r"\bhow many\b", re.IGNORECASE)
_COUNT = re.compile(r"\b(?:how many|wie ?viele|cu[aá]nt[oa]s)\b", re.IGNORECASE)
_ABOUT_MONEY = re.compile(
    r"\b(?:revenues?|costs?|prices?|profits?|sales|incomes?|loss(?:es)?|budgets?|spen[dt]|spending|paid"
    r"|pay|payments?|worth|values?|cash|debts?|assets|funds?|fees?|earn\w*|expens\w+|umsatz|kosten"
    r"|preis|gewinn|ingresos|coste|precio|millions?|amount)\b",
    re.IGNORECASE,
)
_MONEY = re.compile(
    r"[$€£¥₹]|\b(?:dollars?|euros?|pounds|usd|eur|rupees|yuan|yen)\b", re.IGNORECASE
)
_GERMAN = re.compile(
    r"\b(?:wie|wieviele?|welche[rsnm]?|beträgt|betrug|wurden?|und|der|das)\b", re.I
)


@dataclass(frozen=True)
class Asked:
    """What a question wants."""

    scale: Fraction | None = None
    """"in millions": how a number without a scale is to be read."""
    percent: bool = False
    """It asks for a percentage, if by another name: a growth rate, a margin."""
    share: Fraction = PERCENT
    """What one of a percentage without its sign is worth: 1/10000 in basis points."""
    none: bool = False
    """It asks for a count, so that "none" is 0."""
    money: bool = False
    """It speaks of money, so that 5m is five million."""
    count: bool = False
    """It asks how many, and not of money."""
    down: bool = False
    """It asks how much something fell, so that "a decrease of 5" is 5."""
    loss: bool = False
    """It speaks of losses, so that an answer that does, too, says nothing by it."""
    year: bool = False
    metres: bool = False
    measures: frozenset[str] = frozenset()
    style: str = "."
    """The decimal sign of its language; empty where that differs from country to country."""


@lru_cache(maxsize=4096)
def asked_by(question: str) -> Asked:
    question = question[:_LONGEST]
    scale = _SCALE.search(question)
    points = bool(_BASIS_POINTS.search(question))
    measures: set[str] = set()
    for match in _UNIT.finditer(question):
        word = match[1].lower()
        meaning = MEANINGS.get(word)
        if meaning and meaning.kind == "measure" and word != "second":
            measures |= meaning.measures
    return Asked(
        scale=_factor(scale[1] or scale[2]) if scale else None,
        percent=not scale and (points or bool(_PERCENT.search(question))),
        share=BASIS_POINT if points else PERCENT,
        none=bool(_COUNT.search(question)),
        money=bool(_MONEY.search(question) or _ABOUT_MONEY.search(question)),
        count=bool(_HOW_MANY.search(question)) and not _MONEY.search(question),
        down=bool(_DOWN.search(question)) and not _EITHER_WAY.search(question),
        loss=bool(_LOSS.search(question)),
        year=bool(_YEAR.search(question)),
        metres=bool(_METRES.search(question)),
        measures=frozenset(measures),
        style="" if "¿" in question else "," if len(_GERMAN.findall(question)) > 1 else ".",
    )


def _factor(words: str) -> Fraction | None:
    words = {"miles de millones": "mil millones"}.get(words.lower(), words)
    claims = read(f"1 {words}").claims
    return claims[0].value if claims else None


def signed(quantity: Quantity, asked: Asked) -> Quantity:
    """With the sign that "a decrease of" gives it, or "an increase of" to a decrease."""
    wanted = ("increase",) if asked.down else ("decrease",) if asked.loss else ("decrease", "loss")
    if quantity.trend in wanted and quantity.value > 0:
        return quantity._replace(value=-quantity.value)
    return quantity


def in_units(quantity: Quantity, units: frozenset[str]) -> Quantity:
    """32,000 m in kilometres, where both units are metric ones of one dimension."""
    if len(units) != 1 or len(quantity.measures) != 1 or units == quantity.measures:
        return quantity
    (unit,), (own,) = units, quantity.measures
    if unit not in METRIC or own not in METRIC or DIMENSION[unit] != DIMENSION[own]:
        return quantity
    factor = Fraction(10) ** (METRIC[own] - METRIC[unit])
    value, step = quantity.value * factor, quantity.step * factor
    return quantity._replace(value=value, step=step, measures=units)


def same_dimension(units: frozenset[str], others: frozenset[str]) -> bool:
    """Whether the first are some, and each of them measures what one of the others does."""
    dimensions = {DIMENSION.get(other) for other in others} if units else ()
    return bool(units) and all(DIMENSION.get(unit) in dimensions for unit in units)
