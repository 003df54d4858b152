"""Cited passages: the answer, and the numbers of the passages that it takes to find it.

Passages are numbered in their order. Half of the questions need one passage, half of them two: the
first says where a thing is kept, the second gives the code of that place.
"""

from __future__ import annotations

from qwenlong.data.synthesis.filler import without
from qwenlong.data.synthesis.haystack import bury
from qwenlong.data.synthesis.names import keys, places, values
from qwenlong.data.synthesis.tasks import Draw, Question


def cited(draw: Draw) -> Question:
    """Asks for the code of a place, and for the passages that lead to it."""
    rng, words, language = draw.rng, draw.words, draw.words.language
    hops = 1 + draw.number % 2
    pairs = min(12, 2 + draw.tokens // 4096)
    names = keys(rng, pairs, language)
    where, drawn = places(rng, pairs, language), values(rng, pairs)
    codes = [
        words.draw(rng, "codes", place=place, value=value)
        for place, value in zip(where, drawn, strict=True)
    ]
    kept = [
        words.draw(rng, "kept", key=key, place=place)
        for key, place in zip(names, where, strict=True)
    ]
    facts = [codes[0], kept[0], *codes[1:], *kept[1:]]
    depths = draw.depths(hops, len(facts) - hops)
    label = rng.choice(words.all("labels"))
    banned = without([*names, *where, *drawn])
    haystack = bury(
        draw.filler, rng, facts, depths, draw.tokens, banned, lambda n: label.format(n=n)
    )
    citations = sorted({place + 1 for place in haystack.places[:hops]})
    # The reasoning has no numbers of passages: they change when an example is cut or lengthened.
    steps = [words.say("says", fact=fact) for fact in facts[:hops][::-1]]
    steps.append(words.say("so", value=drawn[0]))
    question = words.draw(rng, "two" if hops == 2 else "one", key=names[0], place=where[0])
    return Question(
        task=f"passages_{hops}",
        text=question,
        haystack=haystack,
        gold=hops,
        answers=(drawn[0],),
        reasoning=draw.filler.joint.join(steps),
        kind="citation",
        stated=f"{drawn[0]} {''.join(f'[{n}]' for n in citations)}",
        metadata={"gold_citations": citations},
    )
