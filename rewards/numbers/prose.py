"""What the words around a number or date take back: negations, bounds, sums left undone.

Texts here have gone through ``tidy``. Every pattern has bounded repetition.
"""

from __future__ import annotations

import re

from qwenlong.rewards.text.denials import IS_NOT, NOT, WRONG

APPROXIMATE = frozenset(
    "≈ about approximately approx roughly around ca circa nearly almost ie rounds rounded"
    " aproximadamente unos etwa rund ungefähr लगभग करीब حوالي تقريبا نحو 约 約 大约 大約 约为 約為"
    " およそ 약".split()
)

_NOT = (
    rf"\b(?:{NOT}|{WRONG}|niemals|nie|falsch|außer|ausser"
    r"|sp[aä]testens|frühestens|excepto|salvo|incorrect[oa]|falso|err[oó]ne[oa]"
    r"|anything but|far from|other than|rather than|instead of|any number"
    r"|such as|y medi[oa]|einhalb|nor|cannot|nein|nunca|tampoco|ليس|ليست|غير|لا|unlike|twice|double"
    r"|triple|thrice|squared|cubed|root|log|ln|abs|square of|absolute value)(?!\w)(?!\.\d)"
    r"|[≠≉¬]|!(?==)|\|(?=[-−])"
    r"|(?<!(?:st|nd|rd|th|er) )(?:half(?: of)?|(?:third|quarter|fifth|tenth)s? of)(?: the)? "
    r"[(]?[-+−]?[$€£]?[-−]?[.]?\d"
    r"|\b(?:\d|one|two|three|four|five|seven|nine|tres|dos|zwei|drei|vier)[- ]"
    r"(?:thirds?|halves|half|quarter|fourths|fifths?|eighths?|tenths?|tercios?|cuartos|drittel)(?!\w)"
    rf"|n't\b|नहीं|{IS_NOT}|不为|不為|不等|而非|绝非|絕非|没有|沒有"
    r"|ではな|じゃな|でない|でな|아니|않"
)
_WORD = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty"
    r"|dos|tres|cuatro|cinco|diez|zwei|drei|vier|fünf|zehn|hundred|thousand|[mb]illion)"
)
_MONEY = r"(?:[a-z]{0,3}[$€£¥₹₩]|[a-z]{3}|rs\.?)"
_AMOUNT = rf"(?: ?(?:an?|the|about|some|around|of) )?[ (]{{0,2}}(?:{_MONEY})?[ (]{{0,2}}"
_BOUND_BEFORE = (
    r"(?:\b(?:over(?! (?:the )?(?:19|20)\d\d\b)|above|under|below|beyond|exceed(?:s|ed|ing)?"
    r"|(?:more|greater|less|fewer|higher|lower|larger|smaller|other) than|at (?:least|most)"
    r"|up to|minimum of|maximum of|upwards of|short of|m[aá]s de|menos de|al menos|por lo menos"
    r"|hasta|como (?:m[aá]ximo|mucho|m[ií]nimo)|a lo sumo|mehr als|weniger als"
    r"|über|unter|mindestens|höchstens|maximal|minimal"
    r"|कम से कम|से ज्यादा|से अधिक|اكثر من|اقل من|على الاقل)"
    r"|超过|超過|多于|多於|少于|少於|低于|低於|高于|高於|不到|至少|至多|大于|大於|小于|小於|最多|最少)"
)
_BOUND_AFTER = (
    r" ?%?(?: ?[^\s\d,.;()]{1,12}){0,2} ?"
    r"(?:or (?:more|less|higher|lower|fewer)|以上|以下"
    r"|以内|以內|未満|未滿|未满|を超|多万|余万|多元|余元|이상|이하|미만|초과|से अधिक|से कम|से ज्यादा"
    r"|o más|o menos|como m[aá]ximo|como m[ií]nimo|a lo sumo"
    r"|(?:or|and) (?:later|earlier|after|before)|onwards?"
    r"|at (?:the )?(?:latest|earliest|most|least)"
    r"|oder (?:später|früher)|sp[aä]testens|frühestens|höchstens|mindestens|o (?:después|antes)"
    r"|[多余餘여]"
    r"|oder (?:mehr|weniger)|and (?:above|over|under|below))"
)
_HAN_BOUND = (
    r"[一二三四五六七八九十百千万亿萬億][多余餘]|[数數几幾好][十百千万亿萬億]|上[百千万亿萬億]"
    r"|(?:수|몇 ?)[십백천만억]"
)
_TAKES_BACK = re.compile(_NOT)
_PROBLEM = re.compile(
    rf"(?P<not>{_NOT})|(?P<bound>{_BOUND_BEFORE}{_AMOUNT}[-+−]?[.]?\d|\d{_BOUND_AFTER}|{_HAN_BOUND}"
    r"|\d\+(?!\d)|[<>≤≥≦≧±])"
    r"|(?P<sum>[\\√∑^]|(?:^|\s)—(?=[$€£]?\d)|\d[-−]\s*$"
    r"|[^\W\d_] ?(?:\+|×|plus) [$€£]?\d|\d%? ?(?:\+ ?|plus )[^\W\d_])"
)
_WORDED_BOUND = re.compile(rf"{_BOUND_BEFORE}{_AMOUNT}{_WORD}\b|\b{_WORD}\b{_BOUND_AFTER}")
_DIGIT = re.compile(r"\d")
_PROBLEMS = {
    "not": "it says that a number is not the answer, or makes another number of it",
    "bound": "it gives a bound, not a number",
    "sum": "it leaves something to work out or to guess",
}
_APART_YEAR = re.compile(
    r"(?:\b(?:after|before|prior to|later than|earlier than|following|post-?|pre-?|nach|vor|avant"
    r"|après|tras|(?:antes|despu[eé]s) del?)|(?<!\w)(?:بعد|قبل))"
    r"(?: (?:the|dem|el|la))?(?: (?:year|end of|jahre?|año|عام|سنة))? ?((?:1[5-9]|2[01])\d\d)(?!\d)"
)
_EITHER = re.compile(
    r"\b(?:or|either|alternatively|o|oder|entweder|या|او)\b|或|または|あるいは|또는|혹은"
)
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
