"""Words that may stand next to a number or date, where no list of denials is ever complete.

In Chinese, Japanese, Korean, Arabic and Hindi (and all else that is not written in Latin or Greek
letters) any unknown word is a reason to refuse an answer. Known are neutral words such as a copula,
a counter or "about" (``tables/neutral_words.toml``), and what the question and the gold answers
say. So 以降, 的翌日, 이 아닙니다, ما عدا and के अलावा are refused although no list names them.

Texts here have gone through ``canonical``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from qwenlong.rewards.numbers.canonical import canonical
from qwenlong.rewards.numbers.units import CURRENCIES, MEANINGS
from qwenlong.rewards.numbers.words import WEEKDAYS
from qwenlong.rewards.tables import alternatives, table

_GLUED = "\u1100-\u11ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af"
_SPACED = (
    "\u0400-\u052f\u0590-\u05ff\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06ff"
    "\u0900-\u0963\u0970-\u0dff\u0e00-\u0eff"
)
_RUN = re.compile(f"[{_GLUED}]+|[{_SPACED}]+")
_LONGEST_RUN, _LONGEST_PIECE = 120, 12

_KINDS = frozenset("stop year in percent fraction decrease loss increase minus".split())
_TABLE = table("neutral_words")
_PREFIXES = tuple(_TABLE["arabic_prefixes"]["words"].split())
_DENIALS = re.compile(alternatives(_TABLE["denials"]["pattern"]))
_NEXT = re.compile("次[年日月天周]")
"""次 is a counter, and these are the year or day after."""
_DIRECTED = re.compile(alternatives(_TABLE["directions"]["question"]))
_DIRECTIONS = frozenset(_TABLE["directions"]["words"].split())


class Allowed(NamedTuple):
    """What a question and its gold answers say, which an answer may say, too."""

    text: str
    words: frozenset[str]
    gold: str


def _folded(words: str) -> frozenset[str]:
    return frozenset(canonical(words).split())


def _neutral() -> frozenset[str]:
    listed = _folded(" ".join(_TABLE["anywhere"].values()))
    meant = (
        word
        for word, meaning in MEANINGS.items()
        if word[0] >= "\u0400" and (meaning.kind in _KINDS or meaning.measures & CURRENCIES)
    )
    return listed | frozenset(meant)


_NEUTRAL_IN_DATES = _neutral() | _folded(_TABLE["next_to_dates"]["words"]) | frozenset(WEEKDAYS)
_NEUTRAL = _neutral() | _folded(_TABLE["next_to_numbers"]["counters"])
_SPACED_UNITS = frozenset(
    word for word, meaning in MEANINGS.items() if meaning.kind in ("measure", "to")
)


@lru_cache(maxsize=4096)
def allowed_by(question: str, answers: tuple[str, ...]) -> Allowed:
    """The words of a question, except its denials, and of all its gold answers."""
    plain = canonical(question[:4000]).casefold()
    golds = canonical("\n".join(answer[:200] for answer in answers)).casefold()
    text = f"{_DENIALS.sub(' ', plain)} {golds}"
    words = frozenset(_RUN.findall(text))
    return Allowed(text, words | _DIRECTIONS if _DIRECTED.search(plain) else words, golds)


def unknown_words(rest: str, known: Allowed, dated: bool = False) -> str:
    """The first unknown words in ``rest``, which stands next to a number or date."""
    if rest.isascii():
        return ""
    neutral = _NEUTRAL_IN_DATES if dated else _NEUTRAL
    for match in _RUN.finditer(rest.casefold()):
        run = match[0]
        if run in neutral or run in known.words:
            continue
        if run[0] >= "\u1100":
            is_known = _is_made_of(run, neutral, known)
        else:  # a neutral word, a unit or a word of the question, perhaps with "and" or an article
            bare = [run.removeprefix(prefix) for prefix in _PREFIXES if run.startswith(prefix)]
            allowed = (neutral, known.words, _SPACED_UNITS)
            is_known = any(word in words for word in (run, *bare) for words in allowed)
        if _NEXT.search(run) or not is_known:
            return run
    return ""


def _is_made_of(run: str, neutral: frozenset[str], known: Allowed) -> bool:
    """Whether a run without blanks can be cut into known pieces.

    Pieces that only the question has must be two glyphs long or more.
    """
    if len(run) > _LONGEST_RUN:
        return False
    ends = {0}
    for start in range(len(run)):
        if start not in ends:
            continue
        for end in range(start + 1, min(start + _LONGEST_PIECE, len(run)) + 1):
            piece = run[start:end]
            said = piece in (known.text if end - start > 1 else known.gold) or piece in known.words
            if said or piece in neutral:
                ends.add(end)
    return len(run) in ends
