"""Extractive and multi-hop question answering: exact match of the final answer.

Right is an answer that equals a gold answer or an alias after ``normalise``, or that differs
from it only in

- a plain frame: "It is X", "Es ist X", "是X", "Xです", "in X", "(X)", citation marks behind it;
- the source behind it: "X. This is stated in the second document.", "X according to Document 2";
- an article, in Spanish or German, where the question is in that language;
- the spelling of a number that is the whole answer: four and 4, 1954年 and 1954, in 1985 and 1985;
- a sentence that only repeats the question: "The author of the novel is X", "The novel was written
  by **X**", 作者はXです (see ``text/frames``);
- an emoji behind it, full stops and spaces in initials (US and U.S.), "&" for "and";
- a second gold answer in brackets behind it: "UN (United Nations)" where both are gold.

The rest must be the gold answer and nothing else: "not X", "X or Y", a list, "X, the capital of Y",
"X (Z)" and "X?" are wrong. ``f1`` and ``contains`` in the breakdown are for information only, and
never change the score: the token F1 with the closest gold answer (each Chinese, Japanese or Korean
character is a token), and whether the answer contains a gold answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from qwenlong.rewards.kind import GOLD_ANSWERS, Comparison, Kind, scored
from qwenlong.rewards.numbers.words import NUMBER_WORDS
from qwenlong.rewards.tables import patterns
from qwenlong.rewards.text.answer import asks, extract, shown, without_copula
from qwenlong.rewards.text.frames import unframed
from qwenlong.rewards.text.markup import clean
from qwenlong.rewards.text.normalise import language_of, normalise, tokens, uncited
from qwenlong.types import Example, Score

NAME = "extractive"
# Characters by which an answer may be longer than the gold: more is no answer, however it begins.
_LONGER = 1000

_EQUAL, _UNREAD = {"f1": "1.000", "contains": "1"}, {"f1": "0.000", "contains": "0"}


def check(example: Example) -> None:
    """Raises ``ValueError`` where an example has no gold answer or a blank one."""
    blank = [gold for gold in example.answers if not normalise(gold)]
    if not example.answers or blank:
        raise ValueError(
            f"answers={list(example.answers)!r}: must be one text or more, none of them blank"
        )


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if the final answer equals a gold answer, else 0; the module says what is equal."""
    language = language_of(example.question)
    golds = [_gold_forms(gold, language) for gold in example.answers]

    def compare(answer: str) -> Comparison:
        if len(answer) > _LONGER + 8 * max(map(len, example.answers), default=0):
            return 0.0, f"{len(answer)} characters, far longer than any gold answer", {}
        if asks(uncited(answer)) and not any(map(asks, example.answers)):
            return 0.0, "the answer is a question", {}
        plain = normalise(answer)
        for said in _readings(answer, plain, language, example.question):
            for gold, forms in zip(example.answers, golds, strict=True):
                # One side may give up its article, not both: el capital is not la capital.
                if said[0] and (said[0] in forms or forms[0] in said):
                    return 1.0, f"{shown(said[0])!r} equals the gold answer {shown(gold)!r}", _EQUAL
        if both := _with_alias(plain, golds):
            return 1.0, f"{shown(both[0])!r} and {shown(both[1])!r} both equal gold answers", _EQUAL
        said_tokens = tokens(plain)
        gold_tokens = [_tokens(forms[0]) for forms in golds]
        f1 = max((token_f1(said_tokens, gold) for gold in gold_tokens), default=0.0)
        text = f" {' '.join(said_tokens)} "
        contains = f1 > 0 and any(f" {' '.join(gold)} " in text for gold in gold_tokens if gold)
        figures = {"f1": f"{f1:.3f}", "contains": str(int(contains))}
        return 0.0, f"{shown(plain)!r} equals no gold answer", figures

    compared_with = " | ".join(forms[0] for forms in golds)
    return scored(NAME, extract(response, thinking), compared_with, compare, _UNREAD)


def token_f1(said: list[str], gold: list[str]) -> float:
    """Harmonic mean of precision and recall over tokens (Rajpurkar et al., arXiv 1606.05250)."""
    if set(said).isdisjoint(gold):
        return 0.0
    same = (Counter(said) & Counter(gold)).total()
    return 2 * same / (len(said) + len(gold))


@lru_cache(maxsize=8192)
def _tokens(gold: str) -> list[str]:
    return tokens(gold)


# Frames only say that what they hold is the answer.
_FRAMES = patterns("frames")
_FRAME = re.compile(f"^(?:{_FRAMES['it_is']})", re.IGNORECASE)
# Emoji and the like behind an answer; a gold answer may be one.
_PICTURE = re.compile(r"(?<=\w)[\s.!]{1,3}[\u2600-\u27bf\U0001f300-\U0001faff\ufe0f]{1,9}$")
_PREPOSITION = re.compile(r"^(?:(?:in|on|at|en|im|am|um)\s+|[在于於])", re.IGNORECASE)
_SOURCE = re.compile(rf"[.,。]? {{1,2}}{_FRAMES['source']}$", re.IGNORECASE)
# Not a number, which would be negative in brackets.
_IN_BRACKETS = re.compile(r"[(\[](?![-\d$€£¥.])([^()\[\]]{1,400})[)\]]")
_BRACKETED = re.compile(r"(.{1,400}?) ?\(([^()]{1,400})\)$")


def _readings(answer: str, plain: str, language: str, question: str) -> Iterable[tuple[str, ...]]:
    """Forms of the answer: first as it stands, then with less and less around it."""
    yield tuple(_forms(answer, plain, language))
    bare = uncited(answer.strip())
    if source := _SOURCE.search(bare, max(0, len(bare) - 200)):
        bare = bare[: source.start()]
    if bracketed := _IN_BRACKETS.fullmatch(bare):
        bare = bracketed[1]
    if bare != answer:
        yield tuple(_forms(bare, normalise(bare), language))
    without_frame = _FRAME.sub("", without_copula(bare), count=1)
    for rest in (without_copula(bare), without_frame, _PREPOSITION.sub("", without_frame, count=1)):
        if rest != bare:
            bare = rest
            yield tuple(_forms(bare, normalise(bare), language))
    decorated = _PICTURE.sub("", answer)
    if decorated != answer:
        yield tuple(_forms(decorated, normalise(decorated), language))
    if framed := unframed(answer, question):
        framed = clean(without_copula(framed))
        yield tuple(_forms(framed, normalise(framed), language))


_ARTICLES = {
    language: re.compile(rf"({_FRAMES['articles_' + language]})\s+(\S.*)$", re.I | re.DOTALL)
    for language in ("es", "de")
}
_DATED = re.compile(r"(?:in|on|at|en|im|am) (?=\d)")
_INITIALS = re.compile(r"(?:[a-z]\. ?){1,5}[a-z]\.?")
_YEAR = re.compile(r"\d{4}年")
_NUMBERS = {
    language: {word: str(number) for word, number in words.items()}
    for language, words in NUMBER_WORDS.items()
}
_NUMBERS["en"] |= {
    f"{ten}-{one}": str(tens + ones)
    for ten, tens in NUMBER_WORDS["en"].items()
    for one, ones in NUMBER_WORDS["en"].items()
    if tens >= 20 and 0 < ones < 10
}


@lru_cache(maxsize=8192)
def _gold_forms(gold: str, language: str) -> tuple[str, ...]:
    return tuple(_forms(gold, normalise(gold), language))


def _forms(text: str, plain: str, language: str) -> Iterable[str]:
    """``plain``, the normalised ``text``, and other spellings of the same."""
    yield plain
    if "." in plain and _INITIALS.fullmatch(plain):
        yield plain.replace(".", "").replace(" ", "")
    if " & " in plain:
        yield plain.replace(" & ", " and ")
    if number := _NUMBERS["en"].get(plain) or _NUMBERS.get(language, {}).get(plain):
        yield number
    if dated := _DATED.match(plain):
        yield plain[dated.end() :]
    if _YEAR.fullmatch(plain):
        yield plain[:-1]
    if language and (article := _ARTICLES[language].match(text.strip())):
        word, rest = article[1], article[2]
        # "El Salvador" and "Los Ángeles" are names; "La Segunda Guerra Mundial" begins a line.
        named = word[0].isupper() and rest[0].isupper() and " " not in rest.strip()
        if language == "de" or not named:
            yield normalise(rest)


def _with_alias(plain: str, golds: list[tuple[str, ...]]) -> tuple[str, str] | None:
    """The two parts of "X (Y)" where both are gold answers."""
    match = _BRACKETED.match(plain)
    if not match:
        return None
    first, second = normalise(match[1]), normalise(match[2])
    known = {form for forms in golds for form in forms}
    return (first, second) if first in known and second in known else None


KIND = Kind(
    NAME,
    score,
    check,
    asked_alike=True,
    is_citable=True,
    judge=GOLD_ANSWERS,
    # The words of the question let an answer be a sentence that repeats it; a hidden one wants the
    # answer alone.
    may_hide_question=True,
)
