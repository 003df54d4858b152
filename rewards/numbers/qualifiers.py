"""What the words around a number or date change: negations, bounds, sums left undone.

The words are in ``tables/qualifiers.toml``. Texts here have gone through ``canonical``. Every
pattern has bounded repetition.
"""

from __future__ import annotations

import re

from qwenlong.rewards.tables import alternatives, patterns, table

_TABLE = table("qualifiers")
_BOUNDS = {name: alternatives(lines) for name, lines in _TABLE["bounds"].items()}
APPROXIMATE = frozenset(_TABLE["approximate"]["words"].split())
"""A number behind one of them restates another one."""


def _denials() -> str:
    shared = patterns("denials")
    words, signs, han = map(alternatives, _TABLE["denials"].values())
    return (
        rf"\b(?:{shared['not']}|{shared['wrong']}|{words})(?!\w)(?!\.\d)"
        rf"|{signs}|{shared['is_not']}|{han}"
    )


# Between "more than" and its number: "more than about $ 5".
_MONEY = r"(?:[a-z]{0,3}[$€£¥₹₩]|[a-z]{3}|rs\.?)"
_AMOUNT = rf"(?: ?(?:an?|the|about|some|around|of) )?[ (]{{0,2}}(?:{_MONEY})?[ (]{{0,2}}"
_BOUND_BEFORE = rf"(?:\b(?:{_BOUNDS['before_words']})|{_BOUNDS['before_han']})"
_BOUND_AFTER = rf" ?%?(?: ?[^\s\d,.;()]{{1,12}}){{0,2}} ?(?:{_BOUNDS['after']})"
_WORD = f"(?:{_BOUNDS['number_words']})"
_TAKES_BACK = re.compile(_denials())
_PROBLEM = re.compile(
    rf"(?P<not>{_denials()})"
    rf"|(?P<bound>{_BOUND_BEFORE}{_AMOUNT}[-+−]?[.]?\d|\d{_BOUND_AFTER}|{_BOUNDS['chinese']}"
    r"|\d\+(?!\d)|[<>≤≥≦≧±])"
    r"|(?P<sum>[\\√∑^]|(?:^|\s)—(?=[$€£]?\d)|\d[-−]\s*$"
    r"|[^\W\d_] ?(?:\+|×|plus) [$€£]?\d|\d%? ?(?:\+ ?|plus )[^\W\d_])"
)
# "more than two" has no digit.
_WORDED_BOUND = re.compile(rf"{_BOUND_BEFORE}{_AMOUNT}{_WORD}\b|\b{_WORD}\b{_BOUND_AFTER}")
_DIGIT = re.compile(r"\d")
_PROBLEMS = {
    "not": "it says that a number is not the answer, or makes another number of it",
    "bound": "it gives a bound, not a number",
    "sum": "it leaves something to work out or to guess",
}
_APART_YEAR = re.compile(
    f"(?:{alternatives(_TABLE['years']['before_or_after'])})"
    r"(?: (?:the|dem|el|la))?(?: (?:year|end of|jahre?|año|عام|سنة))? ?((?:1[5-9]|2[01])\d\d)(?!\d)"
)
_EITHER = re.compile(alternatives(_TABLE["either"]["words"]))
# What stands before the last of these is workings; the result stands behind it.
SEGMENT = re.compile(r"={1,3}>?|[≈≃≅→⇒]")


def offers_choice(text: str) -> bool:
    """Whether there is an "or" in it, in whatever language."""
    return bool(_EITHER.search(text.lower()))


def takes_back(text: str) -> str:
    """The problem where ``text``, which stands before an equals sign, denies or leaves a choice."""
    if _TAKES_BACK.search(text.lower()):
        return _PROBLEMS["not"]
    return "it offers a choice of numbers" if offers_choice(text) else ""


def problem_of(text: str) -> str:
    """Why no number in ``text`` is claimed as it stands; empty where nothing speaks against it."""
    text = text.lower()
    match = _PROBLEM.search(text)
    if match:
        return _PROBLEMS[str(match.lastgroup)]
    worded = not _DIGIT.search(text) and _WORDED_BOUND.search(text)
    return _PROBLEMS["bound"] if worded else ""


def year_apart(text: str) -> str:
    """The year in "after 1998", which is not that year; empty where there is none."""
    match = _APART_YEAR.search(text.lower())
    return match[1] if match else ""
