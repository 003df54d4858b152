"""Ordering: things by the years that the text gives them, or by where it names them first."""

from __future__ import annotations

import string

from qwenlong.data.synthesis.filler import without
from qwenlong.data.synthesis.haystack import bury
from qwenlong.data.synthesis.names import keys
from qwenlong.data.synthesis.tasks import Draw, Question

YEARS = (1500, 1999)


def ordering(draw: Draw) -> Question:
    """Asks for the order of three to six things, by year and by place in turns."""
    rng, words = draw.rng, draw.words
    by_year = draw.number % 2 == 0
    number = rng.randint(3, 4 if draw.tokens < 2048 else 6)
    others = min(12, 1 + draw.tokens // 4096)
    names = keys(rng, number + others, words.language)
    years = rng.sample(range(YEARS[0], YEARS[1] + 1), len(names))
    event = words.draw(rng, "events")
    facts = [
        words.draw(rng, "dated" if by_year else "named", key=key, year=year, event=event)
        for key, year in zip(names, years, strict=True)
    ]
    depths = draw.depths(number, others)
    haystack = bury(draw.filler, rng, facts, depths, draw.tokens, without(names))
    labels = dict(zip(rng.sample(names[:number], number), string.ascii_uppercase, strict=False))
    between = words.say("between")
    if by_year:
        year_of = dict(zip(names[:number], years, strict=False))
        order = sorted(year_of, key=lambda name: year_of[name])
        found, listed = "found", between.join(f"{name} {year_of[name]}" for name in order)
    else:
        order = haystack.in_order(names[:number])
        found, listed = "placed", between.join(order)
    stated = " > ".join(labels[name] for name in order)
    items = between.join(words.say("item", label=each, key=name) for name, each in labels.items())
    asks = "by_year" if by_year else "by_place"
    return Question(
        task="years" if by_year else "mentions",
        text=words.draw(rng, asks, event=event, items=items) + words.say("answer"),
        haystack=haystack,
        gold=number,
        answers=(stated,),
        reasoning=words.say(found, told=listed, order=stated),
        kind="order",
        metadata={"options": {label: name for name, label in labels.items()}},
    )
