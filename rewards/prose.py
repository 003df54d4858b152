"""What the words around a number take back: negations, bounds, workings, phrases for percent.

Texts here have gone through ``tidy``. Every pattern has bounded repetition.
"""

from __future__ import annotations

import re

APPROXIMATE = frozenset(
    "≈ about approximately approx roughly around ca circa nearly almost ie rounds rounded"
    " aproximadamente unos etwa rund ungefähr लगभग करीब حوالي تقريبا نحو 约 約 大约 大約 约为 約為"
    " およそ 약".split()
)

_NOT = (
    r"\b(?:not|never|neither|nor|cannot|no|wrong|incorrect|nicht|kein\w{0,2}|nein|weder|nunca|ni"
    r"|tampoco|नहीं|ليس|ليست|غير|لا|twice|double|triple|thrice|squared|cubed|root)(?!\w)(?!\.\d)"
    r"|n't\b|नहीं|不是|不为|不為|不等|不对|不對|并非|並非|而非|绝非|絕非|没有|沒有"
    r"|ではな|じゃな|でない|でな|아니|않"
)
_MONEY = r"(?:[A-Z]{0,3}[$€£¥₹₩]|[A-Z]{3}|[Rr]s\.?)"
_AMOUNT = (
    rf"(?: ?(?:an?|the|about|some|around|of) )?[ (]{{0,2}}(?:{_MONEY})?[ (]{{0,2}}[-+−]?[.]?\d"
)
_BOUND_BEFORE = (
    r"(?:\b(?:over(?! (?:19|20)\d\d\b)|above|under|below|beyond|exceed(?:s|ed|ing)?"
    r"|(?:more|greater|less|fewer|higher|lower|larger|smaller|other) than|at (?:least|most)"
    r"|up to|minimum of|maximum of|upwards of|short of|m[aá]s de|menos de|al menos|por lo menos"
    r"|hasta|mehr als|weniger als|über|unter|mindestens|höchstens|maximal|minimal"
    r"|कम से कम|से ज्यादा|से अधिक|اكثر من|اقل من|على الاقل)"
    r"|超过|超過|多于|多於|少于|少於|低于|低於|高于|高於|不到|至少|至多|大于|大於|小于|小於|最多|最少)"
)
_BOUND_AFTER = (
    r"\d ?%?(?: ?[^\s\d,.;()]{1,12}){0,2} ?(?:or (?:more|less|higher|lower|fewer)|以上|以下"
    r"|以内|以內|未満|未滿|未满|を超|多万|余万|多元|余元|이상|이하|미만|초과|से अधिक|से कम|से ज्यादा"
    r"|o más|o menos"
    r"|[多余餘여]"
    r"|oder (?:mehr|weniger)|and (?:above|over|under|below))"
)
_TAKES_BACK = re.compile(_NOT, re.IGNORECASE)
_PROBLEM = re.compile(
    rf"(?P<not>{_NOT})|(?P<bound>{_BOUND_BEFORE}{_AMOUNT}|{_BOUND_AFTER}|\d\+(?!\d)|[<>≤≥≦≧±])"
    r"|(?P<sum>[\\√∑^])",
    re.IGNORECASE,
)
_PROBLEMS = {
    "not": "it says that a number is not the answer, or makes another number of it",
    "bound": "it gives a bound, not a number",
    "sum": "it leaves something to work out",
}
EITHER = re.compile(
    r"\b(?:or|either|alternatively|o|oder|entweder|या|او)\b|或|または|あるいは|또는|혹은",
    re.IGNORECASE,
)
SEGMENT = re.compile(r"={1,3}>?|[≈≃≅→⇒]")
_WORKINGS = re.compile(
    r"\((?=[^()]{0,80}\d%? ?[-+×*/÷−] ?[$€£]?[\d(])[-\d\s.,$€£%+×*/÷−=≈]{3,80}\)"
    r"|\[\d{1,3}(?:[ ,-]{1,2}\d{1,3}){0,5}\]"
)
_PHRASES = (
    (
        re.compile(r"\bper ?cent(?:age)?[- ]points?\b|\bpercent[- ]points?\b|%[- ]points?\b", re.I),
        "%",
    ),
    (re.compile(r"\bpercentage[- ]points?\b", re.I), "%"),
    (re.compile(r"\bper cent\b|\bpor ?cien(?:to)?\b|\bpor cento\b|\bpour cent\b", re.I), "%"),
    (re.compile(r"\bpuntos porcentuales\b|في ?الم(?:ئ|ائ|ي)[ةه]|بالم(?:ئ|ائ|ي)[ةه]", re.I), "%"),
    (re.compile(r"\bbasis[- ]points?\b|\bpuntos básicos\b", re.I), "bps"),
    (re.compile(r"\b(?:U\.?S\.?|United States|American) dollars?\b", re.I), "USD"),
    (re.compile(r"\bdólares estadounidenses\b|\bUS-Dollar\b|دولار امريكي", re.I), "USD"),
    (re.compile(r"\bU\.?S\.? ?\$"), "US$"),
    (re.compile(r"\bHong Kong dollars?\b", re.I), "HKD"),
    (re.compile(r"\bCanadian dollars?\b", re.I), "CAD"),
    (re.compile(r"\bAustralian dollars?\b", re.I), "AUD"),
    (re.compile(r"\bSingapore dollars?\b", re.I), "SGD"),
    (re.compile(r"\bpounds? sterling\b|\bBritish pounds?\b", re.I), "GBP"),
    (re.compile(r"\bdegrees? (?=celsius|fahrenheit)", re.I), ""),
    (re.compile(r"\bi\.? ?e\.(?!\w)", re.I), "ie"),
)
_HAS_PHRASE = re.compile(
    r"cent|point|cien|punto|الم|dolla|dólar|U\.?S|دولار|pound|degree|i\.? ?e\.", re.I
)


def one_word(text: str) -> str:
    """Phrases of several words that mean one: per cent, percentage points, US dollars."""
    if _HAS_PHRASE.search(text):
        for phrase, word in _PHRASES:
            text = phrase.sub(word, text)
    return text


def drop_workings(text: str) -> str:
    """Without sums in parentheses, (41 - 6), and footnotes, [3], where digits remain."""
    if "(" not in text and "[" not in text:
        return text
    without = _WORKINGS.sub(" ", text)
    return without if any(map(str.isdigit, without)) else text


def takes_back(text: str) -> str:
    """The problem where ``text``, which stands before an equals sign, denies or leaves a choice."""
    if _TAKES_BACK.search(text):
        return _PROBLEMS["not"]
    return "it offers a choice of numbers" if EITHER.search(text) else ""


def problem_of(text: str) -> str:
    """Why no number in ``text`` is claimed as it stands; empty where nothing speaks against it."""
    match = _PROBLEM.search(text)
    return _PROBLEMS[str(match.lastgroup)] if match else ""
