"""Tasks whose facts are single sentences: needles, counting, ordering and cited passages."""

from __future__ import annotations

import string
from collections.abc import Sequence

from qwenlong.data.synthesis.lexicon import Words, birds, keys, places, values
from qwenlong.data.synthesis.tasks import Draw, Question


def needles(draw: Draw) -> Question:
    """Asks for one value of a key, or for all of them.

    After the needle in a haystack and its variants in RULER (Hsieh et al., arXiv 2404.06654). Three
    variants take turns: ``single``; ``multi_key``, where other keys have values of the same form;
    and ``multi_value`` (a list), where the key has several values, and others have theirs.
    """
    rng, words = draw.rng, draw.words
    variant = ("single", "multi_key", "multi_value")[draw.number % 3]
    thing = words.draw(rng, "things")
    others = 0 if variant == "single" else min(24, 2 + draw.tokens // 2048)
    asked = rng.randint(2, 5) if variant == "multi_value" else 1
    key, *other_keys = names = keys(rng, 1 + others, words.language)
    drawn = values(rng, asked + others)
    owners = [key] * asked + other_keys
    facts = words.each(rng, "facts", {"key": owners, "value": drawn}, thing=thing)
    haystack = draw.bury(facts, asked, [*names, *drawn])
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
        reasoning=reasoned(words, found, draw.filler.joint, thing=thing, key=key, value=stated),
        kind="list" if asked > 1 else "extractive",
        stated=stated,
    )


def reasoned(words: Words, facts: Sequence[str], joint: str, **blanks: str) -> str:
    """The facts in the order in which they are found, and what follows from them."""
    return joint.join(
        [*(words.say("says", fact=fact) for fact in facts), words.say("so", **blanks)]
    )


def counting(draw: Draw) -> Question:
    """Asks for the number of places where a bird was seen.

    Every place is named once, so a place is a sighting; other birds are seen at other places.
    """
    rng, words = draw.rng, draw.words
    most = min(16, 4 + draw.tokens // 1024)
    asked, others = rng.randint(2, most), rng.randint(2, most)
    bird, *other_birds = kinds = birds(rng, 3, words.language)
    seen = [bird] * asked + [rng.choice(other_birds) for _ in range(others)]
    where = places(rng, len(seen), words.language)
    facts = words.each(rng, "facts", {"place": where, "bird": seen})
    haystack = draw.bury(facts, asked, [*kinds, *where])
    listed = words.say("between").join(haystack.in_order(where[:asked]))
    return Question(
        task="counting",
        text=words.draw(rng, "asks", bird=bird),
        haystack=haystack,
        gold=asked,
        answers=(str(asked),),
        reasoning=words.say("found", bird=bird, places=listed, number=asked),
        kind="numeric",
        metadata={"rel_tolerance": 0},
    )


def ordering(draw: Draw) -> Question:
    """Asks for the order of three to six things.

    By the years that the text gives them, and by where it names them first, in turns.
    """
    rng, words = draw.rng, draw.words
    by_year = draw.number % 2 == 0
    number = rng.randint(3, 4 if draw.tokens < 2048 else 6)
    names = keys(rng, number + min(12, 1 + draw.tokens // 4096), words.language)
    asked = names[:number]
    years = rng.sample(range(1500, 2000), len(names))
    event = words.draw(rng, "events")
    form = "dated" if by_year else "named"
    facts = words.each(rng, form, {"key": names, "year": years}, event=event)
    haystack = draw.bury(facts, number, names)
    labels = dict(zip(rng.sample(asked, number), string.ascii_uppercase, strict=False))
    between = words.say("between")
    if by_year:
        year_of = dict(zip(names, years, strict=True))
        order = sorted(asked, key=lambda name: year_of[name])
        listed = between.join(f"{name} {year_of[name]}" for name in order)
    else:
        order = haystack.in_order(asked)
        listed = between.join(order)
    stated = " > ".join(labels[name] for name in order)
    items = between.join(words.say("item", label=each, key=name) for name, each in labels.items())
    asks = words.draw(rng, "by_year" if by_year else "by_place", event=event, items=items)
    return Question(
        task="years" if by_year else "mentions",
        text=asks + words.say("answer"),
        haystack=haystack,
        gold=number,
        answers=(stated,),
        reasoning=words.say("found" if by_year else "placed", listed=listed, order=stated),
        kind="order",
        metadata={"options": {label: name for name, label in labels.items()}},
    )


def cited(draw: Draw) -> Question:
    """Asks for the code of a place, and for the numbers of the passages that lead to it.

    Passages are numbered in their order. Half of the questions need one passage, half of them two:
    the first says where a thing is kept, the second gives the code of that place.
    """
    rng, words = draw.rng, draw.words
    hops = 1 + draw.number % 2
    pairs = min(12, 2 + draw.tokens // 4096)
    names = keys(rng, pairs, words.language)
    where, codes = places(rng, pairs, words.language), values(rng, pairs)
    opens = words.each(rng, "codes", {"place": where, "value": codes})
    kept = words.each(rng, "kept", {"key": names, "place": where})
    facts = [opens[0], kept[0], *opens[1:], *kept[1:]]
    haystack = draw.bury(facts, hops, [*names, *where, *codes], words.all("labels"))
    citations = sorted({place + 1 for place in haystack.places[:hops]})
    question = words.draw(rng, "two" if hops == 2 else "one", key=names[0], place=where[0])
    return Question(
        task=f"passages_{hops}",
        text=question,
        haystack=haystack,
        gold=hops,
        answers=(codes[0],),
        # No numbers of passages here: they change when an example is cut or lengthened.
        reasoning=reasoned(words, facts[:hops][::-1], draw.filler.joint, value=codes[0]),
        kind="citation",
        stated=f"{codes[0]} {''.join(f'[{n}]' for n in citations)}",
        metadata={"gold_citations": citations},
    )
