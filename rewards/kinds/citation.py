"""Citations: F-beta of the passages cited, where the answer itself is right.

``metadata``: ``gold_citations`` is a list of the passages that hold the answer, by number (3, "3",
"Passage 3") or by label ("P3", "doc-a"); ``beta`` (default 1) weighs recall beta times as much as
precision: F = (1 + b²)PR / (b²P + R) (van Rijsbergen; as a reward: LongRLVR, arXiv 2603.02146).

Passages are those named after the thinking: in brackets ([1], [2][3], [1, 3], [2-4], [^1], 【5】,
[Doc 2]), with their noun ((Passage 4), Passages 1 and 3, 文档3, 第3段), or in a line of sources
("Sources: 1, 3"). A passage named twice is cited once; every number of a range counts, so citing
everything costs precision. With labels as gold, whatever stands in square brackets is a citation.

The verifier of the answer's own kind, ``answer_kind`` (a kind that ``is_citable``, extractive by
default), scores the answer, once without its citations and once as it stands. One of these scores
has to be 1: passages earn nothing for a wrong answer.
"""

from __future__ import annotations

import re
from typing import Any

from qwenlong.rewards.kind import Kind, Wording
from qwenlong.rewards.registry import find, kinds
from qwenlong.rewards.tables import patterns
from qwenlong.rewards.text.answer import THINK_CLOSE, shown
from qwenlong.rewards.text.normalise import normalise
from qwenlong.rewards.wording import with_note
from qwenlong.types import Example, Score

NAME = "citation"
# Nobody cites more passages: ranges behind the thousandth passage are not expanded.
_MOST = 1000
# Characters behind the thinking that an answer with its citations has at most.
_LONGEST = 30_000

_TABLE = patterns("citations")
_NOUN, _SOURCE_WORDS = f"(?:{_TABLE['passage']})", _TABLE["sources"]
_NUMBERS = rf"\d{{1,6}}(?:\s?(?:{_TABLE['between_numbers']})\s?(?:(?:and|&)\s)?\d{{1,6}}){{0,99}}"
_SQUARE = re.compile(r"\[([^\[\]\n]{1,300})\]|【([^【】\n]{1,300})】")
_ROUND = re.compile(r"[(（]([^()（）\n]{1,300})[)）]")
_NAMED = re.compile(
    rf"(?<![a-zA-Z]){_NOUN}\.?\s?(?:no\.?\s?|#)?({_NUMBERS})(?![a-zA-Z\d%])"
    r"|第\s?(\d{1,6})\s?[段篇章节節]",
    re.IGNORECASE,
)
_SOURCES = re.compile(rf"\s?(?:{_SOURCE_WORDS})\s?[:：]\s?", re.IGNORECASE)
# What is left of "Sources: [1], [3]" without its brackets.
_EMPTY_LINE = re.compile(
    rf"^[ \t*_#>-]{{0,9}}(?:{_SOURCE_WORDS})[*_ ]{{0,4}}[:：][*_ \t,、，;.]{{0,99}}$",
    re.IGNORECASE | re.MULTILINE,
)
_LINE = re.compile(
    rf"^[ \t*_#>-]{{0,9}}(?:{_SOURCE_WORDS})[*_ ]{{0,4}}[:：][*_ \t]{{0,9}}"
    rf"({_NUMBERS})[.\s]{{0,9}}$",
    re.IGNORECASE | re.MULTILINE,
)
_RANGE = re.compile(r"(\d{1,6})\s?[-–—]\s?(\d{1,6})|\d{1,6}")
_ONLY_NUMBERS = re.compile(
    rf"\s?\^?(?:{_NOUN}\.?\s?#?)?\s?({_NUMBERS})(?:†[^\]】]{{0,99}})?\s?", re.IGNORECASE
)
_BETWEEN = re.compile(r"(?:\b(?:see|cf|and|und|y)\b|[\s,;&.、，；和])+", re.IGNORECASE)
_PREFIX = re.compile(rf"^\^?(?:{_NOUN}\.?(?:\s[:#]?\s?|#|(?=\d)))?", re.IGNORECASE)
_BEFORE_MARK = re.compile(r"[ \t]{1,9}(?=[.,;:!?。，]|$)", re.MULTILINE)


def check(example: Example) -> None:
    """Raises ``ValueError`` unless there are gold citations and answers, and beta is above 0."""
    cited: Any = example.metadata.get("gold_citations")
    if isinstance(cited, str | bytes) or not hasattr(cited, "__iter__") or not list(cited):
        raise ValueError(f"gold_citations={cited!r}: must be a list of passage numbers or labels")
    beta: Any = example.metadata.get("beta", 1.0)
    if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 < beta <= 100:
        raise ValueError(f"beta={beta!r}: must be a number above 0, at most 100")
    kind = _answer_kind(example)
    if not kind.is_citable:
        citable = (each.name for each in kinds().values() if each.is_citable)
        raise ValueError(f"answer_kind={kind.name!r}: must be one of {', '.join(citable)}")
    kind.check(example)


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """F-beta of the citations where the answer is right, else 0."""
    verify = _answer_kind(example).score
    before, closed, final = response.rpartition(THINK_CLOSE)
    gold = {_key(str(label)) for label in example.metadata["gold_citations"]}
    cited, bare = set[str](), final
    if len(final) <= _LONGEST:
        cited, bare = _cited(final, by_label=not all(label.isdecimal() for label in gold))
    # Without its citations first: "Paris [3]" is no text of a gold answer. As it stands next,
    # because brackets may belong to the answer: "[1, 2]" as a list.
    answer = verify(example, before + closed + bare, thinking)
    if answer.value < 1.0 and bare != final:
        whole = verify(example, response, thinking)
        answer = whole if whole.value > answer.value else answer
    right = len(cited & gold)
    precision, recall = right / max(1, len(cited)), right / len(gold)
    beta = float(example.metadata.get("beta", 1.0))
    f_beta = (1 + beta**2) * precision * recall / (beta**2 * precision + recall) if right else 0.0
    breakdown = {
        **answer.breakdown,
        "answer_value": f"{answer.value:.4g}",
        "answer_verifier": answer.verifier,
        "cited": shown(", ".join(sorted(cited, key=_in_order))),
        "gold_citations": shown(", ".join(sorted(gold, key=_in_order))),
        "f_beta": f"{f_beta:.4g}",
    }
    if answer.value < 1.0:
        why = answer.breakdown.get("why", "")
        why = why if why.startswith("no answer") else f"wrong: citations count for nothing: {why}"
        return Score(0.0, NAME, {**breakdown, "why": why})
    if len(final) > _LONGEST:
        why = f"wrong: {len(final)} characters after the thinking, more than {_LONGEST}: unread"
        return Score(0.0, NAME, {**breakdown, "why": why})
    word = "right" if f_beta == 1.0 else "partly" if f_beta else "wrong"
    why = (
        f"{word}: the answer is right, {right} of {len(gold)} gold passages among {len(cited)}"
        f" cited; F{beta:g} {f_beta:.4g}"
    )
    return Score(f_beta, NAME, {**breakdown, "why": why})


def _cited(final: str, by_label: bool) -> tuple[set[str], str]:
    """The passages that ``final`` names, and ``final`` without the brackets that name them."""
    found: set[str] = set()

    def square(match: re.Match[str]) -> str:
        inner = match[1] or match[2]
        numbers = _ONLY_NUMBERS.fullmatch(inner)
        if numbers:
            found.update(_expanded(numbers[1], len(found)))
        elif only_named(inner):
            _NAMED.sub(named, inner)
        elif by_label:
            found.update(_key(label) for label in re.split(r"[,;，；、]", inner) if label.strip())
        else:
            return match[0]
        return ""

    def named(match: re.Match[str]) -> str:
        found.update(_expanded(match[1] or match[2], len(found)))
        return ""

    def only_named(inner: str) -> bool:
        inner = _SOURCES.sub("", inner, count=1)
        return not _BETWEEN.sub("", _NAMED.sub("", inner))

    bare = _LINE.sub(named, _EMPTY_LINE.sub("", _SQUARE.sub(square, final)))
    for match in _NAMED.finditer(bare):
        named(match)
    # "(see Passage 4)" is no part of an answer.
    bare = _ROUND.sub(lambda match: "" if only_named(match[1]) else match[0], bare)
    return found, _BEFORE_MARK.sub("", bare) if found else final


def _expanded(numbers: str, already: int) -> set[str]:
    """Every number of "1, 3-5"; no ranges where too many are found ``already``."""
    found: set[str] = set()
    for match in _RANGE.finditer(numbers):
        if match[1] is None:
            found.add(str(int(match[0])))
            continue
        first, last = int(match[1]), int(match[2])
        found.update((str(first), str(last)))
        if already + len(found) <= _MOST:
            found.update(str(number) for number in range(first, min(last, first + _MOST)))
    return found


def _key(label: str) -> str:
    """A passage as it is compared: its number without noun, or its label in lower case."""
    bare = _PREFIX.sub("", label.strip(" []【】()")).strip()
    return str(int(bare)) if bare.isdecimal() else normalise(bare or label)


def _in_order(label: str) -> tuple[bool, int, str]:
    return (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)


_NUMBERED = re.compile(
    r"(?:(?:passage|document|doc|paragraph|chunk|source|ref|reference)s? ?#?|[第\[] ?)?(\d{1,6})"
    r"(?:[\]段篇])?",
    re.IGNORECASE,
)


def _answer_kind(example: Example) -> Kind:
    return find(str(example.metadata.get("answer_kind", "extractive")))


def _asks(example: Example) -> Wording:
    by_number = _cited_places(example) is not None
    labels, brackets = ("numbers", "[1][3]") if by_number else ("labels", "[label]")
    return with_note(
        _answer_kind(example).asks(example),
        f", followed by the {labels} of the passages that show it, in brackets, as in {brackets}",
        f"在答案后用方括号注明依据的段落{'编号，如[1][3]' if by_number else '名称'}",
    )


def _stated(example: Example) -> str:
    cited = [_number(each) or each for each in example.metadata.get("gold_citations", ())]
    brackets = "".join(f"[{each}]" for each in cited)
    return f"{_answer_kind(example).states(example)} {brackets}"


def _cited_places(example: Example) -> tuple[int, ...] | None:
    """None where passages are cited by labels, which stand in the passages themselves."""
    numbers = [_number(each) for each in example.metadata.get("gold_citations", ())]
    known = tuple(number - 1 for number in numbers if number)
    return known if len(known) == len(numbers) else None


def _number(cited: Any) -> int | None:
    """3 of 3, "3", "[3]" or "Passage 3"; None for a label."""
    match = _NUMBERED.fullmatch(str(cited).strip())
    return int(match[1]) if match else None


KIND = Kind(
    NAME,
    score,
    check,
    takes=("gold_citations", "beta", "answer_kind"),
    asks=_asks,
    states=_stated,
    judge=None,  # the passages are compared with no gold answer
    needs_all_text=lambda example: _answer_kind(example).needs_all_text(example),
    cited_places=_cited_places,
)
