"""The names of months, weekdays, eras and ordinals in the languages of the date verifier.

Keys are as ``tidy`` and ``casefold`` leave them. English, German, Spanish, Portuguese, French,
Hindi and Arabic (the Egyptian, Levantine and Maghrebi names of the Gregorian months).
"""

from __future__ import annotations

import unicodedata

ENGLISH_MONTHS = (
    "january jan",
    "february feb",
    "march mar",
    "april apr",
    "may",
    "june jun",
    "july jul",
    "august aug",
    "september sep sept",
    "october oct",
    "november nov",
    "december dec",
)
"""These alone tell a date beside a number: ago and mars may be other words there."""
_OTHER_MONTHS = (
    "januar jänner enero ene janeiro janvier जनवरी يناير جانفي كانون_الثاني",
    "februar febrero fev fevereiro février फरवरी फ़रवरी فبراير فيفري شباط",
    "märz mrz marzo março mars मार्च مارس اذار",
    "abril abr avril अप्रैल ابريل افريل نيسان",
    "mai mayo maio मई مايو ماي ايار",
    "juni junio junho juin जून يونيو جوان حزيران",
    "juli julio julho juillet जुलाई يوليو جويلية تموز",
    "agosto ago août अगस्त اغسطس اوت اب",
    "septiembre setiembre setembro septembre सितंबर सितम्बर سبتمبر ايلول",
    "oktober okt octubre outubro octobre अक्टूबर अक्तूबर اكتوبر تشرين_الاول",
    "noviembre novembro novembre नवंबर नवम्बर نوفمبر تشرين_الثاني",
    "dezember dez diciembre dic dezembro décembre दिसंबर दिसम्बर ديسمبر كانون_الاول",
)
_WEEKDAYS = (
    "monday mon montag lunes segunda-feira lundi सोमवार الاثنين"
    " 星期一 周一 週一 礼拜一 月曜日 월요일",
    "tuesday tue tues dienstag martes mardi मंगलवार الثلاثاء 星期二 周二 週二 礼拜二 火曜日 화요일",
    "wednesday wed mittwoch miércoles mercredi बुधवार الاربعاء"
    " 星期三 周三 週三 礼拜三 水曜日 수요일",
    "thursday thu thur thurs donnerstag jueves jeudi गुरुवार الخميس 星期四 周四 週四 礼拜四 木曜日"
    " 목요일",
    "friday fri freitag viernes vendredi शुक्रवार الجمعة 星期五 周五 週五 礼拜五 金曜日 금요일",
    "saturday sat samstag sonnabend sábado samedi शनिवार السبت"
    " 星期六 周六 週六 礼拜六 土曜日 토요일",
    "sunday sun sonntag domingo dimanche रविवार الاحد 星期日 星期天 周日 週日 礼拜天 日曜日 일요일",
)
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth"
    " fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth twenty-first"
    " twenty-second twenty-third twenty-fourth twenty-fifth twenty-sixth twenty-seventh"
    " twenty-eighth twenty-ninth thirtieth thirty-first"
)
ERAS = {
    "令和": 2018,
    "平成": 1988,
    "昭和": 1925,
    "大正": 1911,
    "明治": 1867,
    "民国": 1911,
    "民國": 1911,
}
"""Year 1 of an era is the year after the number given here."""


def _by_name(rows: tuple[str, ...], start: int) -> dict[str, int]:
    table = {}
    for number, row in enumerate(rows, start):
        for name in row.split():
            plain = name.replace("_", " ")
            table[plain] = table[unicodedata.normalize("NFKC", plain)] = number
    return table


MONTHS = _by_name(ENGLISH_MONTHS, 1) | _by_name(_OTHER_MONTHS, 1)
WEEKDAYS = _by_name(_WEEKDAYS, 0)
"""From 0, Monday, as ``datetime.date.weekday`` has it."""
ORDINALS = {name: day for day, name in enumerate(_ORDINALS.split(), 1)}
