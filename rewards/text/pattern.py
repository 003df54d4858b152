"""Regular expressions in linear time, for patterns that come with the data.

Python's ``re`` tries one way after another: ``^(a+)+$`` takes years for 60 characters. Here all
ways go forward together, a set of states a character (Thompson, 1968), and sets that were met
before are not worked out again. The syntax is Python's; ``$`` is the end only, as in ECMAScript.
Back references, lookaround, flags, atomic groups and possessive repeats cannot be done so, and
``compiled`` refuses them, as it does a pattern of more than ``STATES`` states.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

STATES = 1000
"""The most states of a pattern: some one a character, a counted group as often as it counts."""
_CHARACTER = (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN)
_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT)
_CATEGORIES = {
    op.CATEGORY_DIGIT: (str.isdecimal, True),
    op.CATEGORY_NOT_DIGIT: (str.isdecimal, False),
    op.CATEGORY_SPACE: (str.isspace, True),
    op.CATEGORY_NOT_SPACE: (str.isspace, False),
}


@dataclass(frozen=True)
class Pattern:
    """States by number: what each reads or asks, and where it leads; 0 is the match."""

    states: tuple[tuple[Any, Any, tuple[int, ...]], ...]
    start: int


@dataclass
class Budget:
    """Visits of states that are left to all searches in one response."""

    left: int


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Pattern:
    """Raises ``ValueError`` where ``pattern`` is malformed, too large, or not regular."""
    try:
        parsed = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"pattern={pattern!r}: {error}") from None
    if parsed.state.flags & ~re.UNICODE:
        raise ValueError(f"pattern={pattern!r}: flags cannot be set")
    states: list[tuple[Any, Any, tuple[int, ...]]] = [("match", None, ())]
    try:
        start = _built(parsed, 0, states)
    except _CannotError as error:
        raise ValueError(f"pattern={pattern!r}: {error} cannot be run in linear time") from None
    return Pattern(tuple(states), start)


class _CannotError(Exception):
    """What a pattern asks for and cannot have."""


def _built(items: Any, after: int, states: list[tuple[Any, Any, tuple[int, ...]]]) -> int:
    """Adds the states of ``items``, which lead to ``after``; the first of them."""
    for code, value in reversed(list(items)):
        if code in _CHARACTER or code is op.AT:
            states.append((code, value, (after,)))
        elif code is op.BRANCH:
            ways = tuple(_built(branch, after, states) for branch in value[1])
            states.append(("split", None, ways))
        elif code is op.SUBPATTERN and not value[1] and not value[2]:
            after = _built(value[3], after, states)
            continue
        elif code in _REPEATS:
            least, most, repeated = value
            after = _repeated(least, most, repeated, after, states)
            continue
        else:
            raise _CannotError(str(code).lower())
        if len(states) > STATES:
            raise _CannotError(f"more than {STATES} states")
        after = len(states) - 1
    return after


def _repeated(
    least: int, most: int, items: Any, after: int, states: list[tuple[Any, Any, tuple[int, ...]]]
) -> int:
    if least > STATES or (most is not op.MAXREPEAT and most > STATES):
        raise _CannotError(f"a repeat of more than {STATES}")
    start = after
    if most is op.MAXREPEAT:
        states.append(("split", None, ()))
        start = len(states) - 1
        body = _built(items, start, states)
        states[start] = ("split", None, (body, after))
    for _ in range(0 if most is op.MAXREPEAT else most - least):
        body = _built(items, start, states)
        states.append(("split", None, (body, after)))
        start = len(states) - 1
    for _ in range(least):
        start = _built(items, start, states)
    if len(states) > STATES:
        raise _CannotError(f"more than {STATES} states")
    return start


@dataclass
class _Search:
    pattern: Pattern
    budget: Budget
    known: dict[Any, tuple[bool, frozenset[int]]] = field(default_factory=dict)


def found(pattern: Pattern, text: str, budget: Budget) -> bool | None:
    """Whether ``pattern`` is somewhere in ``text``; None where the budget does not last."""
    search = _Search(pattern, budget)
    states: frozenset[int] = frozenset()
    before = ""
    for character in (*text, ""):
        key = (states, character, before == "", _is_word(before))
        if key not in search.known:
            search.known[key] = _step(search, states, before, character)
        matched, states = search.known[key]
        if matched or search.budget.left < 0:
            return True if matched else None
        before = character
    return False


def _step(
    search: _Search, states: frozenset[int], before: str, character: str
) -> tuple[bool, frozenset[int]]:
    """Whether the match is reached before ``character``, and the states behind it."""
    todo, seen, ahead = [*states, search.pattern.start], set[int](), set[int]()
    while todo:
        number = todo.pop()
        if number in seen:
            continue
        seen.add(number)
        search.budget.left -= 1
        code, value, following = search.pattern.states[number]
        if code == "match":
            return True, frozenset()
        if code == "split" or (code is op.AT and _at(value, before, character)):
            todo.extend(following)
        elif code in _CHARACTER and character and _fits(code, value, character):
            ahead.update(following)
    return False, frozenset(ahead)


def _at(code: Any, before: str, after: str) -> bool:
    if code in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
        return not before
    if code in (op.AT_END, op.AT_END_STRING):
        return not after
    return (_is_word(before) != _is_word(after)) == (code is op.AT_BOUNDARY)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _fits(code: Any, value: Any, character: str) -> bool:
    if code is op.LITERAL or code is op.NOT_LITERAL:
        return (ord(character) == value) == (code is op.LITERAL)
    if code is op.ANY:
        return character != "\n"
    negated = value[0][0] is op.NEGATE
    return any(_in(kind, of, character) for kind, of in value[negated:]) != negated


def _in(code: Any, value: Any, character: str) -> bool:
    if code is op.LITERAL:
        return bool(ord(character) == value)
    if code is op.RANGE:
        return bool(value[0] <= ord(character) <= value[1])
    if value in _CATEGORIES:
        holds, wanted = _CATEGORIES[value]
        return holds(character) == wanted
    return _is_word(character) == (value is op.CATEGORY_WORD)
