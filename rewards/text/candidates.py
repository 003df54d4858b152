"""Finds other answers in a response than the one that the rules of ``answer`` find.

- Above a last line without a marker: a short line that says something else ("41.", "(A)", "It is
  41.", "Maybe Percy Shelley.") is another candidate, and where there are several none counts.
  Longer lines are an argument; headings and phrases such as "Let me see." say nothing; three or
  more labelled lines ("A. …") repeat the options of a question.
- Below an answer with a marker: a line that takes it back ("Actually, …", "Wait", "Or …").

The words are in ``tables/candidates.toml``.
"""

from __future__ import annotations

import re

from qwenlong.rewards.tables import patterns
from qwenlong.rewards.text.markup import clean
from qwenlong.rewards.text.normalise import normalise

_TABLE = patterns("candidates")
TAKES_BACK, _HEDGE = _TABLE["takes_back"], _TABLE["hedges"]
"""Begin a correction of an answer given before, and an answer that is not sure."""
_RETRACTION = re.compile(
    rf"^[ \t*_>#-]{{0,8}}(?:{TAKES_BACK}|{_HEDGE})(?:(?<=[\u3040-\u9fff])|(?![^\W_]))",
    re.IGNORECASE | re.MULTILINE,
)
_HEDGED = re.compile(rf"(?:{_HEDGE})(?:[,\s、，]|(?<=[\u3040-\u9fff]))", re.IGNORECASE)
_IT_IS = re.compile(rf"(?:{_TABLE['it_is']})\s?", re.IGNORECASE)
# What stands above an answer and is none: what is said to the reader, a heading, a whole sentence.
_NO_ANSWER = re.compile(
    rf"(?:{_TABLE['no_answer']})(?![^\W_])|{_TABLE['no_answer_unspaced']}", re.IGNORECASE
)
_DENIED = re.compile(_TABLE["denied"])
_EITHER = re.compile(_TABLE["either"], re.IGNORECASE)
_SAID = re.compile(r"(?:yes|no|sí|ja|nein|true|false|correct)(?![^\W_])[.!]?", re.IGNORECASE)
_LABELLED = re.compile(r"\(?(?:[A-Za-z]|\d{1,2})[.):、．）]\s?\S")
_NO_LINE = ("#", ">", "|", "```", "~~~", "- ", "* ", "+ ", "• ", "---", "\\[", "$$")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_ABOVE, _READ = 8, 4000
_WORDS, _HEDGED_WORDS, _CHARACTERS, _CJK_CHARACTERS = 4, 12, 40, 8
_OPTIONS = 3


def taken_back_at(text: str, most: int) -> int:
    """Where the last line that takes something back begins, in the last ``most`` characters.

    -1 where there is none.
    """
    start = max(0, len(text) - most)
    return max((match.start() + start for match in _RETRACTION.finditer(text[start:])), default=-1)


def rival(text: str) -> str:
    """A line above the last line of ``text`` that is another candidate, or ""."""
    lines = [line.strip() for line in text[-_READ:].rstrip().split("\n") if line.strip()]
    last, above = lines[-1], lines[-_ABOVE - 1 : -1]
    if sum(1 for line in above if _LABELLED.match(line)) >= _OPTIONS:
        above = [line for line in above if not _LABELLED.match(line)]
    said = normalise(clean(last))
    bold = last.startswith("**")
    return next((line for line in above if _is_rival(line, said, bold)), "")


def _is_rival(line: str, said: str, bold: bool) -> bool:
    if line.startswith(_NO_LINE) or line.endswith((":", "：", ":**", "：**")) or len(line) > 120:
        return False
    text = clean(line)
    # A line in bold is a heading, unless the answer has the same form.
    if line.startswith("**") and not (bold or text.isdecimal() or len(text) == 1):
        return False
    hedge = _HEDGED.match(text)
    bare = text[hedge.end() :] if hedge else text
    frame = _IT_IS.match(bare)
    bare = (bare[frame.end() :] if frame else bare).strip()
    if _SAID.fullmatch(text) and not _SAID.match(said):
        return False
    # "It is 41.", not "It is in France."
    if frame and not hedge and bare[:1].islower() and bare.isascii() and len(bare) > 2:
        return False
    most = _CJK_CHARACTERS if _CJK.search(bare) else _CHARACTERS
    long = len(bare) > most or (most == _CHARACTERS and len(bare.split()) > _WORDS)
    if not hedge and (long or _DENIED.search(bare)):
        return False
    if not hedge and not frame and _NO_ANSWER.match(bare):
        return False
    if len(bare.split()) > _HEDGED_WORDS:
        return False
    return bool(bare) and not _same(normalise(bare), said)


def _same(other: str, said: str) -> bool:
    """Whether a line says what the answer says, in more words or in fewer."""
    if other == said:
        return True
    if _EITHER.search(other):
        return False
    if _CJK.search(said):
        return said in other or other in said
    return f" {said} " in f" {other} " or f" {other} " in f" {said} "
