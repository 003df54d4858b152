"""Finds an answer whose items may stand in lines of their own, for the kinds list and order.

These lines follow a marker with nothing behind it ("Answer:"), or else they end the response:
bullets or numbered lines, a fenced JSON array, or bare lines that are the whole response or follow
a colon. They are joined into one line with ``ITEM_BREAK`` between the items, so that the rules of
``answer`` can read the response. "The following are wrong:" gives no items.
"""

from __future__ import annotations

import re

from qwenlong.rewards.tables import patterns
from qwenlong.rewards.text.answer import (
    LAST_LINE,
    LINE_LIMIT,
    THEREFORE,
    Extraction,
    announces,
    final_part,
    find,
)
from qwenlong.rewards.text.markup import clean

ITEM_BREAK = "\u241e"
"""Between items that stood in lines of their own."""
MARKDOWN = " \t\r\n*_`"
NUMBERING = r"\(?\d{1,3}[.)、．）](?=\D)\s{0,9}|\(?[a-zA-Z][.)]\s{1,9}|[①-⑳]\s{0,9}"
_LINE_MARK = re.compile(rf"[ \t]{{0,9}}(?:[-*+•‣▪◦–—]\s{{1,9}}|{NUMBERING})(?=\S)")
# "- **Paris**: the capital of France" claims what is bold.
_BOLD = re.compile(r"\*\*([^*\n]{1,300}?)(?:[:：]\*\*|\*\*\s?[:：(–—-])")
_TABLE, _SHARED = patterns("lists"), patterns("denials")
DENIES = re.compile(
    rf"\b(?:{_SHARED['wrong']}|{_TABLE['denied_above']})\b"
    rf"|{_SHARED['is_not']}|{_TABLE['denied_above_han']}",
    re.IGNORECASE,
)
_FENCED = re.compile(r"[a-z]{0,9}\s{1,9}(\[.*\])\s{0,9}", re.DOTALL)
_NO_ITEM = ("|", "```", "~~~", ">", "#")
_COURTESY = re.compile(
    r"(?:please )?(?:let me know|feel free|i hope|hope this|if you (?:need|have|want))\b"
    r"[^\n]{0,150}[.!]$",
    re.IGNORECASE,
)
_BARE = 100
"""The longest line that is an item without a bullet, in characters."""
_COLONS = (":", "：")


def extract_items(response: str, thinking: bool, longest: int) -> Extraction:
    """As ``answer.extract``, with the items in lines of the last ``longest`` characters joined."""
    final, unfinished = final_part(response, thinking)
    if unfinished:
        return Extraction(None, unfinished)
    at = max(0, len(final.rstrip()) - longest)
    tail, closing = _folded(final[at:]) if "\n" in final[at:] else (final[at:], "")
    extraction = find(final[:at] + tail)
    alone = final.strip()
    if extraction.answer is None and LINE_LIMIT < len(alone) <= longest and "\n" not in alone:
        return Extraction(clean(alone), LAST_LINE)
    if extraction.answer is None and closing:
        return Extraction(closing, "the last lines")
    return extraction


def _folded(text: str) -> tuple[str, str]:
    """``text`` with its last list in one line, and the items of a list that ends the text."""
    text = text.rstrip()
    above, _, last = text.rpartition("\n")
    if _COURTESY.match(last):
        text = above.rstrip()
    if text.endswith("```"):
        array = _FENCED.fullmatch(text[:-3].rpartition("```")[2])
        return text, " ".join(array[1].split()) if array else ""
    lines = text.split("\n")
    for at in range(len(lines) - 2, -1, -1):
        if rule := announces(lines[at]):
            items, end = _block(lines, at + 1)
            if items:
                marker = "Therefore, the answer is" if rule == THEREFORE else "Answer:"
                return "\n".join([*lines[:at], f"{marker} {items}", *lines[end:]]), ""
    start, bare = _closing(lines)
    items, _ = _block(lines, start, bare)
    if ITEM_BREAK not in items or _denied(lines[:start]):
        return text, ""
    return (text, items) if bare else ("\n".join([*lines[:start], "", items]), items)


def _closing(lines: list[str]) -> tuple[int, bool]:
    """Where the list that ends ``lines`` begins, and whether its lines have no bullets."""
    start = len(lines)
    while start and (not lines[start - 1].strip() or _LINE_MARK.match(lines[start - 1])):
        start -= 1
    if start < len(lines):
        return start, False
    while start and (not lines[start - 1].strip() or _bare(lines[start - 1].strip())):
        start -= 1
    above = "".join(lines[:start]).rstrip(MARKDOWN)
    return start if not above or above.endswith(_COLONS) else len(lines), True


def _bare(line: str) -> bool:
    return (
        0 < len(line) <= _BARE
        and not line.startswith(_NO_ITEM)
        and not line.endswith((".", *_COLONS))
    )


def _block(lines: list[str], start: int, spaced: bool = False) -> tuple[str, int]:
    """The items in the lines from ``start`` on, and where they end.

    With ``spaced``, blank lines may stand between plain ones, too.
    """
    rest = (at for at in range(start, len(lines)) if lines[at].strip())
    first, second = next(rest, None), next(rest, None)
    if first is None:
        return "", start
    introduced = lines[first].rstrip(MARKDOWN).endswith(_COLONS)
    if introduced and second is not None and _LINE_MARK.match(lines[second]):
        if DENIES.search(lines[first][-200:]):
            return "", start
        first = second
    bulleted = bool(_LINE_MARK.match(lines[first]))
    items: list[str] = []
    for end in range(first, len(lines)):
        line = lines[end].strip()  # a blank one may stand between bullets, and ends plain lines
        if not _LINE_MARK.match(line) if bulleted and line else not (line or bulleted or spaced):
            return ITEM_BREAK.join(items), end
        if line:
            items.append(_item(_LINE_MARK.sub("", line, count=1)))
    return ITEM_BREAK.join(items), len(lines)


def _item(line: str) -> str:
    bold = _BOLD.match(line)
    return bold[1] if bold and not DENIES.search(line, bold.end()) else line.strip(MARKDOWN)


def _denied(above: list[str]) -> bool:
    """Whether the last line above a list says that its items are wrong."""
    line = next((line for line in reversed(above) if line.strip()), "")
    return bool(DENIES.search(line[-200:]))
