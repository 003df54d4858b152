"""Finds the items in an answer, for the kinds whose answer is several of them (list, order).

Items are split at line breaks, bullets, semicolons, commas and "and" in any language of
``tables/lists.toml``; a piece that with its neighbours makes a known item ("Property, plant and
equipment") is that item.
A comma between two digits splits only if every piece is then known, so that 1,550 is not 550. "or"
never splits: it claims neither. The items of a JSON array are taken as they stand. A known item is
one that equals a form after normalisation; containment is not enough.

Items may stand in lines of their own: behind a marker with nothing after it ("Answer:"), or at the
end of the response, as bullets, numbered lines, a fenced JSON array, or bare lines that are the
whole response or follow a colon. ``extract_items`` joins these lines into one, with ``ITEM_BREAK``
between the items, so that the rules of ``answer`` can read the response. "The following are wrong:"
gives no items.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache

from qwenlong.rewards.tables import patterns
from qwenlong.rewards.text.answer import (
    ITEM_BREAK,
    LAST_LINE,
    LINE_LIMIT,
    THEREFORE,
    Extraction,
    announces,
    final_part,
    find,
    without_copula,
)
from qwenlong.rewards.text.frames import listed
from qwenlong.rewards.text.markup import clean
from qwenlong.rewards.text.normalise import normalise, uncited

# An answer is not read if it is this much longer than the known items, or has this many more.
_LONGER, _TIMES = 1000, 8
_MORE_ITEMS, _TIMES_ITEMS = 64, 2
_CACHED = 200

_TABLE, _SHARED = patterns("lists"), patterns("denials")
_MARKDOWN = " \t\r\n*_`"
_NUMBERING = r"\(?\d{1,3}[.)、．）](?=\D)\s{0,9}|\(?[a-zA-Z][.)]\s{1,9}|[①-⑳]\s{0,9}"
_LINE_MARK = re.compile(rf"[ \t]{{0,9}}(?:[-*+•‣▪◦–—]\s{{1,9}}|{_NUMBERING})(?=\S)")
# "- **Paris**: the capital of France" claims what is bold.
_BOLD = re.compile(r"\*\*([^*\n]{1,300}?)(?:[:：]\*\*|\*\*\s?[:：(–—-])")
_DENIES = re.compile(
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
_CJK_AND = _TABLE["and_unspaced"]
# Not at the start of an item, where it may be the first character, as in 和平.
_AND = (
    rf"\s(?:{_TABLE['and']})\s|\sو(?=\w)|(?<=[가-힣])[와과]\s"
    rf"|(?<=[^\s,，、;；和与與及跟と및])(?:{_CJK_AND})(?=\S)"
)
_HARD = rf"[\n\r;；؛、،､•‣▪{ITEM_BREAK}]"
_COMMA = r"[,，]"
# "1) Paris 2) London" is cut before its numbers.
_CUT = (
    rf"\s(?=\d{{1,3}}\)\s)|\s{{0,9}}(?:{_HARD}|%s)(?:\s{{0,9}}{_HARD}){{0,9}}"
    rf"(?:\s{{0,9}}(?:and|&|und|y|et)(?=\s))?\s{{0,9}}|{_AND}"
)
_SPLIT_WORDS = re.compile(_CUT % rf"(?<!\d){_COMMA}|{_COMMA}(?!\d)")
_SPLIT_DIGITS = re.compile(_CUT % _COMMA)
# Within a line, a dash before a number is its sign.
_MARK = rf"(?:[-*+•‣▪◦–—]\s{{1,9}}(?![\d$€£¥(.])|{_NUMBERING})"
_DECORATION = re.compile(
    rf"{_MARK}?(?:(?:and|&|und|sowie|as well as|y|e|et|both)\s{{1,9}}"
    rf"|(?:{_CJK_AND})(?=\S)|و(?=\w))?{_MARK}?",
    re.IGNORECASE,
)
_TRAILING = re.compile(rf"[,，]?\s{{0,3}}(?:{_TABLE['behind']})\.?$", re.IGNORECASE)
# Before a list, these turn it into its opposite.
_DENIED = re.compile(
    rf"(?:{_SHARED['not']}|{_TABLE['denied_before']})\b"
    rf"|{_SHARED['is_not']}|{_TABLE['denied_before_unspaced']}",
    re.IGNORECASE,
)
# "Paris: the headquarters" claims Paris, as "**Paris**: …" does.
_EXPLAINED = re.compile(r"([^:：\n\"{]{1,100}?)[:：]\s(?=\S)")
_DOUBTED = re.compile(
    rf"\b(?:{_SHARED['not']}|{_SHARED['wrong']}|{_TABLE['doubted']})\b|n['’]t\b"
    rf"|{_SHARED['is_not']}|{_TABLE['doubted_unspaced']}",
    re.IGNORECASE,
)
_ONLY_VALUE = re.compile(
    r"\{\s{0,9}\"(?P<key>[^\"\\]{1,60})\"\s{0,9}:\s{0,9}(?P<array>\[[^{}]*\])\s{0,9}\}"
)


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
    before, _, last = text.rpartition("\n")
    if _COURTESY.match(last):
        text = before.rstrip()
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
    # The last line above a list may say that its items are wrong.
    above = next((line for line in reversed(lines[:start]) if line.strip()), "")
    if ITEM_BREAK not in items or _DENIES.search(above[-200:]):
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
    above = "".join(lines[:start]).rstrip(_MARKDOWN)
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
    introduced = lines[first].rstrip(_MARKDOWN).endswith(_COLONS)
    if introduced and second is not None and _LINE_MARK.match(lines[second]):
        if _DENIES.search(lines[first][-200:]):
            return "", start
        first = second
    bulleted = bool(_LINE_MARK.match(lines[first]))
    items: list[str] = []
    for end in range(first, len(lines)):
        line = lines[end].strip()  # a blank one may stand between bullets, and ends plain lines
        if not _LINE_MARK.match(line) if bulleted and line else not (line or bulleted or spaced):
            return ITEM_BREAK.join(items), end
        if line:
            item = _LINE_MARK.sub("", line, count=1)
            bold = _BOLD.match(item)
            bold = None if bold and _DENIES.search(item, bold.end()) else bold
            items.append(bold[1] if bold else item.strip(_MARKDOWN))
    return ITEM_BREAK.join(items), len(lines)


@dataclass(frozen=True)
class Known:
    """The items that can be right: every written form, and how the longer ones begin."""

    ids: dict[str, int]  # normalised form to number
    starts: dict[str, tuple[int, ...]]  # first piece of a form to its possible lengths in pieces
    numbers: tuple[int, ...]  # of the items as given: one that stands there twice has it twice
    joined: bool  # whether any item has more than one piece
    pieces: int
    characters: int

    @property
    def longest(self) -> int:
        """The longest answer that is read, in characters."""
        return _LONGER + _TIMES * self.characters

    @property
    def most(self) -> int:
        """The most items that are read."""
        return _MORE_ITEMS + _TIMES_ITEMS * self.pieces


@dataclass(frozen=True)
class Claims:
    """What an answer lists: the numbers of known items, in order, and the unknown pieces."""

    found: tuple[int, ...]
    unknown: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.found) + len(self.unknown)


@lru_cache(maxsize=1024)
def known_items(forms: tuple[tuple[str, ...], ...]) -> Known:
    """The items that can be right, each with all of its written forms."""
    ids: dict[str, int] = {}
    starts: dict[str, set[int]] = {}
    pieces = 0
    for number, item in enumerate(forms):
        for form in item:
            ids.setdefault(item_key(form), ids.get(item_key(item[0]), number))
            length = len(_SPLIT_WORDS.split(form))
            counts = starts.setdefault(_first(item_key(form)), set())
            counts.update((length, len(_SPLIT_DIGITS.split(form))))
            pieces += length
    lengths = {first: tuple(sorted(counts, reverse=True)) for first, counts in starts.items()}
    joined = any(count > 1 for counts in lengths.values() for count in counts)
    numbers = tuple(ids[item_key(item[0])] for item in forms)
    characters = sum(len(form) for item in forms for form in item)
    return Known(ids, lengths, numbers, joined, pieces, characters)


def item_key(text: str) -> str:
    """As ``normalise``, without the comma before "and"."""
    return _short_key(text) if len(text) <= _CACHED else _key(text)


def _key(text: str) -> str:
    key = normalise(text)
    return key.replace(", and ", " and ").replace(" & ", " and ") if " " in key else key


# The responses to one question mostly list the same items.
_short_key = lru_cache(maxsize=8192)(_key)


def claims_of(answer: str, known: Known, question: str = "") -> Claims | None:
    """The items that ``answer`` lists; None where it is too long or has too many to be read.

    Words before the items that only repeat ``question``, and a verb behind them, are ignored.
    """
    claims = _claims(answer, known)
    if claims is None or not claims.unknown:
        return claims
    plain = without_copula(answer)
    for rest in (plain, listed(plain, question)):
        closer = _claims(rest, known) if rest and rest != answer else None
        if closer and closer.found and not closer.unknown:
            return closer
    return claims


def _claims(answer: str, known: Known) -> Claims | None:
    if answer.count(ITEM_BREAK) > known.most or len(answer) > known.longest:
        return None
    # The array in {"cities": [...]}, or the whole answer.
    only = _ONLY_VALUE.fullmatch(answer)
    items = _json_items(only["array"] if only and not _DENIES.search(only["key"]) else answer)
    if items is not None:
        if len(items) > known.most:
            return None
        numbers = {item: _number(_forms(item), known) for item in items}
        found = (numbers[item] for item in items)
        unknown = tuple(item for item in items if numbers[item] is None)
        return Claims(tuple(number for number in found if number is not None), unknown)
    answer = _TRAILING.sub("", _without_brackets(answer, known))
    # Commas between digits last: they may be thousands separators.
    claims = _split(answer, _SPLIT_WORDS, known)
    if claims is None or not claims.unknown:
        return claims
    closer = _split(answer, _SPLIT_DIGITS, known)
    if closer and not closer.unknown:
        return closer
    denied = answer.startswith(claims.unknown[0]) and _DENIED.match(answer)
    return Claims((), (answer,)) if denied else claims


def _split(answer: str, splitter: re.Pattern[str], known: Known) -> Claims | None:
    """Reads the pieces between separators; several of them may be one known item."""
    spans, at = [], 0
    for cut in splitter.finditer(answer):
        if cut.start() > at:
            spans.append((at, cut.start()))
        at = cut.end()
        if len(spans) > known.most:
            return None
    if at < len(answer):
        spans.append((at, len(answer)))
    found: list[int] = []
    unknown: list[str] = []
    piece = 0
    while piece < len(spans):
        start, end = spans[piece]
        forms = _forms(answer[start:end])
        taken, count = _number(forms, known), 1
        for pieces in _lengths(forms, known):
            if pieces > 1 and piece + pieces <= len(spans):
                joined = _forms(answer[start : spans[piece + pieces - 1][1]])
                longer = _number(joined, known)
                if longer is not None:
                    taken, count = longer, pieces
                    break
        if taken is None:
            unknown.append(answer[start:end])
        else:
            found.append(taken)
        piece += count
    return Claims(tuple(found), tuple(unknown))


def _number(forms: list[str], known: Known) -> int | None:
    """The number of the item that has one of ``forms``."""
    return next((known.ids[form] for form in forms if form in known.ids), None)


def _lengths(forms: list[str], known: Known) -> tuple[int, ...]:
    """How many pieces the known items have that begin with a piece of these forms."""
    if not known.joined:
        return ()
    firsts = map(_first, forms)
    return next((known.starts[first] for first in firsts if first in known.starts), ())


def _forms(item: str) -> list[str]:
    """Forms of an item: as it stands, without markdown, without a bullet or "and" before it."""
    texts = [item]
    plain = uncited(item.strip(_MARKDOWN))
    if plain != item:
        texts.append(plain)
    mark = _DECORATION.match(plain)
    if mark and mark.end():
        texts.append(plain[mark.end() :].strip(_MARKDOWN))
    explained = _EXPLAINED.match(texts[-1])
    if explained and not _DOUBTED.search(texts[-1], explained.end()):
        texts.append(explained[1].strip(_MARKDOWN))
    return [item_key(text) for text in texts]


def _first(form: str) -> str:
    """The first piece of a form, quotes left out: those that close stand behind the last."""
    return _SPLIT_DIGITS.split(form, maxsplit=1)[0].strip("\"'«‹《〈`")


def _json_items(answer: str) -> list[str] | None:
    """The items of a JSON array of texts and numbers; None where it is none."""
    if not (answer.startswith("[") and answer.endswith("]")):
        return None
    try:
        items = json.loads(answer, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    plain = isinstance(items, list) and all(isinstance(item, str) for item in items)
    return items if plain else None


def _without_brackets(answer: str, known: Known) -> str:
    """Takes off the brackets around all of an answer, but not those of its items."""
    answer = answer.strip().removeprefix("\\{").removesuffix("\\}").strip()
    closing = {"(": ")", "[": "]", "{": "}"}.get(answer[:1])
    if closing is None or not answer.endswith(closing) or item_key(answer) in known.ids:
        return answer
    inner = answer[1:-1]
    return answer if closing in inner.partition(answer[0])[0] else inner.strip()
