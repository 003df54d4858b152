"""Folds away what does not distinguish two answers, and nothing that does.

What is folded, whatever the language: Unicode compatibility forms (NFKC, Unicode Standard Annex
15) with the exceptions below, case, white space, typographic quotes and dashes, invisible marks,
decimal digits of every script, thousands separators in whole groups (``8,515``).

Beyond that, by language:

- English: one leading article. Spanish and German articles depend on the question's language,
  for "Die Hard" and "La La Land" are English answers, too: see ``forms``.
- Chinese, Japanese: the spaces next to a character, the kinds of comma, quote and middle dot, and
  whole numbers written in numerals (十五, 壹佰, 二〇〇八), in sections of four digits, so that
  五百万 is 500万. Where a numeral may be part of a word (三国, 统一) or means "a few" (三四) it
  stays. Traditional and simplified characters are not made one beyond that.
- Korean: the spaces next to a syllable block.
- Arabic: vowel signs, tatweel, and the forms of alef. The article ال is part of its word: many
  words begin with the same two letters (المانيا). ى and ي, ة and ه distinguish words and stay.
- Hindi: the digits and the danda.

Accents and umlauts stay (``Café``); ß is ss, as case folding has it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from qwenlong.rewards.numbers.numerals import read_han
from qwenlong.rewards.numbers.words import HAN_DIGITS, HAN_UNITS
from qwenlong.rewards.tables import folds, table

_ARTICLES = ("a", "an", "the")
_QUOTES = {'"': '"', "'": "'", "«": "»", "»": "«", "‹": "›", "›": "‹", "《": "》", "〈": "〉"}
_QUOTES["`"] = "`"
# A leading full stop, a sign, % or # makes another answer (.5, -5, 5%, C#), so these stay.
_LEADING, _TRAILING = ",;:¿¡", ".,;:!?"
_NATIVE_ZEROS = "٠۰०০੦૦୦௦౦೦൦๐໐༠"


def _exceptions_of_nfkc() -> dict[str, str]:
    """What NFKC alone would make another answer: 4½ the number 41/2, ①② the number 12."""
    found = {chr(0x2460 + n): f"({n + 1})" for n in range(20)}
    for code in (0xBC, 0xBD, 0xBE, *range(0x2150, 0x215F), 0x2189):
        found[chr(code)] = " " + unicodedata.normalize("NFKC", chr(code)).replace("⁄", "/")
    for code in range(0x339F, 0x33A7):  # ㎟ to ㎦
        letters = unicodedata.normalize("NFKC", chr(code))
        found[chr(code)] = f"{letters[:-1]}^{letters[-1]}"
    return found


_FOLDED = str.maketrans(
    {
        **folds("everywhere"),
        # Arabic vowel signs and tatweel.
        **dict.fromkeys(map(chr, (*range(0x64B, 0x653), 0x670, 0x640)), ""),
        **{chr(ord(zero) + n): str(n) for zero in _NATIVE_ZEROS for n in range(10)},
        **_exceptions_of_nfkc(),
    }
)
_SUPERSCRIPTS = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789")
_SUPERSCRIPT = re.compile(r"[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,20}")
_NARROW_SPACE = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")
# Han with its iteration mark and zero, kana, Hangul.
_CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_ANY_CJK = re.compile(f"[{_CJK}]")
_BESIDE_CJK = re.compile(f" (?=[{_CJK}])|(?<=[{_CJK}]) |(?<=[{_CJK}][,;:!?.]) ")
# Tokenised sets such as OTT-QA write "Roanoke , Virginia", "Aristotle 's Poetics", "$ 236".
_LOOSE = re.compile(
    r" (?=[,;:!?)%]|\.(?: |$)|(?:'s|n't)(?!\w))|(?<=\() |(?<=[$€£¥#]) (?=\d)"
    r"|(?<=\d) (?=- \d)|(?<=\d -) (?=\d)|(?<=\d-) (?=\d)"
)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3}){1,8}(?![\d,])")
_POWER = re.compile(r"\^\{([+-]?\w{1,20})\}")
_AREA = re.compile(r"(?<![^\W\d_])([kcm]m)([23])(?!\w)")
_CHUNK = 256
_CITATION_ENDS = ("]", "】", ")", ".")
_CITATIONS = re.compile(
    r"(?<=\S)\s{0,2}(?:(?:\[\^?\d{1,3}\]|【\d{1,3}】"
    r"|[(\[](?:document|doc|passage) \d{1,3}[)\]])[ ,]{0,2}){1,20}\.?$",
    re.IGNORECASE,
)


def normalise(text: str) -> str:
    """``text`` as it is compared for equality: ``folded``, without an English article."""
    text = folded(text)
    article, _, rest = text.partition(" ")
    # A letter is no article: the motorway A 7, the pair A B.
    letter = article == "a" and (rest.isdigit() or len(rest) < 2)
    if article in _ARTICLES and rest not in _ARTICLES and not letter:
        return _strip(rest) or text
    return text


def folded(text: str) -> str:
    """``text`` with everything folded but articles; see the module.

    Strips punctuation and paired quotes around the whole. An answer that is nothing but
    punctuation stays as it is: no text with a visible character becomes empty.
    """
    if not text.isascii():
        text = _compatible(text)
    text = _LOOSE.sub("", " ".join(text.casefold().split()))
    if not text.isascii() and _ANY_CJK.search(text):
        text = _BESIDE_CJK.sub("", text)
    text = _strip(text) or text
    text = _POWER.sub(r"^\1", text) if "^" in text else text
    text = _AREA.sub(r"\1^\2", text) if "m2" in text or "m3" in text else text
    if "," in text:
        text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    if not text.isascii():
        text = _with_digits(text)
    return text


def uncited(text: str) -> str:
    """``text`` without the citations behind it: "Paris [1][2]", "Paris (Document 3)"."""
    if not text.endswith(_CITATION_ENDS):
        return text
    at = max(0, len(text) - 200)
    return text[:at] + _CITATIONS.sub("", text[at:])


def tokens(normalised: str) -> list[str]:
    """Words of a normalised text, and each Chinese, Japanese or Korean character by itself."""
    return _TOKEN.findall(normalised)


_TOKEN = re.compile(
    f"[{_CJK}]|[^\\s{_CJK}" + re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»‹›《》〈〉·") + "]+"
)


def _compatible(text: str) -> str:
    text = _SUPERSCRIPT.sub(lambda run: "^" + run[0].translate(_SUPERSCRIPTS), text)
    text = _NARROW_SPACE.sub("", text).translate(_FOLDED)
    # Unicode normalisation is quadratic in a run of combining marks, so not all in one.
    chunks = (text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK))
    return "".join(
        unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", chunk).casefold())
        for chunk in chunks
    ).translate(_FOLDED)


def _strip(text: str) -> str:
    # Quotes within quotes go two deep in practice; more rounds would not be linear.
    for _ in range(3):
        text = text.lstrip(_LEADING + " ").rstrip(_TRAILING + " ")
        if len(text) < 2 or _QUOTES.get(text[0]) != text[-1]:
            break
        text = text[1:-1]
    return text


_COUNTERS = "年月日号號个個人次名位岁歲种種倍天时時届屆章条條件本歳回つ"
_NUMERAL = re.compile(f"[{''.join(HAN_DIGITS)}{''.join(HAN_UNITS)}]{{1,24}}")
_PAIR = re.compile(
    f"(?<![\\d{''.join(HAN_DIGITS)}{''.join(HAN_UNITS)}万亿])[两兩](?=[百千万亿{_COUNTERS}])"
)
_LARGE = str.maketrans("萬億", "万亿")
_LARGE_UNIT = re.compile("(?<=[\\d" + "".join(HAN_DIGITS) + "十百千拾佰仟两])[萬億]")
_PERCENT = re.compile(r"百分之(\d{1,9}(?:\.\d{1,9})?)(?!\d)")


# A number of up to four digits: 一千零五, 千九百, 十五. 一百五 is no clear one: 150 to some.
_DIGIT, _ZERO = f"[{''.join(HAN_DIGITS)}]", "[〇零○]"
_SECTION = re.compile(
    rf"(?=[十拾]|.*{_DIGIT})(?:{_DIGIT}?[千仟])?(?:{_ZERO}*{_DIGIT}?[百佰])?"
    rf"(?:{_ZERO}*{_DIGIT}?[十拾])?{_ZERO}*(?:(?<=[十拾〇零○]){_DIGIT})?"
)


def _with_digits(text: str) -> str:
    """``text`` with its Chinese whole numbers in digits."""
    if text in ("两", "兩"):
        return "2"
    text = _LARGE_UNIT.sub(lambda unit: unit[0].translate(_LARGE), text)
    text = _NUMERAL.sub(_digits_of, _PAIR.sub("二", text))
    return _PERCENT.sub(r"\1%", text)


def _digits_of(match: re.Match[str]) -> str:
    """A numeral in digits; as it stands where it may be no number."""
    numeral, text = match[0], match.string
    before = text[match.start() - 1] if match.start() else ""
    after = text[match.end() : match.end() + 1]
    if len(numeral) == 1:
        counted = after in _COUNTERS + "万亿" if after else not before
        if before.isdigit() or before in tuple("万亿") or not (counted or before in ("第", "之")):
            return numeral
        return numeral if numeral in "百佰千仟" else str(HAN_DIGITS.get(numeral, 10))
    if all(character in HAN_DIGITS for character in numeral):
        plain = "".join(str(HAN_DIGITS[character]) for character in numeral)
        # 三四 is "three or four"; 二〇 and 一九九八 are read digit by digit.
        return plain if len(plain) > 2 or plain[1] == "0" else numeral
    number = read_han(numeral, colloquial=False) if _SECTION.fullmatch(numeral) else None
    return str(number.value) if number else numeral


_LANGUAGES = {name: frozenset(words.split()) for name, words in table("languages").items()}
_WORD = re.compile(r"[^\W\d_]{1,12}")


@lru_cache(maxsize=4096)
def language_of(question: str) -> str:
    """``"es"`` or ``"de"`` where the question's small words are mostly of it, else ``""``."""
    if "¿" in question:
        return "es"
    words = _WORD.findall(question[:400].casefold())
    counts = {name: sum(map(small.__contains__, words)) for name, small in _LANGUAGES.items()}
    best = max(("es", "de"), key=lambda language: counts[language])
    return best if counts[best] >= 2 and counts[best] > counts["en"] else ""
