"""Number words by language, and the numerals of Chinese."""

from __future__ import annotations

_FROM_ZERO = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    " fifteen sixteen seventeen eighteen nineteen",
    "es": "cero uno/un/una dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce"
    " quince dieciséis diecisiete dieciocho diecinueve veinte",
    "de": "null eins/ein/eine zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn"
    " vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn zwanzig",
    "hi": "शून्य एक दो तीन चार पांच/पाँच छह/छः सात आठ नौ दस ग्यारह बारह",
    "ar": "صفر واحد اثنان/اثنين ثلاثة/ثلاث اربعة/اربع خمسة/خمس ستة/ست سبعة/سبع ثمانية/ثماني"
    " تسعة/تسع عشرة/عشر",
}
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"

NUMBER_WORDS: dict[str, dict[str, int]] = {
    language: {
        word: number for number, words in enumerate(row.split()) for word in words.split("/")
    }
    for language, row in _FROM_ZERO.items()
}
NUMBER_WORDS["en"] |= {word: 10 * ten for ten, word in enumerate(_TENS.split(), start=2)}
NO_NUMBERS = frozenset("null once un ein eine".split())
"""Numbers only where they are the whole answer; in a text they are an article or another word."""

_DE_ONES = "ein zwei drei vier fünf sechs sieben acht neun".split()
_DE_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()
_ES_TENS = "treinta cuarenta cincuenta sesenta setenta ochenta noventa".split()
_ES_TWENTIES = "ún/uno/una dós trés cuatro cinco séis siete ocho nueve".split()
COMPOUNDS = {
    **{
        f"{one}und{ten}": 10 * tens + ones
        for tens, ten in enumerate(_DE_TENS, 2)
        for ones, one in enumerate(_DE_ONES, 1)
    },
    **{ten: 10 * tens for tens, ten in enumerate(_DE_TENS, 2)},
    **{ten: 10 * tens for tens, ten in enumerate(_ES_TENS, 3)},
    **{
        f"veinti{word}": 20 + ones
        for ones, words in enumerate(_ES_TWENTIES, 1)
        for word in words.split("/")
    },
}
"""German and Spanish numbers from 21 that are one word."""

HAN_DIGITS = {
    numeral: digit
    for digit, numerals in enumerate(
        "〇零○ 一壹 二贰貳弐 三叁參 四肆 五伍 六陆陸 七柒 八捌 九玖".split()
    )
    for numeral in numerals
}
"""The forms of bank notes included."""
HAN_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
