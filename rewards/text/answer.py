"""Finds the final answer in a response; everything else in it claims nothing.

Only what follows the last ``</think>`` counts, and of that only what stands in ``<answer>`` tags
where it has some. There these rules apply, in this order:

1. "Therefore, the answer is …": the rest of the line after the last of them.
2. ``\\boxed{…}``: the one that closes last.
3. The last line that begins with "Answer: …", "The answer is …" or their like in another language
   (``tables/answer.toml``): the rest of that line, or the line below it where it has none.
4. The last line.

A line without a marker is an answer only if it is short (``LINE_LIMIT``), plain (no list item,
table, heading, quote or code) and stands by itself or after a sentence, so that a list of
candidates is no answer.

A marker with more than ``EXPLANATION_LIMIT`` characters behind it does not count, nor an answer
that is one of several candidates or is taken back below (``candidates``).

Every pattern has bounded repetition, so a response is read in linear time.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from qwenlong.rewards.tables import patterns, table
from qwenlong.rewards.text.candidates import TAKES_BACK, rival, taken_back_at
from qwenlong.rewards.text.markup import ANSWER_END, ANSWER_TAG, clean, last_box

ITEM_BREAK = "\u241e"
"""Between items that stood in lines of their own (``items``)."""
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
THEREFORE, BOXED = "Therefore, the answer is …", "\\boxed{…}"
ANSWER, LAST_LINE = "Answer: …", "the last line"

# A gap between words may have emphasis in it: "The **final answer** is".
_GAP = r"[\s*_]{1,6}"
_THEREFORE = re.compile(
    "therefore,? the (?:(?:final|correct) )?(?:answer is|answers are)".replace(" ", _GAP)
    + r"(?![^\W_])",
    re.IGNORECASE,
)
_TABLE = patterns("answer")
LEAD_IN = (
    rf"(?:(?:{_TABLE['source']})[^,，:：]{{1,100}}[,，]\s?)?"
    rf"(?:(?:{_TABLE['therefore']})[,،，、]?\s?)?"
)
"""May stand before an answer and says nothing about it: a source, and "therefore"."""
_CORRECTS = rf"(?:(?:{TAKES_BACK})[,،，、]?\s?)?"
_CALLED: list[tuple[str, str]] = table("answer")["called"]
_ANSWER_WORD = re.compile(_TABLE["answer_words"], re.IGNORECASE)
_STATED = re.compile(
    r"[\s*_#>\u200e\u200f-]{0,8}"
    + _CORRECTS
    + LEAD_IN
    + "(?:"
    + "|".join(
        rf"{name.replace(' ', _GAP)}(?:[\s*_]{{0,4}}(?:[:：]|$)|{verb.replace(' ', _GAP)})"
        for name, verb in _CALLED
    )
    + ")",
    re.IGNORECASE,
)
_COPULA = re.compile(rf"(?:{_TABLE['copulas']})[.。।]?\s{{0,9}}$")
# The names of the answer may stand in any line; only the last lines that have one are read.
_LINES = 64
_MARKER = 80

LINE_LIMIT = 200
"""Characters of the longest line that is read as an answer without a marker in it."""
EXPLANATION_LIMIT = 3000
"""Characters that may follow an answer; more is a document, whose first line is no answer."""
_NO_PLAIN_LINE = re.compile(r"[-*•+>|#] |[•|]|#{1,6} |```|~~~|[-=_*]{3,}$|\\[\[\]]$|\$\$$")
# The whole response: one line in a fence, or one bullet.
_ALONE = re.compile(
    r"```[a-z]{0,9}\n(?P<fenced>[^\n`]+)\n```|[-*•]\s(?P<item>(?![-\d$€£¥(.])[^\n]+)"
)
_PARAGRAPH = 4000
_SHOWN = 200
_NUMBERED = re.compile(r"\(?\d{1,3}[.)] ")
_SENTENCE_END = tuple(".!?:;。！？：；…।؟")


@dataclass(frozen=True)
class Extraction:
    """The final answer, or None where there is none, and the rule that found it."""

    answer: str | None
    how: str
    """The rule's name, or in words why there is no answer."""


def extract(response: str, thinking: bool = True) -> Extraction:
    """The final answer of ``response``, by the first of ``RULES`` that finds one."""
    text, unfinished = final_part(response, thinking)
    if unfinished:
        return Extraction(None, unfinished)
    alone = _ALONE.fullmatch(text.strip()) if len(text) < 4 * LINE_LIMIT else None
    return find(alone["fenced"] or alone["item"] if alone else text)


def final_part(response: str, thinking: bool) -> tuple[str, str]:
    """The part that rules look at, and in words why it does not count, or ""."""
    final, unfinished = after_thinking(response, thinking)
    if ANSWER_END in final:
        tagged = final.rpartition(ANSWER_END)[0].rpartition(ANSWER_TAG)[2]
        final = tagged if tagged.strip() else final
    return final, unfinished


def after_thinking(response: str, thinking: bool) -> tuple[str, str]:
    """What follows the last ``</think>``, and in words why it does not count, or "".

    With ``thinking`` a response must close its thinking, which the chat template may have opened
    in the prompt; without, it need not think, but thinking that it opens must still be closed.
    """
    _, closed, final = response.rpartition(THINK_CLOSE)
    if thinking and not closed:
        return final, f"no answer: the thinking is never closed by {THINK_CLOSE}"
    if THINK_OPEN in final:
        return final, f"no answer: the last {THINK_OPEN} is never closed"
    return final, ""


def find(text: str) -> Extraction:
    """The answer in ``text``, which is the final part of a response."""
    for how, rule in RULES.items():
        answer = rule(text)
        if not answer:
            continue
        if how == LAST_LINE:
            other = rival(text) if "\n" in text.strip() else ""
            why = f"no answer: {shown(other)!r} is another answer, in a line above the last one"
            return Extraction(None, why) if other else Extraction(answer, how)
        at = taken_back_at(text, EXPLANATION_LIMIT)
        if at > 0 and not rule(text[at:]):
            return Extraction(None, f"no answer: it is taken back: {shown(text[at:])!r}")
        return Extraction(answer, how)
    return Extraction(None, f"no answer: none of {'; '.join(RULES)} after the thinking")


def _therefore(text: str) -> str:
    end = -1
    for match in _THEREFORE.finditer(text):
        end = match.end()
    line, _, below = text[end:].partition("\n")
    return "" if end < 0 or len(below) > EXPLANATION_LIMIT else clean(line)


def _stated(text: str) -> str:
    """The answer in the last line that begins with a name of the answer; see the module."""
    starts: deque[int] = deque(maxlen=_LINES)
    end = -1
    for word in _ANSWER_WORD.finditer(text):
        if word.start() > end:
            starts.append(text.rfind("\n", 0, word.start()) + 1)
            end = text.find("\n", word.end())
            if end < 0:
                break
    for start in reversed(starts):
        line, _, below = text[start:].partition("\n")
        if len(below) > EXPLANATION_LIMIT:
            return ""
        if marker := _STATED.match(line):
            said = clean(line[marker.end() :])
            return clean(without_copula(said)) or _line_below(below)
    return ""


def without_copula(text: str) -> str:
    """``text`` without the verb at its end in sentences such as 答えはXです."""
    if text.isascii():
        return text
    at = max(0, len(text) - 20)
    return text[:at] + _COPULA.sub("", text[at:])


def asks(text: str) -> bool:
    """Whether ``text`` is a question. As an answer, a question is a guess."""
    return text[-20:].rstrip(" .…*_`\"'”’»」』)]}").endswith(("?", "？", "؟"))


def announces(line: str) -> str:
    """The rule whose marker ``line`` ends with, or ""."""
    end = line[-_MARKER:]
    if (marker := _THEREFORE.search(end)) and not clean(end[marker.end() :]):
        return THEREFORE
    marker = _STATED.match(line) if len(line) <= 2 * _MARKER else None
    return ANSWER if marker and not clean(line[marker.end() :]) else ""


def _line_below(text: str) -> str:
    """The first line of ``text`` if it is plain and does not begin a list."""
    line, _, after = text.lstrip().partition("\n")
    line = line.strip()
    if not _is_plain(line) or _NUMBERED.match(line):
        return ""
    blank, _, after = after.partition("\n")
    following = after.lstrip().partition("\n")[0].strip()
    return "" if blank.strip() or (following and not _introduces(following)) else clean(line)


def _last_line(text: str) -> str:
    """The last line of ``text`` where it is plain; see the module."""
    before, _, line = text.rstrip().rpartition("\n")
    line = line.strip()
    if not _is_plain(line):
        return ""
    # The lines above it in its paragraph; of a long paragraph only the last ones are read.
    for above in reversed(before[-_PARAGRAPH:].split("\n")):
        if not above.strip():
            break
        if not _introduces(above.strip()):
            return ""
    previous = before.rstrip().rpartition("\n")[2].strip()
    if _NUMBERED.match(line) and _NUMBERED.match(previous):
        return ""
    return clean(line)


def _is_plain(line: str) -> bool:
    return len(line) <= LINE_LIMIT and not _NO_PLAIN_LINE.match(line)


def _introduces(line: str) -> bool:
    """Whether the next line need not be the next item of a list."""
    bold = len(line) > 4 and line.startswith("**") and line.endswith("**")
    return bold or line.startswith("#") or line.rstrip("*_ ").endswith(_SENTENCE_END)


def shown(text: str) -> str:
    """The beginning of ``text``, for a breakdown."""
    text = text.replace(ITEM_BREAK, "; ")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


RULES: dict[str, Callable[[str], str]] = {
    THEREFORE: _therefore,
    BOXED: last_box,
    ANSWER: _stated,
    LAST_LINE: _last_line,
}
"""The rules in the order in which they are tried: name to a function from text to answer."""
