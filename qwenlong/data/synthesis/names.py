"""Keys, values and names for facts: drawn so that none of them contains another."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from qwenlong.data.synthesis.tasks import words_of

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


def keys(rng: Random, number: int, language: str) -> list[str]:
    """Things with an attribute, such as "amber lantern" or 琥珀灯笼."""
    return _pairs(rng, number, "adjectives", "objects", language)


def birds(rng: Random, number: int, language: str) -> list[str]:
    """Kinds of birds that no book knows, such as "russet plover" or 锈胸柳莺."""
    return _pairs(rng, number, "plumages", "birds", language)


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


def _pairs(rng: Random, number: int, first: str, second: str, language: str) -> list[str]:
    words = words_of("names", language)
    firsts, seconds, joint = words.all(first), words.all(second), " " if language == "en" else ""
    return _distinct(number, lambda: f"{rng.choice(firsts)}{joint}{rng.choice(seconds)}")


def _distinct(number: int, draw: Callable[[], str]) -> list[str]:
    """So many names; drawn again where one is part of another, which a search could not tell."""
    drawn: list[str] = []
    while len(drawn) < number:
        name = draw()
        if not any(name in other or other in name for other in drawn):
            drawn.append(name)
    return drawn
