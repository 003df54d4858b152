"""What a judge is shown and what counts as its verdict."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from hashlib import sha256

from qwenlong.rewards.tables import table
from qwenlong.rewards.text.answer import THINK_CLOSE

PROMPT_VERSION = "2"
"""Increased with every change of the prompt, so that a store gives no older verdict."""

Messages = list[dict[str, str]]

_TABLE = table("judge")
_TOKENS = re.compile(r"<(?=[|/!A-Za-z｜])|\[(?=/?[A-Za-z_]{2,20}\])")
# Invisible characters: these categories, and some of others (variation selectors, fillers).
_UNSEEN_CATEGORIES = frozenset("Cc Cf Cn Co Cs Zl Zp".split())
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_JOINERS = frozenset("\u200c\u200d")
"""Part of the spelling in Hindi and Persian."""
_SYLLABLES = "ba de fi go lu ma ne pi ro su ta ve xi zo ka jo".split()


@dataclass(frozen=True)
class Case:
    """What the judge is shown."""

    question: str
    golds: tuple[str, ...]
    answer: str = ""
    decoy: str = ""
    """A gold answer of another question, for the control; a made-up name if empty."""


def prompt(case: Case, code: str) -> Messages:
    """The conversation; only a reply with ``code`` is a verdict."""
    task = _TABLE["task"].format(
        answer=quoted(case.answer),
        question=quoted(case.question),
        golds=f"[{', '.join(map(quoted, case.golds))}]",
        right=_line(code, "right"),
        wrong=_line(code, "wrong"),
    )
    return [
        {"role": "system", "content": " ".join(_TABLE["system"].split())},
        {"role": "user", "content": task},
    ]


def read_verdict(reply: str, code: str) -> float | None:
    """1 or 0 if the reply without its thinking is exactly a verdict's line; else None."""
    said = reply.rpartition(THINK_CLOSE)[2].strip()
    return {_line(code, "right"): 1.0, _line(code, "wrong"): 0.0}.get(said)


def quoted(text: str) -> str:
    """``text`` as JSON on one line, in which no chat template finds a token of its own."""
    text = text.encode("utf-8", "backslashreplace").decode()
    line = json.dumps(text, ensure_ascii=False)
    unseen = {c for c in line if unicodedata.category(c) in _UNSEEN_CATEGORIES or _UNSEEN.match(c)}
    line = "".join(_escaped(c) if c in unseen - _JOINERS else c for c in line)
    return _TOKENS.sub(lambda found: _escaped(found[0]), line)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _line(code: str, word: str) -> str:
    return f"verdict {code} {word}"


def made_up(key: str) -> str:
    """A name that nobody has; equal cases have the same."""
    numbers = bytes.fromhex(sha256(f"{key} made up".encode()).hexdigest())
    words = ("".join(_SYLLABLES[n % 16] for n in numbers[i : i + 4]) for i in (0, 4))
    return " ".join(words).title()
