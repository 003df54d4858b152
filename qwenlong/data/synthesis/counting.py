"""Counting: how often the documents report something, in sentences all over them."""

from __future__ import annotations

from qwenlong.data.synthesis.filler import without
from qwenlong.data.synthesis.haystack import bury
from qwenlong.data.synthesis.names import birds, places
from qwenlong.data.synthesis.tasks import Draw, Question


def counting(draw: Draw) -> Question:
    """Asks for the number of places where a bird was seen.

    Every place is named once, so a place is a sighting; other birds are seen at other places.
    """
    rng, words, language = draw.rng, draw.words, draw.words.language
    most = min(16, 4 + draw.tokens // 1024)
    asked, others = rng.randint(2, most), rng.randint(2, most)
    kinds = birds(rng, 3, language)
    seen = [kinds[0]] * asked + [rng.choice(kinds[1:]) for _ in range(others)]
    where = places(rng, len(seen), language)
    facts = [
        words.draw(rng, "facts", place=place, bird=bird)
        for place, bird in zip(where, seen, strict=True)
    ]
    depths = draw.depths(asked, others)
    haystack = bury(draw.filler, rng, facts, depths, draw.tokens, without([*kinds, *where]))
    listed = words.say("between").join(haystack.in_order(where[:asked]))
    return Question(
        task="counting",
        text=words.draw(rng, "asks", bird=kinds[0]),
        haystack=haystack,
        gold=asked,
        answers=(str(asked),),
        reasoning=words.say("found", bird=kinds[0], places=listed, number=asked),
        kind="numeric",
        metadata={"rel_tolerance": 0},
    )
