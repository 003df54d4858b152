"""Multiple choice: exactly one option claimed, by letter, by letter and text, or by text alone.

``metadata["options"]`` is a list of texts, which may carry their letters ("A. text"), or a mapping
from letter to text. A gold answer is a letter, an option's text, or both ("B. text"); all of them
name the same option. Without options the gold answer is a letter, and only letters are read.

What counts as a claim, in this order:

1. a letter that is the whole answer, but for brackets, markdown, a lead-in ("option B", "选项B",
   "the correct answer is B") or a closing "is correct"; upper or lower case, full width;
2. a text that equals exactly one option after normalisation;
3. an upper-case letter, or a bracketed or named lower-case one, with the option's text, part of
   it, or a reason ("B, because …") in which no other option appears.

A letter with another text, two letters, a denied letter and a letter beyond the options are
wrong: in "The correct answer is Apple" no letter is claimed, in "A company" neither.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qwenlong.rewards.judge.prompt import Case
from qwenlong.rewards.kind import (
    Comparison,
    JudgeView,
    Kind,
    Wording,
    final_answer,
    gold_case,
    question_of,
    scored,
)
from qwenlong.rewards.tables import patterns
from qwenlong.rewards.text.answer import LEAD_IN, asks, extract
from qwenlong.rewards.text.normalise import normalise
from qwenlong.types import Example, Score

NAME = "choice"
# A letter, its text and a reason: more is no claim of one option, and costs time.
_LONGER = 1000

_TABLE = patterns("choice")
_LEADS = re.compile(rf"^{LEAD_IN}(?:{_TABLE['before']})?\s{{0,3}}", re.IGNORECASE)
_TAILS = re.compile(rf"(?:{_TABLE['behind']})[.。।]?$", re.IGNORECASE)
_REASONS = re.compile(_TABLE["reasons"])
_DENIED = re.compile(_TABLE["denials"])
_OTHER = r"(?:options? |choices? )?[A-Z](?:(?:,| and| or| nor|, and|, or) (?:option )?[A-Z])*"
# What another option is refused with: "not A", "because A and C are ruled out by the text".
_REFUSED = re.compile(
    r"(?:^|[,;(]|(?<=\w))\s?(?:(?:because|since|as|and|while|whereas)\s)?(?:"
    rf"(?:not|and not|rather than|instead of) (?P<not>{_OTHER})"
    rf"|(?P<is>{_OTHER}) (?:is|are)(?: both| all| clearly)?"
    r" (?:wrong|incorrect|false|not correct|not supported|ruled out|excluded|contradicted)"
    r"(?: by the (?:text|passage|document|article))?)\)?(?=[.,;]|$)"
)
_ARABIC = dict(zip("أابجده", "AABCDE", strict=True))
_LETTER_LAST = re.compile(rf"(.{{1,2000}}?)\s?[(\[](?:(?i:{_TABLE['names']})\s)?([A-Z])[)\]]\.?")
_LABELLED = re.compile(r"\s{0,9}[(\[]?([A-Z])\s?[)\].:、)．:](?!\d)\s*")
_WORD = re.compile(r"\w+")
_LETTERS = re.compile(
    r"(?<![\w'-])[B-HJ-Z](?![\w'-])|(?<![\w'-])[AI](?=\s?[).,:;/&+\]]|$|\s(?:and|or|is|are)\b)"
    r"|(?<=\()[AI](?=\))|(?:(?<=option )|(?<=choice )|(?<=answer )|(?<=选项))[A-Z](?!\w)"
)


@dataclass(frozen=True)
class Options:
    """The options of a question: labels as written, texts normalised and raw, in order."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    raw: tuple[str, ...]
    claim: re.Pattern[str]
    """Reads a label at the start of an answer."""


def check(example: Example) -> None:
    """Raises ``ValueError`` unless the gold answers name exactly one of options that differ."""
    check_options(example)
    _question(pairs(example), example.answers)


def check_options(example: Example) -> None:
    """Raises ``ValueError`` where ``options`` are no two or more texts that differ."""
    if example.metadata.get("options") is None:
        return
    given: Any = example.metadata["options"]
    if not isinstance(given, Mapping | list | tuple):
        raise ValueError(f"options={given!r}: must be a list of texts, or letters with texts")
    texts = list(given.values() if isinstance(given, Mapping) else given)
    if len(texts) < 2 or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"options={given!r}: must be two texts or more, none of them blank")
    if len(set(map(normalise, texts))) < len(texts):
        raise ValueError(f"options={given!r}: two of them are the same")


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if the final answer claims the gold option and no other, else 0."""
    options, gold = _question(pairs(example), example.answers)
    text = options.texts[options.labels.index(gold)]

    def compare(answer: str) -> Comparison:
        if len(answer) > _LONGER + 4 * max(map(len, options.texts)):
            return 0.0, f"{len(answer)} characters, far longer than an option", {}
        if asks(answer) and not any(map(asks, options.raw)):
            return 0.0, "the answer is a question", {}
        label, how = claimed(answer, options)
        if label is None:
            return 0.0, how, {}
        other = f", not option {gold}" if label != gold else ""
        why = f"option {label} is claimed, {how}{other}"
        return float(label == gold), why, {"claimed": label}

    return scored(NAME, extract(response, thinking), f"{gold}: {text}" if text else gold, compare)


def claimed(answer: str, options: Options) -> tuple[str | None, str]:
    """The label of the one option that ``answer`` claims, or None; and how, or why not."""
    text = unicodedata.normalize("NFKC", answer).strip()
    whole = _by_text(answer, options)
    if whole and text.strip("()[]. ") not in options.labels:
        return whole, "by its text"
    # "The correct answer is B" and "B is correct" are B.
    text = _TAILS.sub("", text)
    text = text[_end(_LEADS.match(text)) :].lstrip(" :")
    arabic = _ARABIC.get(text.strip("() .،"))
    if arabic and not set(_ARABIC).intersection(options.labels):
        return _known(arabic, options, "by its Arabic letter")
    match = options.claim.match(text)
    if match and not text[match.end() :].strip(" .。!)]}"):
        return _known(match["label"].upper(), options, "by its letter")
    led = _by_text(text, options)
    if led:
        return led, "by its text"
    last = _LETTER_LAST.fullmatch(text)
    if last and _by_text(last[1], options) == last[2]:
        return last[2], "by its text and letter"
    if not match:
        return None, "it is neither one letter nor the text of exactly one option"
    return _with_text(text, match, options)


def _with_text(text: str, match: re.Match[str], options: Options) -> tuple[str | None, str]:
    """The option that a letter with text behind it claims, or None; and how, or why not."""
    # "B (London)": the brackets belong to the option's text.
    raw = text[match.end() :].strip()
    if raw.startswith("(") and raw.endswith(")"):
        raw = raw[1:-1]
    label, how = _known(match["label"].upper(), options, "by its letter")
    if label is None:
        return None, how
    bare = _REFUSED.sub(lambda other: _unless(label, other), raw).strip()
    if bare != raw and not bare.strip(" .,;"):
        return label, "by its letter, others refused"
    rest, own = normalise(bare), options.texts[options.labels.index(label)]
    if own and rest == own:
        return label, "by its letter and text"
    if match["label"] in string.ascii_lowercase and not (match["named"] or match["close"]):
        return None, f"a lower-case {match['label']!r} within a text is no letter"
    after = rest.removeprefix(own)
    if own.isascii() and after[:1].isalnum():  # Apple is no part of Apples
        after = rest
    if taken_back := _taken_back(bare, rest, after, label, options):
        return None, taken_back
    if after == rest and not _REASONS.match(bare.casefold().lstrip(", ")):
        if not (match["stop"] or match["close"] or match["named"]):
            return None, "it is neither one letter nor the text of exactly one option"
        if own and not _part_of(rest, own):
            return None, f"letter {label} stands with another text than option {label} has"
    return label, "by its letter, with more said"


def _unless(label: str, other: re.Match[str]) -> str:
    """The whole refusal if it refuses ``label``, too; else "", so that it is removed."""
    said = (other["not"] or other["is"]).replace("option", "").replace("choice", "")
    return other[0] if label in re.findall("[A-Z]", said) else ""


def _taken_back(raw: str, rest: str, after: str, label: str, options: Options) -> str:
    """Why the text behind the letter takes the claim back; "" where it does not."""
    at = options.labels.index(label)
    own = options.texts[at]
    letters = set(_LETTERS.findall(raw)).intersection(options.labels) - {label}
    # "Both A and B" may be said with the letter whose text it is.
    if letters - set(_LETTERS.findall(options.raw[at]) if after != rest else ()):
        return f"two options are claimed: {label} and {', '.join(sorted(letters))}"
    if _DENIED.search(after.strip(" .,;:()")):
        return f"letter {label} is denied or doubted"
    for other, text in zip(options.labels, options.texts, strict=True):
        said = rest if own and own in text else after
        if other != label and text not in ("", own) and _contains(said, text):
            return f"letter {label} stands with the text of option {other}"
    return ""


def _known(label: str, options: Options, how: str) -> tuple[str | None, str]:
    for known in options.labels:
        if known.upper() == label:
            return known, how
    return None, f"letter {label} is beyond the options {', '.join(options.labels)}"


def _by_text(text: str, options: Options) -> str | None:
    """The one option whose text ``text`` is."""
    wanted = normalise(text)
    if not wanted or options.texts.count(wanted) != 1:
        return None
    label = options.labels[options.texts.index(wanted)]
    # normalise() takes "A" for an article, yet "A Apple" may claim option A: in doubt, neither.
    doubtful = text.startswith("A ") and label != "A" and "A" in options.labels
    raw = options.raw[options.labels.index(label)]
    return None if doubtful and not raw.casefold().startswith("a ") else label


def _contains(text: str, part: str) -> bool:
    if not part.isascii():
        return part in text
    words, said = (" ".join(_WORD.findall(words)) for words in (part, text))
    return bool(words) and f" {words} " in f" {said} "


def _part_of(text: str, own: str) -> bool:
    """Whether ``text`` says the option's text with fewer or with more words."""
    said, known = set(_WORD.findall(text)), set(_WORD.findall(own))
    return bool(said) and bool(known) and (said <= known or known <= said)


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match else 0


def pairs(example: Example) -> tuple[tuple[str, str], ...]:
    """Label and text of every option; A to Z without texts where no options are given."""
    given: Any = example.metadata.get("options")
    if isinstance(given, Mapping):
        return tuple((str(label).strip(), str(text)) for label, text in given.items())
    texts = [str(text) for text in given or ()]
    if len(texts) > len(string.ascii_uppercase):
        raise ValueError(f"options: {len(texts)} of them; more than 26 need a mapping with labels")
    labels = string.ascii_uppercase[: len(texts)] or string.ascii_uppercase
    starts = [_LABELLED.match(text) for text in texts]
    own = [_end(m) if m and m[1] == label else 0 for label, m in zip(labels, starts, strict=False)]
    # A lone "A. Smith" among names is a name.
    if sum(map(bool, own)) * 2 > len(own):
        texts = [text[end:] for text, end in zip(texts, own, strict=True)]
    return tuple(zip(labels, texts or [""] * len(labels), strict=True))


@lru_cache(maxsize=1024)
def _question(pairs: tuple[tuple[str, str], ...], answers: tuple[str, ...]) -> tuple[Options, str]:
    options = _options(pairs)
    golds = {claimed(gold, options)[0] for gold in answers}
    gold = golds.pop() if len(golds) == 1 else None
    if gold is None:
        raise ValueError(
            f"answers={list(answers)!r}: must name exactly one of the options"
            f" {', '.join(options.labels)}, by its letter or its text"
        )
    return options, gold


def _options(pairs: tuple[tuple[str, str], ...]) -> Options:
    labels = tuple(label for label, _ in pairs)
    known = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    claim = re.compile(
        rf"(?P<named>(?:(?:the|la|l'|die)\s?)?(?:{_TABLE['names']})\s{{0,3}}:?\s{{0,3}})?"
        r"[(\[{<\"'「【“‘*_`$]{0,4}\s?"
        rf"(?P<label>{known}|[A-Z])(?P<item>\s?(?:选项|選項|项|項|번|番))?(?!\w)"
        rf"[\"'」”’*_`$]{{0,4}}(?P<close>[)\]}}>】]{{0,2}})[\"'*_`$]{{0,4}}"
        r"(?:(?P<stop>\s?[.:、,;。]|\s[-–—](?=\s))[*_]{0,2}\s{0,3}|\s{1,3}|$|(?<=[)\]】]))",
        re.IGNORECASE,
    )
    texts = tuple(text.strip() for _, text in pairs)
    return Options(labels, tuple(map(normalise, texts)), texts, claim)


_LETTERED_LINE = re.compile(r"^\s*[\[(]?[A-Za-z][.):\]]\s")
_LETTER_BEFORE = re.compile(r"^\(?[A-Za-z][.):]\s+")


def question_with_options(example: Example) -> str:
    """The question with its options, a line each, where it has some."""
    options: Any = example.metadata.get("options")
    if not options:
        return example.question
    if isinstance(options, Mapping):
        lines = [f"{letter}. {text}" for letter, text in options.items()]
    elif all(_LETTERED_LINE.match(str(text)) for text in options):
        lines = [str(text).strip() for text in options]
    else:
        lines = [f"{chr(ord('A') + place)}. {text}" for place, text in enumerate(options)]
    return "\n".join([example.question, *lines])


def option_texts(example: Example) -> tuple[str, ...]:
    """The texts of the right options, without their letters; "" for a letter without a text."""
    texts = {label.upper(): text for label, text in pairs(example)}
    letters = {gold: gold.strip(" .():").upper() for gold in example.answers}
    return tuple(
        _LETTER_BEFORE.sub("", texts.get(letter) or (gold if len(letter) > 1 else ""))
        for gold, letter in letters.items()
    )


def _judge_case(example: Example) -> Case:
    """The options stand in the question; the control is another option."""
    options = [(label, text) for label, text in pairs(example) if text]
    if not options:
        return gold_case(example)
    lines = {label: f"{label}. {text}" for label, text in options}
    gold = _question(pairs(example), example.answers)[1]
    question = "\n".join([question_of(example), *lines.values()])
    decoy = next((line for label, line in lines.items() if label != gold), "")
    return Case(question, (lines[gold],), decoy=decoy)


_ASKS = Wording("the letter of the right option", "正确选项的字母")
KIND = Kind(
    NAME,
    score,
    check,
    takes=("options",),
    asks=lambda example: _ASKS,
    question=question_with_options,
    is_citable=True,
    judge=JudgeView(_judge_case, final_answer),
    texts=option_texts,
    may_hide_question=True,
)
