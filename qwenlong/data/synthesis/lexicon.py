"""The words of the synthetic tasks, and names, keys and values put together from them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from qwenlong.types import InputError

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


@dataclass(frozen=True)
class Words:
    """The words and sentences of a task in one language, by name (``words/<task>.toml``)."""

    language: str
    table: Mapping[str, Any]

    def part(self, name: str) -> Words:
        return Words(self.language, self.table[name])

    def all(self, name: str) -> list[str]:
        """The list of that name, or the words of a text."""
        found = self.table[name]
        return found.split() if isinstance(found, str) else found

    def say(self, name: str, **blanks: Any) -> str:
        """The sentence of that name with its blanks filled in."""
        return str(self.table[name]).format(**blanks)

    def draw(self, rng: Random, name: str, **blanks: Any) -> str:
        """One of the sentences of that name with its blanks filled in."""
        return str(rng.choice(self.table[name])).format(**blanks)

    def each(
        self, rng: Random, name: str, rows: Mapping[str, Sequence[Any]], **same: Any
    ) -> list[str]:
        """A drawn sentence for every row; ``rows`` has the columns, ``same`` the common blanks."""
        return [
            self.draw(rng, name, **dict(zip(rows, row, strict=True)), **same)
            for row in zip(*rows.values(), strict=True)
        ]


def words_of(task: str, language: str) -> Words:
    """
    Raises:
        InputError: the task has no words in that language.
    """
    table = _table(task)
    if language not in table:
        raise InputError(f"language={language!r}: must be one of {', '.join(table)}")
    return Words(language, table[language])


@cache
def _table(task: str) -> dict[str, dict[str, Any]]:
    path = Path(__file__).parent / "words" / f"{task}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def keys(rng: Random, number: int, language: str) -> list[str]:
    """Things with an attribute, such as "amber lantern" or 琥珀灯笼."""
    return _pairs(rng, number, "adjectives", "objects", language)


def birds(rng: Random, number: int, language: str) -> list[str]:
    """Kinds of birds that no book knows, such as "russet plover" or 锈胸柳莺."""
    return _pairs(rng, number, "plumages", "birds", language)


def _pairs(rng: Random, number: int, first: str, second: str, language: str) -> list[str]:
    words = words_of("names", language)
    firsts, seconds, joint = words.all(first), words.all(second), " " if language == "en" else ""
    return _distinct(number, lambda: f"{rng.choice(firsts)}{joint}{rng.choice(seconds)}")


def places(rng: Random, number: int, language: str) -> list[str]:
    """Made-up places, such as "Belamere" or 青泉镇."""
    parts = [part.split() for part in words_of("names", language).all("syllables")]
    return _distinct(number, lambda: "".join(rng.choice(part) for part in parts).capitalize())


def values(rng: Random, number: int) -> list[str]:
    """Values of one shape, by chance 4829173 or KTR-4821."""
    if rng.random() < 0.5:
        return _distinct(number, lambda: str(rng.randrange(10**6, 10**7)))
    return _distinct(
        number, lambda: f"{''.join(rng.sample(_LETTERS, 3))}-{rng.randrange(1000, 10_000)}"
    )


def uuids(rng: Random, number: int) -> list[str]:
    """Identifiers of 32 hexadecimal digits."""
    return _distinct(number, lambda: f"{rng.getrandbits(128):032x}")


def _distinct(number: int, draw: Callable[[], str]) -> list[str]:
    """So many names; drawn again where one is part of another, which a search could not tell."""
    drawn: list[str] = []
    while len(drawn) < number:
        name = draw()
        if not any(name in other or other in name for other in drawn):
            drawn.append(name)
    return drawn
