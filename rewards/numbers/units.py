"""What the words beside a number mean: scales, percent, currencies, units, signs.

One table for all languages; keys are as ``tidy`` and ``lower`` leave them. Scale words follow
the short scale of today's English; the long-scale forms (billón, Billionen) are read as such.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from qwenlong.rewards.numbers.months import ENGLISH_MONTHS
from qwenlong.rewards.numbers.words import COMPOUNDS, NO_NUMBERS, NUMBER_WORDS

CJK = "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a word does to the number beside it."""

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


_SCALES = {
    10**2: "hundred hundreds hundert cien ciento cientos सौ",
    10**3: "thousand thousands k mil miles tausend tsd mille mila हज़ार हजार الف الاف الفا",
    10**5: "lakh lakhs lac lacs लाख",
    10**6: (
        "million millions mn mln mill mio mios millón millon millones millionen milhão milhões"
        " milioni milione मिलियन مليون ملايين مليونا"
    ),
    10**7: "crore crores cr करोड़ करोड",
    10**9: (
        "billion billions bn bln b milliarde milliarden mrd millardo millardos milliard milliards"
        " bilhão bilhões miliardi miliardo बिलियन अरब مليار مليارات مليارا بليون"
    ),
    10**11: "खरब",
    10**12: (
        "trillion trillions tn trn billón billones billionen trilhão trilhões ट्रिलियन تريليون"
        " تريليونات"
    ),
    12: "dozen dozens",
}
_LANGUAGE = {
    "de": "tausend tsd mio millionen mrd milliarde milliarden billionen hundert",
    "es": "mil miles millón millon millones millardo millardos billón billones milhão milhões"
    " bilhão bilhões mila milione milioni miliardo miliardi mille milliard milliards",
}
_PERCENT = {
    Fraction(1, 100): (
        "% ٪ percent percents pct prozent prozentpunkte pp ppt ppts प्रतिशत फीसदी फ़ीसदी ％"
        " 퍼센트 퍼센트포인트 %p 프로 パーセント パーセントポイント 百分点 百分點"
        " 个百分点 個百分點"
    ),
    Fraction(1, 10): "割 成",
    Fraction(1, 1000): "‰ promille",
    Fraction(1, 10000): "bp bps ‱ basispunkte 基点 基點",
}
_DOLLARS = "USD AUD CAD SGD HKD NZD TWD MXN"
_CURRENCIES = {
    _DOLLARS: "$ dollar dollars dólar dólares dolar dolares डॉलर دولار دولارات दॉलर 달러 ドル",
    "USD": "usd us$ 美元 美金 米ドル 미국달러 미달러",
    "AUD": "aud a$ au$ 澳元",
    "CAD": "cad c$ ca$ 加元",
    "SGD": "sgd s$ 新加坡元",
    "HKD": "hkd hk$ 港元 港币 港幣",
    "NZD": "nzd nz$",
    "TWD": "twd nt$ ntd 新台币 新臺幣 新台幣",
    "EUR": "€ euro euros eur 欧元 歐元 ユーロ 유로 यूरो يورو",
    "GBP": "£ gbp sterling 英镑 英鎊 파운드 جنيه",
    "GBP lb": "pound pounds ポンド",
    "JPY CNY": "¥",
    "JPY": "jpy yen 円 圓 日元 日圆 日圓 엔",
    "CNY": "cny rmb yuan renminbi 人民币 人民幣 위안",
    "CNY TWD HKD": "元 块 塊 圆",
    "KRW": "₩ krw won 원 韩元 韓元 ウォン",
    "INR": "₹ inr rs rupee rupees रुपये रुपए रुपया रूपये रु 卢比",
    "CHF": "chf franken",
    "RUB": "₽ rub rubles roubles",
    "BRL": "r$ brl reais",
    "SEK NOK DKK": "kr krone kroner kronor",
    "SEK": "sek",
    "NOK": "nok",
    "DKK": "dkk",
    "ILS": "₪ nis shekels",
    "SAR": "sar riyal riyals ريال",
    "AED": "aed dirham dirhams درهم",
    "cent": "cent cents ¢ centavos",
    "penny": "pence penny p",
}
_UNITS = {
    "length": {
        "km": "km kms kilometre kilometres kilometer kilometers kilómetro kilómetros किमी किलोमीटर"
        " كم كيلومتر كيلومترات 公里 千米 キロメートル 킬로미터",
        "m": "metre metres meter meters metro metros मीटर متر امتار 米 公尺 メートル 미터",
        "cm": "cm centimetre centimetres centimeter centimeters 厘米 公分 センチ 센티미터",
        "mm": "millimetre millimetres millimeter millimeters 毫米 ミリ",
        "mile": "mile miles mi milla millas meile meilen 英里 マイル",
        "ft": "ft foot feet pie pies 英尺 フィート",
        "inch": "inch inches 英寸 インチ",
        "yard": "yard yards yd",
    },
    "mass": {
        "kg": "kg kgs kilo kilos kilogram kilograms kilogramme kilogrammes kilogramm kilogramos"
        " किलो किग्रा किलोग्राम كجم كغ كيلوغرام كيلوجرام 公斤 千克 キログラム 킬로그램",
        "g": "g gram grams gramm gramos ग्राम غرام جرام 克 グラム 그램",
        "mg": "mg milligram milligrams 毫克",
        "lb": "lb lbs",
        "oz": "oz ounce ounces",
        "tonne": "tonne tonnes ton tons tonnen tonelada toneladas टन طن 吨 噸 公吨 トン 톤",
    },
    "time": {
        "year": "year years yr yrs año años jahr jahre jahren वर्ष साल سنة سنوات عام اعوام 年 年间"
        " 年間 년 년간",
        "quarter": "quarters trimestres quartale",
        "month": "month months mes meses monat monate monaten महीने महीना माह شهر اشهر شهور 个月"
        " 個月 ヶ月 か月 カ月 ヵ月 개월",
        "week": "week weeks semana semanas woche wochen सप्ताह हफ्ते اسبوع اسابيع 周 週間 周间",
        "day": "day days día días dia dias tag tage tagen दिन يوم ايام 天 日 日間 日间 일",
        "hour": "hour hours hr hrs h hora horas stunde stunden घंटे घंटा ساعة ساعات 小时 小時 時間"
        " 시간",
        "minute": "minute minutes min mins minuto minutos minuten मिनट دقيقة دقائق 分钟 分鐘 分 분",
        "second": "second seconds sec secs s segundo segundos sekunde sekunden सेकंड ثانية ثوان"
        " 秒 秒钟 초",
    },
    "area": {
        "km2": "km2 平方公里 平方千米",
        "m2": "m2 sqm 平方米 平方メートル",
        "ft2": "ft2 sqft",
        "ha": "ha hectare hectares hektar hectáreas 公顷",
        "acre": "acre acres 英亩",
    },
    "volume": {
        "l": "l litre litres liter liters litro litros लीटर لتر 升 リットル 리터",
        "ml": "ml millilitre millilitres milliliter milliliters 毫升",
        "m3": "m3 立方米",
        "gallon": "gallon gallons gal",
        "barrel": "barrel barrels bbl bbls 桶",
    },
    "speed": {
        "km/h": "km/h kph kmh",
        "m/s": "m/s",
        "mph": "mph mi/h",
    },
    "temperature": {"°C": "°c celsius 摄氏度", "°F": "°f fahrenheit", "K": "kelvin kelvins"},
    "energy": {
        "kWh": "kwh",
        "MWh": "mwh",
        "GWh": "gwh",
        "TWh": "twh",
        "W": "w watt watts 瓦",
        "kW": "kw kilowatt kilowatts 千瓦",
        "MW": "mw megawatt megawatts",
        "GW": "gw gigawatt gigawatts",
        "J": "joule joules",
    },
    "data": {"KB": "kb", "MB": "mb", "GB": "gb", "TB": "tb", "bit": "bit bits", "byte": "bytes"},
    "ratio": {"times": "times x fold veces mal mala गुना مرات 倍 배"},
}
SIGNS = {
    "minus": "minus negative neg menos negativo negativa negativ सालिब ऋण ऋणात्मक سالب ناقص 负 負"
    " マイナス 마이너스",
    "loss": "loss losses lost pérdida pérdidas perdida perdidas verlust verluste घाटा हानि"
    " خسارة خسائر 亏损 虧損 損失 赤字 손실 적자",
    "decrease": "decrease decreases decreased decreasing decline declines declined declining fall"
    " falls fell drop drops dropped dropping reduction reductions reduced reduce reduces reducing"
    " down lower shrank disminución disminuyó disminuyeron disminuido disminuye disminuir bajó cayó"
    " cayeron caída caídas reducción descenso rückgang gesunken sank abnahme verringerung कमी"
    " गिरावट انخفاض انخفض تراجع 减少 減少 下降 下跌 降低 低下 감소 하락",
    "increase": "increase increases increased increasing rise rises rose risen grow grew grown"
    " growth up gain gains gained profit profits higher improved improvement aumento aumentó"
    " aumentaron subió alza subida crecimiento creció anstieg stieg gestiegen zunahme erhöhung"
    " gewinn वृद्धि बढ़ोतरी زيادة ارتفاع ارتفع نمو"
    " 增加 增长 增長 上升 上涨 上漲 提高 盈利 上昇 増加 증가 상승",
    "to": "to at auf zu पर الى 到 至",
    "in": "in en",
    "per": "per pro por je /",
    "power": "square sq cubic",
    "fraction": "fraction decimal ratio proportion 小数 小數 比率 比值",
    "over": "分之 分の",
    "letter": "m mm t",
    "ordinal": "st nd rd th",
    "month": " ".join(ENGLISH_MONTHS),
    "year": "since during between from of for fiscal year fy through until ended ending end",
    "stop": "and or is was were are as on by over under than with which respectively approximately"
    " about around total overall rounded more less compared relative"
    " based versus vs from of for during since y e de del und oder im von के में की है और و من في",
}


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text)
    return list(dict.fromkeys([*folded.split(), *text.split()]))


def _table() -> dict[str, Meaning]:
    table: dict[str, Meaning] = {}
    for kind in ("stop", "year"):  # the first to go, for other kinds say more of the same word
        table |= {word: Meaning(kind) for word in _words(SIGNS[kind])}
    for kind, words in SIGNS.items():
        if kind not in ("stop", "year"):
            table |= {word: Meaning(kind) for word in _words(words)}
    language = {word: lang for lang, words in _LANGUAGE.items() for word in _words(words)}
    for factor, words in _SCALES.items():
        for word in _words(words):
            table[word] = Meaning("scale", Fraction(factor), lang=language.get(word, ""))
    for share, words in _PERCENT.items():
        table |= {word: Meaning("percent", share) for word in _words(words)}
    for codes, words in _CURRENCIES.items():
        money = Meaning("measure", measures=frozenset(codes.split()))
        table |= dict.fromkeys(_words(words), money)
    for units in _UNITS.values():
        for unit, words in units.items():
            measure = Meaning("measure", measures=frozenset([unit]))
            table |= dict.fromkeys(_words(words), measure)
    for numbers in (*NUMBER_WORDS.values(), COMPOUNDS):
        spoken = (word for word in numbers if word not in NO_NUMBERS)
        table |= {
            key: Meaning("number", Fraction(numbers[word]))
            for word in spoken
            for key in _words(word)
        }
    return table


MEANINGS = _table()
DIMENSION = {
    **{unit: dimension for dimension, units in _UNITS.items() for unit in units},
    **{code: "currency" for codes in _CURRENCIES for code in codes.split()},
}
DIMENSION["lb"] = "mass"
METRIC = {
    "km": 3, "m": 0, "cm": -2, "mm": -3, "tonne": 3, "kg": 0, "g": -3, "mg": -6, "l": 0, "ml": -3,
}  # fmt: skip
"""Powers of ten by which units of one dimension differ."""
CURRENCIES = frozenset(code for code, dimension in DIMENSION.items() if dimension == "currency")
GLUED = tuple(sorted((word for word in MEANINGS if word[0] >= "\u1100"), key=len, reverse=True))
"""Words of scripts that put no space between words: the longest is tried first."""
