"""Finds the final answer in a response; everything else in it is no claim.

Every pattern has bounded repetition, so a response is read in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

_THEREFORE = re.compile(
    r"therefore,?[\s*_]{1,8}the[\s*_]{1,8}answer[\s*_]{1,8}is(?![^\W_])", re.IGNORECASE
)
_ANSWER = re.compile(
    r"^[ \t*_#>-]{0,8}(?:the[ ])?(?:final[ ])?answer[ *_]{0,4}[:：]", re.IGNORECASE | re.MULTILINE
)
_BOX_PARTS = re.compile(r"(?P<box>\\boxed[ ]?\{)|\\.|[{}]", re.DOTALL)
_WRAPPERS = (("\\boxed{", "}"), ("\\text{", "}"), ("$", "$"), ("*", "*"), ("_", "_"))


@dataclass(frozen=True)
class Extraction:
    """The final answer and the rule that found it; without one, ``answer`` is None."""

    answer: str | None
    how: str
    """The rule's name, or in words why there is no answer."""


def extract(response: str, thinking: bool = True) -> Extraction:
    """The final answer of ``response``, by the first of ``RULES`` that finds one.

    Only what follows the last ``</think>`` counts. With ``thinking`` a response must close its
    thinking, which the chat template may have opened in the prompt; without, it need not think,
    but thinking that it opens must still be closed.
    """
    _, closed, final = response.rpartition(THINK_CLOSE)
    if thinking and not closed:
        return Extraction(None, f"no answer: the thinking is never closed by {THINK_CLOSE}")
    if THINK_OPEN in final:
        return Extraction(None, f"no answer: the last {THINK_OPEN} is never closed")
    for how, rule in RULES.items():
        answer = rule(final)
        if answer:
            return Extraction(answer, how)
    return Extraction(None, f"no answer: none of {'; '.join(RULES)} after the thinking")


def _after_last(marker: re.Pattern[str], text: str) -> str:
    """The rest of the line after the last ``marker``; empty where there is none."""
    end = -1
    for match in marker.finditer(text):
        end = match.end()
    return "" if end < 0 else _clean(text[end:].split("\n", 1)[0])


def _boxed(text: str) -> str:
    """What stands in the ``\\boxed{…}`` that closes last, so that a nested one is no answer."""
    opened: list[int | None] = []
    start = end = 0
    for part in _BOX_PARTS.finditer(text):
        if part["box"]:
            opened.append(part.end())
        elif part[0] == "{":
            opened.append(None)
        elif part[0] == "}" and opened:
            box = opened.pop()
            if box is not None:
                start, end = box, part.start()
    return _clean(text[start:end])


def _clean(answer: str) -> str:
    """Takes off the colon, the markdown and LaTeX around an answer, and one full stop."""
    return _unwrap(_unwrap(answer).removesuffix(".").removesuffix("。"))


def _unwrap(answer: str) -> str:
    # A wrapper within a wrapper is as deep as models write; more would not be linear.
    for _ in range(4):
        before = answer
        answer = _strip_runs(answer.strip())
        for opening, closing in _WRAPPERS:
            if _encloses(answer, opening, closing):
                answer = answer[len(opening) : -len(closing)].strip()
        if answer == before:
            break
    return answer


def _strip_runs(answer: str) -> str:
    """Takes off a colon, and ``**``, ``__``, backticks: a partner may precede the marker."""
    for mark in ("**", "__", "`"):
        answer = answer.removeprefix(mark).removesuffix(mark).strip()
    return answer.removeprefix(":").removeprefix("：").lstrip()


def _encloses(answer: str, opening: str, closing: str) -> bool:
    if len(answer) < len(opening) + len(closing):
        return False
    if not (answer.startswith(opening) and answer.endswith(closing)):
        return False
    inner = answer[len(opening) : -len(closing)]
    if opening == closing:
        return opening not in inner
    depth = 0
    for part in _BOX_PARTS.finditer(inner):
        depth += 1 if part["box"] or part[0] == "{" else -1 if part[0] == "}" else 0
        if depth < 0:
            return False
    return depth == 0


RULES: dict[str, Callable[[str], str]] = {
    "Therefore, the answer is …": lambda text: _after_last(_THEREFORE, text),
    "\\boxed{…}": _boxed,
    "Answer: …": lambda text: _after_last(_ANSWER, text),
}
"""The rules in the order in which they are tried: name to a function from text to answer."""
