"""What models write before and behind the letter of an option, by language."""

from __future__ import annotations

import re

from qwenlong.rewards.text.answer import LEAD_IN

LEADS = re.compile(
    rf"^{LEAD_IN}(?:"
    r"i (?:would |will )?(?:choose|pick|select|go with)\s|i['’]d (?:choose|pick|go with)\s"
    r"|it(?:['’]s| is| would be| must be)\s"
    r"|(?:the |my )?(?:(?:final|correct|right|best|most accurate)\s){0,2}"
    r"(?:answer|option|choice)\s?(?:(?:is|would be|must be)\b\s?:?|:)"
    r"|(?:本题|本題|此题|此題)?的?(?:正确|正確|最佳)?的?(?:答案|选项|選項)(?:应该|應該|应|應)?(?:是|为|為|选|選|:)"
    r"|(?:本题|本題|此题|此題)?我?(?:会|會)?(?:应|應|故)?(?:选择|選擇|选|選)(?!项|項|択)"
    r"|la opción(?: correcta)? es(?: la)?\b|la (?=[A-Z]\W{0,3}$)"
    r"|(?:richtig|korrekt) ist\b|die (?:richtige |korrekte )?(?:lösung|wahl) (?:ist|lautet)\b"
    r"|die (?:richtige |korrekte )?option (?:ist|lautet)\b"
    r"|la (?:bonne )?réponse(?: correcte)? est\b|सही विकल्प(?! है)"
    r")?\s{0,3}",
    re.IGNORECASE,
)
TAILS = re.compile(
    r"(?:\s(?:is|would be|seems to be|appears to be)(?: the)? (?:correct|right|best)"
    r"(?: (?:answer|option|choice|one))?"
    r"|\s?(?:是|为|為)?(?:正确|正確)的?(?:答案|选项|選項)?|\s?が(?:正解|正しい)(?:です|である)?"
    r"|\s?を(?:選びます|選ぶ|選択します|選択)|\s?(?:가|이|번이)\s?(?:정답|답)(?:입니다|이다|이에요|임)?"
    r"|\s(?:هي|هو) (?:الإجابة|الجواب|الخيار) (?:الصحيحة|الصحيح)"
    r"|\s(?:ही )?सही (?:उत्तर|विकल्प|जवाब)(?: है)?"
    r"|\sist die (?:richtige|korrekte) (?:antwort|lösung|option|wahl)"
    r"|\ses la (?:respuesta|opción) correcta"
    r"|\s?(?:입니다|이다|です|だ|है)"
    r"|\s(?:es|ist|est) (?:la )?(?:correcta|richtig|correcte))[.。।]?$",
    re.IGNORECASE,
)
OTHER = r"(?:options? |choices? )?[A-Z](?:(?:,| and| or| nor|, and|, or) (?:option )?[A-Z])*"
# What another option is refused with: "not A", "because A and C are ruled out by the text".
REFUSED = re.compile(
    r"(?:^|[,;(]|(?<=\w))\s?(?:(?:because|since|as|and|while|whereas)\s)?(?:"
    rf"(?:not|and not|rather than|instead of) (?P<not>{OTHER})"
    rf"|(?P<is>{OTHER}) (?:is|are)(?: both| all| clearly)?"
    r" (?:wrong|incorrect|false|not correct|not supported|ruled out|excluded|contradicted)"
    r"(?: by the (?:text|passage|document|article))?)\)?(?=[.,;]|$)"
)
LETTER = re.compile("[A-Z]")
ARABIC = dict(zip("أابجده", "AABCDE", strict=True))
