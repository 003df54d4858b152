"""Multi-hop over titles and links: documents that name each other's titles.

The question names the title of the first document; its text names the title of another one, and so
on; the last has the value asked for. Where a document of the corpus names another by itself
("Cartier Field" names "Notre Dame Stadium"), that is the link; elsewhere a sentence is put in.
Every document on the way, and those of a second chain, have values of the same form. A document on
a way names the title of exactly one other document that is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from qwenlong.data.synthesis.corpus import (
    Corpus,
    Text,
    sentence_ends,
    with_sentences,
    word_ends,
)
from qwenlong.data.synthesis.filler import Filler, Fits, Piece, beginning, filler_of, without
from qwenlong.data.synthesis.haystack import surround
from qwenlong.data.synthesis.names import in_language, keys, values
from qwenlong.data.synthesis.tasks import depths_of, each
from qwenlong.types import CountTokens, Example, InputError

SHORT = 4096
"""Tokens below which the second chain is left out and texts on the way are cut."""
_SHORTEST = {"en": 4, "zh": 2}
"""Characters of a title; it is looked up by as many of its first ones."""
_LONGEST = 60
_QUOTES = frozenset('"“”《》\n')
_LOOKS = 16
"""Texts that are looked at for one that names another's title."""
_TRIES = 400
_BODY = 100
"""Characters of a text on the way, where there are such."""


@dataclass(frozen=True)
class Phrases:
    things: tuple[str, ...]
    facts: tuple[str, ...]
    links: tuple[str, ...]
    asks: tuple[str, ...]
    steps: tuple[str, ...]
    step: str
    found: str


PHRASES = {
    "en": Phrases(
        ("file number", "shelf mark", "inventory number", "filing code"),
        (
            "The {thing} of this document is {value}.",
            "This document has the {thing} {value}.",
            "{value} is the {thing} of this document.",
        ),
        (
            'More about this stands in the document "{title}".',
            'See also the document "{title}".',
            'The account goes on in "{title}".',
        ),
        (
            'The text of the document "{start}" names the title of another document. Go there, and'
            " on in the same way, {steps} in all. What is the {thing} of the document where you"
            " arrive?",
            'Begin with the document "{start}" and take {steps}, each to the document whose title'
            " is named in the text. Which {thing} does the last one have?",
        ),
        ("one step", "two steps", "three steps"),
        'The document "{a}" names "{b}".',
        'The document "{b}" says: "{fact}" So the answer is {value}.',
    ),
    "zh": Phrases(
        ("档案号", "书架号", "馆藏编号", "归档码"),
        (
            "本文件的{thing}是{value}。",
            "这份文件的{thing}为{value}。",
            "请注意，{value}是本文件的{thing}。",
        ),
        (
            "更多内容见文件《{title}》。",
            "另请参阅文件《{title}》。",
            "后续记述载于《{title}》。",
        ),
        (
            "文件《{start}》的正文提到了另一份文件的标题。请转到那份文件，并照此继续，共走{steps}。"
            "最后到达的文件的{thing}是什么？",
            "从文件《{start}》出发走{steps}，每一步都转到正文所提到标题的那份文件。"
            "最后一份文件的{thing}是什么？",
        ),
        ("一步", "两步", "三步"),
        "文件《{a}》提到了《{b}》。",
        "文件《{b}》写道：{fact}因此答案是{value}。",
    ),
}


Titles = Mapping[str, Sequence[Text]]
"""Titled texts by the beginnings of their titles."""


def make(
    corpus: Corpus,
    examples: int,
    tokens: int,
    count: CountTokens,
    seed: int,
    language: str = "en",
    depth: float | None = None,
) -> Iterator[Example]:
    """Yields ``examples`` questions over one to three links; see ``needles.make``."""
    phrases = in_language(PHRASES, language)
    filler = filler_of(corpus, count, language)
    titles = _titles(filler)
    for i, identity, rng in each("multihop", examples, tokens, seed, filler):
        steps = 1 + i % (2 if tokens < SHORT else 3)
        yield _example(identity, steps, phrases, filler, titles, tokens, depth, rng)


def _example(
    identity: str,
    steps: int,
    phrases: Phrases,
    filler: Filler,
    titles: Titles,
    tokens: int,
    depth: float | None,
    rng: Random,
) -> Example:
    thing = rng.choice(phrases.things)
    lengths = [steps + 1] if tokens < SHORT else [steps + 1, rng.randint(2, 4)]
    way = _ways(filler, titles, lengths, tokens // (3 * sum(lengths)), rng)
    drawn = values(rng, len(way))
    while any(value in text.text for value in drawn for text in way):
        drawn = values(rng, len(way))
    facts = [rng.choice(phrases.facts).format(thing=thing, value=value) for value in drawn]
    ends = {sum(lengths[: n + 1]) - 1 for n in range(len(lengths))}
    own: list[Piece] = []
    real: list[bool] = []
    for at, (text, fact) in enumerate(zip(way, facts, strict=True)):
        added = [fact]
        if at not in ends:
            real.append(way[at + 1].title in text.text)
            if not real[-1]:
                added.append(rng.choice(phrases.links).format(title=way[at + 1].title))
        own.append(Piece(text.title, with_sentences(text.text, added, filler.joint, rng)))
    depths = depths_of(rng, steps + 1, len(own) - steps - 1, depth)
    placed = surround(filler, rng, own, depths, tokens, _apart(own, way, drawn))
    told = [phrases.step.format(a=a.title, b=b.title) for a, b in pairwise(own[: steps + 1])]
    told.append(phrases.found.format(b=own[steps].title, fact=facts[steps], value=drawn[steps]))
    question = rng.choice(phrases.asks).format(
        start=own[0].title, thing=thing, steps=phrases.steps[steps - 1]
    )
    return Example(
        id=identity,
        source="multihop",
        question=question,
        documents=placed.documents,
        answers=(drawn[steps],),
        reasoning=filler.joint.join(told),
        gold_documents=tuple(sorted(placed.places[: steps + 1])),
        group=identity,
        metadata={
            "task": f"links_{steps}",
            "language": filler.language,
            "stated": drawn[steps],
            "depths": sorted(placed.depths[: steps + 1]),
            "titles": [piece.title for piece in own[: steps + 1]],
            "links_of_the_corpus": sum(real[:steps]),
        },
    )


def _titles(filler: Filler) -> Titles:
    by_start: dict[str, list[Text]] = {}
    for text in filler.texts:
        if _can_be_named(text.title, filler.language):
            by_start.setdefault(text.title[: _SHORTEST[filler.language]], []).append(text)
    return by_start


def _can_be_named(title: str, language: str) -> bool:
    return _SHORTEST[language] <= len(title) <= _LONGEST and _QUOTES.isdisjoint(title)


def _ways(
    filler: Filler, titles: Titles, lengths: Sequence[int], longest: int, rng: Random
) -> list[Text]:
    """The texts of each chain, one chain after the other, each of ``longest`` tokens at most."""
    chosen: list[Text] = []
    for length in lengths:
        for at in range(length):
            chosen.append(_next(filler, titles, chosen, at == 0, longest, rng))
    return chosen


def _next(
    filler: Filler,
    titles: Titles,
    chosen: Sequence[Text],
    first: bool,
    longest: int,
    rng: Random,
) -> Text:
    """A text that the last one names, if there is one; else any; to begin with, one that names."""
    if not first:
        for text in _named_in(chosen[-1].text, titles, filler.language):
            cut = _beginning(filler, text, longest)
            if cut and _goes_with(cut, chosen, filler.language, named=True):
                return cut
    for look in range(_TRIES):
        text = rng.choice(filler.texts)
        if len(text.text) < _BODY and look < _TRIES // 2:
            continue
        naming = first and look < _LOOKS
        if naming and not _named_in(text.text, titles, filler.language):
            continue
        if not text.title:
            text = Text(_made_up(filler.language, rng), text.text)
        cut = _beginning(filler, text, longest)
        if not cut or not _goes_with(cut, chosen, filler.language, named=False):
            continue
        if not naming or _named_in(cut.text, titles, filler.language):
            return cut
    raise InputError(
        "the corpus has too few titles that differ for questions over links; a title is a"
        f" document's first line or file name of {_SHORTEST['en']} to {_LONGEST} signs"
    )


def _made_up(language: str, rng: Random) -> str:
    """A title for a paragraph of running text."""
    key = keys(rng, 1, language)[0]
    return f"The {key.title()}" if language == "en" else key


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
    """Whether titles stay apart, and no text names one but, if ``named``, the last the new one."""
    title = text.title
    if not _can_be_named(title, language):
        return False
    if any(title in other.title or other.title in title for other in chosen):
        return False
    if any(other.title in text.text for other in chosen):
        return False
    return not any(title in other.text for other in (chosen[:-1] if named else chosen))


def _apart(own: Sequence[Piece], way: Sequence[Text], drawn: Sequence[str]) -> Fits:
    """Whether a text has none of the values, is none on the way, and is named by none of them."""
    free = without(drawn)
    taken = {piece.title.casefold() for piece in own}

    def fits(text: Text) -> bool:
        if text.title and (
            text.title.casefold() in taken or any(text.title in piece.body for piece in own)
        ):
            return False
        return free(text) and not any(text.text.startswith(other.text) for other in way)

    return fits
