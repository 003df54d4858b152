"""Multi-hop over titles and links: documents that name each other's titles.

The question names the title of the first document; its text names the title of another one, and so
on; the last has the value asked for. Where a document of the corpus names another by itself
("Cartier Field" names "Notre Dame Stadium"), that is the link; elsewhere a sentence is put in.
Every document on the way, and those of a second chain, have values of the same form. A document on
a way names the title of exactly one other document that is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from random import Random

from qwenlong.data.synthesis.corpus import Text, sentence_ends, with_sentences, word_ends
from qwenlong.data.synthesis.haystack import Filler, Fits, Piece, beginning, surround, without
from qwenlong.data.synthesis.lexicon import keys, values
from qwenlong.data.synthesis.tasks import Draw, Question
from qwenlong.types import InputError

_SHORTEST = {"en": 4, "zh": 2}
"""Characters of the shortest title; titles are looked up by so many of their first ones."""
_LONGEST = 60
_QUOTES = frozenset('"“”《》\n')
_LOOKS = 16
"""Texts that are searched for one that names another's title."""
_TRIES = 400
_BODY = 100
"""Characters that a text on the way should have; shorter ones are taken if there are no others."""

Titles = Mapping[str, Sequence[Text]]
"""Titled texts by the beginnings of their titles."""


def multihop(draw: Draw) -> Question:
    """Asks for a value that one to three links lead to; short documents have no second chain."""
    rng, words, filler, short = draw.rng, draw.words, draw.filler, draw.short
    steps = 1 + draw.number % (2 if short else 3)
    thing = words.draw(rng, "things")
    lengths = [steps + 1] if short else [steps + 1, rng.randint(2, 4)]
    longest = draw.tokens // (3 * sum(lengths))
    way: list[Text] = []
    for length in lengths:
        for at in range(length):
            way.append(_next(filler, way, at == 0, longest, rng))
    drawn = values(rng, len(way))
    # A value must not stand in a text by chance.
    while any(value in text.text for value in drawn for text in way):
        drawn = values(rng, len(way))
    facts = words.each(rng, "facts", {"value": drawn}, thing=thing)
    ends = {sum(lengths[: n + 1]) - 1 for n in range(len(lengths))}
    own: list[Piece] = []
    real: list[bool] = []
    for at, (text, fact) in enumerate(zip(way, facts, strict=True)):
        added = [fact]
        if at not in ends:
            real.append(way[at + 1].title in text.text)
            if not real[-1]:
                added.append(words.draw(rng, "links", title=way[at + 1].title))
        own.append(Piece(text.title, with_sentences(text.text, added, filler.joint, rng)))
    depths = draw.depths(steps + 1, len(own) - steps - 1)
    haystack = surround(filler, rng, own, depths, draw.tokens, _unrelated(own, way, drawn))
    passed = [words.say("step", a=a.title, b=b.title) for a, b in pairwise(own[: steps + 1])]
    passed.append(words.say("found", b=own[steps].title, fact=facts[steps], value=drawn[steps]))
    said = {"start": own[0].title, "thing": thing, "steps": words.all("steps")[steps - 1]}
    return Question(
        task=f"links_{steps}",
        text=words.draw(rng, "asks", **said),
        haystack=haystack,
        gold=steps + 1,
        answers=(drawn[steps],),
        reasoning=filler.joint.join(passed),
        metadata={
            "titles": [piece.title for piece in own[: steps + 1]],
            "links_of_the_corpus": sum(real[:steps]),
        },
    )


@lru_cache(maxsize=1)  # all examples of a length are made from one filler
def _titles(filler: Filler) -> Titles:
    by_start: dict[str, list[Text]] = {}
    for text in filler.texts:
        if _can_be_named(text.title, filler.language):
            by_start.setdefault(text.title[: _SHORTEST[filler.language]], []).append(text)
    return by_start


def _can_be_named(title: str, language: str) -> bool:
    return _SHORTEST[language] <= len(title) <= _LONGEST and _QUOTES.isdisjoint(title)


def _next(filler: Filler, chosen: Sequence[Text], first: bool, longest: int, rng: Random) -> Text:
    """A text that the last one names, if there is one; else any. The first should name another.

    It is cut to ``longest`` tokens.
    """
    titles, language = _titles(filler), filler.language
    if not first:
        for text in _named_in(chosen[-1].text, titles, language):
            cut = _beginning(filler, text, longest)
            if cut and _goes_with(cut, chosen, language, named=True):
                return cut
    for look in range(_TRIES):
        text = rng.choice(filler.texts)
        if len(text.text) < _BODY and look < _TRIES // 2:
            continue
        naming = first and look < _LOOKS
        if naming and not _named_in(text.text, titles, language):
            continue
        if not text.title:
            key = keys(rng, 1, language)[0]
            text = Text(f"The {key.title()}" if language == "en" else key, text.text)
        cut = _beginning(filler, text, longest)
        if not cut or not _goes_with(cut, chosen, language, named=False):
            continue
        if not naming or _named_in(cut.text, titles, language):
            return cut
    raise InputError(
        "the corpus has too few titles that differ for questions over links; a title is a"
        f" document's first line or file name of {_SHORTEST['en']} to {_LONGEST} signs"
    )


def _beginning(filler: Filler, text: Text, longest: int) -> Text | None:
    """Its first sentences, or words, of at most ``longest`` tokens."""
    whole = filler.costed(Piece(text.title, text.text)).cost
    if whole <= longest:
        return text
    # A guess by characters saves most of the counting.
    window = text.text[: max(1, int(0.9 * len(text.text) * longest / whole))]
    for ends in (sentence_ends(window)[:-1], word_ends(window)):
        piece = beginning(filler, Piece(text.title, window), longest, ends[-1:])
        if piece:
            return Text(text.title, piece.body, text.language)
    return None


def _named_in(body: str, titles: Titles, language: str) -> list[Text]:
    """The texts whose titles stand in ``body`` as whole words."""
    length = _SHORTEST[language]
    found: list[Text] = []
    for at in range(len(body) - length + 1):
        if language == "en" and at and body[at - 1].isalnum():
            continue
        for text in titles.get(body[at : at + length], ()):
            end = at + len(text.title)
            whole = language != "en" or not body[end : end + 1].isalnum()
            if whole and body.startswith(text.title, at):
                found.append(text)
    return found


def _goes_with(text: Text, chosen: Sequence[Text], language: str, named: bool) -> bool:
    """Whether a text can join those chosen: no title is part of another, and no text names a title,
    except that the last may name the new one if ``named``."""
    title = text.title
    if not _can_be_named(title, language):
        return False
    if any(title in other.title or other.title in title for other in chosen):
        return False
    if any(other.title in text.text for other in chosen):
        return False
    return not any(title in other.text for other in (chosen[:-1] if named else chosen))


def _unrelated(own: Sequence[Piece], way: Sequence[Text], drawn: Sequence[str]) -> Fits:
    """Says whether a text has none of the values, is not on the way, and is not named there."""
    free = without(drawn)
    taken = {piece.title.casefold() for piece in own}

    def fits(text: Text) -> bool:
        if text.title and (
            text.title.casefold() in taken or any(text.title in piece.body for piece in own)
        ):
            return False
        return free(text) and not any(text.text.startswith(other.text) for other in way)

    return fits
