"""Rewrites digits, signs and LaTeX in one way, for reading numbers and dates.

Callers cut what is too long first: Unicode normalisation is quadratic in combining marks.
"""

from __future__ import annotations

import re
import unicodedata

from qwenlong.rewards.numbers.words import NUMBER_WORDS
from qwenlong.rewards.tables import alternatives, folds, table

_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
_VOWEL_SIGNS = map(chr, range(0x064B, 0x0660))
_FOLDED = str.maketrans(
    {
        **folds("in_numbers"),
        **dict.fromkeys(_VOWEL_SIGNS, ""),
        **{vulgar: unicodedata.normalize("NFKC", vulgar) for vulgar in _VULGAR},
    }
)
_AFTER_DIGIT = re.compile(rf"(?<=\d)(?=[{_VULGAR}])")
_SUPERSCRIPT = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,6}")
_LOWERED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789")
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")

# In the order of the table: spaces and brackets first, so that the patterns behind need not
# expect them.
_LATEX = [(re.compile(alternatives(latex)), plain) for latex, plain in table("latex")["plain"]]
# $…$ around mathematics goes; $5 and $6 stay, because a digit follows the second sign.
_MATHS = re.compile(r"\$(?=[^\s$])([^$]{1,300})(?<=\S)\$(?!\d)")
_EMPHASIS = re.compile(r"(?<![\d*])\*(?=\S)([^*]{1,300})(?<=\S)\*(?!\d)")
_POWER = r"10 ?(?:\^ ?|\*\*)[{(]? ?([-+−]?) ?(\d{1,6})(?!\d)(?: ?[)}])?"
_TIMES_TEN = re.compile(rf"(?<=\d) ?[×x*·⋅✕] ?{_POWER}")
_TEN = re.compile(rf"(?<![\w.,^/]){_POWER}")
_AREA = re.compile(r"(?<=[a-z])\^([23])(?!\d)")


def canonical(text: str) -> str:
    """``text`` with ASCII digits, NFKC letters, ``-`` for dashes (a true minus ``−`` stays).

    LaTeX becomes plain text where it has one (a backslash that stays is something else),
    ``1.2 × 10^3`` becomes ``1.2e3``, ``½`` becomes ``1/2``, and emphasis goes.
    """
    if not text.isascii():
        text = _SUPERSCRIPT.sub(lambda power: "^" + power[0].translate(_LOWERED), text)
        text = _AFTER_DIGIT.sub(" ", text).translate(_FOLDED)
        text = unicodedata.normalize("NFKC", text).translate(_FOLDED)
        text = _FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)
    if "\\" in text:
        # An escaped dollar is money, a plain one opens or closes mathematics.
        text = text.replace("\\$", "\0dollar")
        for _ in range(2):  # a \\text within a \\boxed
            for pattern, plain in _LATEX:
                text = pattern.sub(plain, text)
    if "$" in text and text.count("$") > 1:
        text = _MATHS.sub(r"\1", text.replace("$$", "$"))
    text = text.replace("\0dollar", "$").replace("{,}", ",")
    if "^" in text or "**" in text:
        text = _AREA.sub(r"\1", _TEN.sub(r"1e\1\2", _TIMES_TEN.sub(r"e\1\2", text)))
    if "*" in text:
        text = _EMPHASIS.sub(r"\1", text.replace("**", ""))
    for mark in "`{}":
        text = text.replace(mark, "")
    return " ".join(text.replace("__", "").replace("~", " ").split())


_PHRASES = tuple(
    (re.compile(alternatives(each["phrase"]), re.IGNORECASE), each["word"])
    for each in table("phrases")["phrases"]
)
# A quick test: most answers have none of the phrases, and trying all of them is slow.
_HAS_PHRASE = re.compile(
    r"cent|point|cien|punto|الم|dolla|dólar|U\.?S|دولار|pound|degree|i\.? ?e\.|:1", re.I
)


def one_word(text: str) -> str:
    """Phrases of several words that mean one: per cent, percentage points, US dollars."""
    if _HAS_PHRASE.search(text):
        for phrase, word in _PHRASES:
            text = phrase.sub(word, text)
    return text


_ONES = {word: str(number) for word, number in NUMBER_WORDS["en"].items() if 0 < number < 13}
_PARTS = {"half": "1/2", "third": "1/3", "quarter": "1/4", "three quarters": "3/4"}
_PART = r"(half|third|quarter|three quarters)"
_AND_A_HALF = re.compile(
    rf"\b(?:({'|'.join(_ONES)})|(?<![\d.,/])(\d{{1,9}}))(?: and |-and-)(?:an?[ -]|one[ -])?{_PART}"
    rf"(?![\w-])",
    re.IGNORECASE,
)
# "a thousand" is 1 thousand, but "half a thousand" and "5 a thousand" are left alone.
_A_HUNDRED = re.compile(
    r"(?<!half )(?<![\d%] )(?<!\w-)\ban? (?=(?:hundred|thousand|dozen|[mb]illion)\b)", re.IGNORECASE
)
_LONE_PART = re.compile(
    r"(?:(?:a |one )(half|third|quarter)|(half|three quarters))(?= ?\(|[ .]*$)", re.IGNORECASE
)
_NONE = re.compile(
    r"(?:there (?:was|were|are|is) )?(?:none|nil)(?: at all)?[ .]*|keine[rs]?[ .]*|ningun[oa][ .]*",
    re.IGNORECASE,
)
_TENTHS = re.compile(r"([\d一二三四五六七八九])([成割])([\d一二三四五六七八九])分?(?![\d十百千])")
_POINT = re.compile(r"(?<=\d)[点點](?=\d)(?!\d{1,2}分)")
_WORDED = ("half", "third", "quarter", "hundred", "thousand", "dozen", "illion")
_TWENTIES = str.maketrans({"廿": "二十", "卅": "三十"})


def in_digits(text: str) -> str:
    """Two and a half, a hundred, a quarter, 一半, 七成五 and 廿 in digits."""
    if len(text) > 3 and any(map(text.lower().__contains__, _WORDED)):
        text = _AND_A_HALF.sub(_with_part, text)
        text = _A_HUNDRED.sub("1 ", text)
        lone = _LONE_PART.match(text)
        if lone:
            text = _PARTS[(lone[1] or lone[2]).lower()] + text[lone.end() :]
    if text.isascii():
        return text
    if "成" in text or "割" in text:
        text = _TENTHS.sub(_tenths, text)
    if "点" in text or "點" in text:
        text = _POINT.sub(".", text)
    if "廿" in text or "卅" in text:
        text = text.translate(_TWENTIES)
    return "1/2" if text.rstrip(" .。") == "一半" else text


def _with_part(match: re.Match[str]) -> str:
    whole = _ONES[match[1].lower()] if match[1] else match[2]
    return f"{whole} {_PARTS[match[3].lower()]}"


def _tenths(match: re.Match[str]) -> str:
    tenths, hundredths = ("零一二三四五六七八九".find(match[n]) for n in (1, 3))
    tenths = tenths if tenths > 0 else int(match[1])
    hundredths = hundredths if hundredths > 0 else int(match[3])
    return f"{tenths}.{hundredths}{match[2]}"


def says_none(text: str) -> bool:
    """Whether it is "none", which is 0 where a count is asked for."""
    return bool(_NONE.fullmatch(text))


_ASIDES = {name: alternatives(lines) for name, lines in table("phrases")["asides"].items()}
REFERENCE = re.compile(_ASIDES["references"], re.IGNORECASE)
"""Footnotes, [3], and places in the documents, Table 2."""
_ASIDE = re.compile("|".join(_ASIDES.values()), re.IGNORECASE)


def drop_asides(text: str) -> str:
    """Removes references, workings in parentheses, periods and rounding, if digits remain."""
    if " " not in text and "(" not in text and "[" not in text:
        return text
    without = _ASIDE.sub(" ", text)
    return without if any(map(str.isdigit, without)) else text
