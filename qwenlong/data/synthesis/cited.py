"""Cited passages: the answer, and the numbers of the passages that it takes to find it.

Passages are numbered in their order. Half of the questions need one passage, half of them two: the
first says where a thing is kept, the second gives the code of that place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from qwenlong.data.synthesis.corpus import Corpus
from qwenlong.data.synthesis.filler import Filler, filler_of, without
from qwenlong.data.synthesis.haystack import bury
from qwenlong.data.synthesis.names import in_language, keys, places, values
from qwenlong.data.synthesis.tasks import depths_of, each
from qwenlong.types import CountTokens, Example


@dataclass(frozen=True)
class Phrases:
    labels: tuple[str, ...]
    kept: tuple[str, ...]
    codes: tuple[str, ...]
    one: tuple[str, ...]
    two: tuple[str, ...]
    says: str
    so: str


PHRASES = {
    "en": Phrases(
        ("Passage {n}", "[{n}]"),
        ("The {key} is kept at {place}.", "At {place} the {key} is kept."),
        ("The gate code of {place} is {value}.", "At {place} the gate opens with {value}."),
        (
            "Which code opens the gate at {place}? Cite the passage that says so, as in [1].",
            "What is the gate code of {place}? Give the number of its passage in brackets.",
        ),
        (
            "Which code opens the gate of the place where the {key} is kept? Cite all passages"
            " that are needed, as in [1][2].",
            "What is the gate code of the place that keeps the {key}? Give the numbers of the"
            " passages that lead to it in brackets.",
        ),
        'A passage says: "{fact}"',
        "So the gate code is {value}.",
    ),
    "zh": Phrases(
        ("段落{n}", "[{n}]"),
        ("“{key}”存放在{place}。", "{place}存放着“{key}”。"),
        ("{place}的门禁码是{value}。", "在{place}，开门要用{value}。"),
        (
            "{place}的门禁码是什么？请像[1]这样注明依据的段落。",
            "哪个代码能打开{place}的门？请在方括号中给出段落编号。",
        ),
        (
            "存放“{key}”的地方，门禁码是什么？请像[1][2]这样注明所有依据的段落。",
            "哪个代码能打开存放“{key}”之处的门？请在方括号中给出所有相关段落的编号。",
        ),
        "有一段写道：{fact}",
        "因此，门禁码是{value}。",
    ),
}


def make(
    corpus: Corpus,
    examples: int,
    tokens: int,
    count: CountTokens,
    seed: int,
    language: str = "en",
    depth: float | None = None,
) -> Iterator[Example]:
    """Yields ``examples`` questions with gold citations; see ``needles.make``."""
    phrases = in_language(PHRASES, language)
    filler = filler_of(corpus, count, language)
    for i, identity, rng in each("cited", examples, tokens, seed, filler):
        yield _example(identity, 1 + i % 2, phrases, filler, tokens, depth, rng)


def _example(
    identity: str,
    hops: int,
    phrases: Phrases,
    filler: Filler,
    tokens: int,
    depth: float | None,
    rng: Random,
) -> Example:
    pairs = min(12, 2 + tokens // 4096)
    names = keys(rng, pairs, filler.language)
    where, drawn = places(rng, pairs, filler.language), values(rng, pairs)
    codes = [
        rng.choice(phrases.codes).format(place=place, value=value)
        for place, value in zip(where, drawn, strict=True)
    ]
    kept = [
        rng.choice(phrases.kept).format(key=key, place=place)
        for key, place in zip(names, where, strict=True)
    ]
    said = [codes[0], kept[0], *codes[1:], *kept[1:]]
    depths = depths_of(rng, hops, len(said) - hops, depth)
    label = rng.choice(phrases.labels)
    banned = without([*names, *where, *drawn])
    buried = bury(filler, rng, said, depths, tokens, banned, lambda n: label.format(n=n))
    needed = list(zip(buried.places, said, strict=True))[:hops][::-1]
    citations = sorted({place + 1 for place, _ in needed})
    # Without numbers, which change where the passages are cut or lengthened.
    told = [phrases.says.format(fact=fact) for _, fact in needed]
    told.append(phrases.so.format(value=drawn[0]))
    question = rng.choice(phrases.two if hops == 2 else phrases.one)
    return Example(
        id=identity,
        source="cited",
        question=question.format(key=names[0], place=where[0]),
        documents=buried.documents,
        answers=(drawn[0],),
        kind="citation",
        reasoning=filler.joint.join(told),
        gold_documents=tuple(place - 1 for place in citations),
        group=identity,
        metadata={
            "task": f"passages_{hops}",
            "language": filler.language,
            "stated": f"{drawn[0]} {''.join(f'[{n}]' for n in citations)}",
            "depths": sorted(buried.depths[:hops]),
            "gold_citations": citations,
        },
    )
