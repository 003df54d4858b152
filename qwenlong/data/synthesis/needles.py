"""Needles: one fact, one among others of its form, or one key with several values.

After the needle in a haystack and its variants in RULER (Hsieh et al., arXiv 2404.06654). The
three variants take turns: ``single`` (extractive), ``multi_key`` (extractive; other keys have
values of the same form) and ``multi_value`` (list; the key has several values, and others have
theirs).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from qwenlong.data.synthesis.filler import without
from qwenlong.data.synthesis.haystack import bury
from qwenlong.data.synthesis.names import keys, values
from qwenlong.data.synthesis.tasks import Draw, Question, Words

VARIANTS = ("single", "multi_key", "multi_value")


def needles(draw: Draw) -> Question:
    """Asks for one value of a key, or for all of them."""
    rng, words, language = draw.rng, draw.words, draw.words.language
    variant = VARIANTS[draw.number % len(VARIANTS)]
    thing = words.draw(rng, "things")
    others = 0 if variant == "single" else min(24, 2 + draw.tokens // 2048)
    asked = rng.randint(2, 5) if variant == "multi_value" else 1
    names = keys(rng, 1 + others, language)
    key = names[0]
    drawn = values(rng, asked + others)
    facts = [
        fact_of(words, thing, name, value, rng)
        for name, value in zip([key] * asked + names[1:], drawn, strict=True)
    ]
    depths = draw.depths(asked, others)
    haystack = bury(draw.filler, rng, facts, depths, draw.tokens, without([*names, *drawn]))
    answers = haystack.in_order(drawn[:asked])
    question = words.draw(rng, "several" if asked > 1 else "one", thing=thing, key=key)
    stated = words.say("between").join(answers)
    found = haystack.in_order(facts[:asked])
    return Question(
        task=variant,
        text=question,
        haystack=haystack,
        gold=asked,
        answers=tuple(answers),
        reasoning=reasoned(words, found, thing, key, stated, draw.filler.joint),
        kind="list" if asked > 1 else "extractive",
        stated=stated,
    )


def fact_of(words: Words, thing: str, key: str, value: str, rng: Random) -> str:
    """A sentence that gives the thing with this key its value."""
    return words.draw(rng, "facts", thing=thing, key=key, value=value)


def reasoned(
    words: Words, facts: Sequence[str], thing: str, key: str, value: str, joint: str
) -> str:
    """The facts as they were found, and what follows from them."""
    says = joint.join(words.say("says", fact=fact) for fact in facts)
    return f"{says}{joint}{words.say('so', thing=thing, key=key, value=value)}"
