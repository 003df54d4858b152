"""What the words next to a number mean: scales, percent, currencies, units, signs.

The words of all languages are in one table, ``tables/units.toml``.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from qwenlong.rewards.numbers.words import COMPOUNDS, ENGLISH_MONTHS, NO_NUMBERS, NUMBER_WORDS
from qwenlong.rewards.tables import table

CJK = "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a word does to the number next to it."""

    kind: str
    """``scale``, ``percent``, ``measure``, ``power``, ``per``, ``minus``, ``decrease``,
    ``loss``, ``increase``, ``to``, ``in``, ``month``, ``year`` (a word before a year),
    ``number``, ``letter`` (m, mm, t), ``ordinal``, ``stop`` (a word that is no unit),
    ``fraction`` or ``over`` (分之)."""
    amount: Fraction = Fraction(1)
    measures: frozenset[str] = frozenset()
    """All that the word may stand for: a bare ``$`` is any dollar."""
    lang: str = ""
    """Languages in which the words of a scale leave ``1.234`` ambiguous."""


_TABLE = table("units")
SIGNS: dict[str, str] = _TABLE["signs"] | {"month": " ".join(ENGLISH_MONTHS)}
METRIC: dict[str, int] = _TABLE["metric"]
"""Powers of ten by which units of one dimension differ."""


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text)
    return list(dict.fromkeys([*folded.split(), *text.split()]))


def _meanings() -> dict[str, Meaning]:
    found: dict[str, Meaning] = {}

    def add(words: str, meaning: Meaning) -> None:
        found.update(dict.fromkeys(_words(words), meaning))

    for kind in ("stop", "year"):  # first, because other kinds say more of the same word
        add(SIGNS[kind], Meaning(kind))
    for kind, words in SIGNS.items():
        if kind not in ("stop", "year"):
            add(words, Meaning(kind))
    languages = {
        word: lang for lang, words in _TABLE["scale_languages"].items() for word in _words(words)
    }
    for factor, words in _TABLE["scales"].items():
        for word in _words(words):
            lang = languages.get(word, "")
            found[word] = Meaning("scale", Fraction(factor), lang=lang)
    for share, words in _TABLE["shares"].items():
        add(words, Meaning("percent", Fraction(share)))
    for codes, words in _TABLE["currencies"].items():
        add(words, Meaning("measure", measures=frozenset(codes.split())))
    for units in _TABLE["units"].values():
        for unit, words in units.items():
            add(words, Meaning("measure", measures=frozenset([unit])))
    for numbers in (*NUMBER_WORDS.values(), COMPOUNDS):
        for word, number in numbers.items():
            if word not in NO_NUMBERS:
                add(word, Meaning("number", Fraction(number)))
    return found


MEANINGS = _meanings()
DIMENSION = {
    **{unit: dimension for dimension, units in _TABLE["units"].items() for unit in units},
    **{code: "currency" for codes in _TABLE["currencies"] for code in codes.split()},
}
DIMENSION["lb"] = "mass"  # pounds may be money, but lb is not
CURRENCIES = frozenset(code for code, dimension in DIMENSION.items() if dimension == "currency")
GLUED = tuple(sorted((word for word in MEANINGS if word[0] >= "\u1100"), key=len, reverse=True))
"""Words of scripts that put no space between words: the longest is tried first."""
