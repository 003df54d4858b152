"""KeyChain: chains of keys, the true question at the end of one of them.

After LoongRL (Wang et al., arXiv 2510.19363): keys are identifiers of 32 hexadecimal digits that
lead from one to the next. The question names the first key only. At the end of its chain stands
the question to be answered, about a fact elsewhere in the documents; other chains end in other
questions about other facts of the same form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from qwenlong.data.synthesis import needles
from qwenlong.data.synthesis.corpus import UNSPACED, Corpus, with_sentences
from qwenlong.data.synthesis.filler import Filler, filler_of, without
from qwenlong.data.synthesis.haystack import bury
from qwenlong.data.synthesis.names import in_language, keys, uuids, values
from qwenlong.data.synthesis.tasks import depths_of, each
from qwenlong.types import CountTokens, Example

SHORT = 4096
"""Tokens below which chains are short and few, so that they leave room for text."""


@dataclass(frozen=True)
class Phrases:
    links: tuple[str, ...]
    ends: tuple[str, ...]
    asks: tuple[str, ...]
    follows: str


PHRASES = {
    "en": Phrases(
        ("Key {key} leads to key {next}.", "After key {key} comes key {next}."),
        ("Key {key} holds the question: {question}", "With key {key} ends the way: {question}"),
        (
            "Begin with key {key} and follow the chain of keys to the question at its end. Answer"
            " that question from the text.",
            "Key {key} leads from key to key to a question. What is the answer to it?",
        ),
        'The chain is {chain}, and its last key holds the question: "{question}"',
    ),
    "zh": Phrases(
        ("密钥{key}指向密钥{next}。", "密钥{key}之后是密钥{next}。"),
        ("密钥{key}藏着问题：{question}", "密钥{key}是终点，问题是：{question}"),
        (
            "从密钥{key}开始，沿着密钥链走到末端的问题，并根据文本回答该问题。",
            "密钥{key}经由其他密钥通向一个问题。这个问题的答案是什么？",
        ),
        "密钥链是{chain}，最后一个密钥藏着问题：{question}",
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
    """Yields ``examples`` hidden questions; see ``needles.make``. ``depth`` is the fact's."""
    phrases = in_language(PHRASES, language)
    filler = filler_of(corpus, count, language)
    for _, identity, rng in each("keychain", examples, tokens, seed, filler):
        yield _example(identity, phrases, filler, tokens, depth, rng)


def hide(example: Example, others: Sequence[str], seed: int, language: str = "en") -> Example:
    """The example with its question hidden in its own documents, at the end of a chain of keys.

    Its verifier no longer sees the words of the question, so this suits kinds that do not read
    them: not ``numeric`` where the question names a unit or a scale.

    Args:
        others: questions of other examples, for one more chain each.
        language: of the sentences that are put in.
    """
    phrases = in_language(PHRASES, language)
    rng = Random(f"hide {seed} {example.id}")
    ways, links = _chains([example.question, *others], rng.randint(3, 6), phrases, rng)
    put: dict[int, list[str]] = {}
    for link in rng.sample([link for way in links for link in way], sum(map(len, links))):
        put.setdefault(rng.randrange(len(example.documents)), []).append(link)
    joint = "" if language in UNSPACED else " "
    documents = []
    for at, text in enumerate(example.documents):
        title, line, body = text.partition("\n") if "\n" in text else ("", "", text)
        documents.append(title + line + with_sentences(body, put.get(at, ()), joint, rng))
    on_the_way = {at for at, added in put.items() if not set(links[0]).isdisjoint(added)}
    known = on_the_way.union(example.gold_documents) if example.gold_documents else ()
    follows = phrases.follows.format(chain=" → ".join(ways[0]), question=example.question)
    return replace(
        example,
        id=f"keychain-{seed}-{example.id}",
        question=rng.choice(phrases.asks).format(key=ways[0][0]),
        documents=tuple(documents),
        reasoning=f"{follows}\n{example.reasoning}" if example.reasoning else "",
        gold_documents=tuple(sorted(known)),
        metadata={**example.metadata, "chain": ways[0], "hidden_question": example.question},
    )


def _chains(
    questions: Sequence[str], length: int, phrases: Phrases, rng: Random
) -> tuple[list[list[str]], list[list[str]]]:
    """For every question the keys that lead to it, and the sentences that say so."""
    identifiers = uuids(rng, len(questions) * length)
    ways = [identifiers[at : at + length] for at in range(0, len(identifiers), length)]
    links = [
        [
            *(rng.choice(phrases.links).format(key=a, next=b) for a, b in pairwise(way)),
            rng.choice(phrases.ends).format(key=way[-1], question=question),
        ]
        for way, question in zip(ways, questions, strict=True)
    ]
    return ways, links


def _example(
    identity: str,
    phrases: Phrases,
    filler: Filler,
    tokens: int,
    depth: float | None,
    rng: Random,
) -> Example:
    asked = needles.PHRASES[filler.language]
    thing = rng.choice(asked.things)
    chains, length = (2, 2) if tokens < SHORT else (rng.randint(3, 5), rng.randint(3, 6))
    names, drawn = keys(rng, chains, filler.language), values(rng, chains)
    facts = [
        needles.fact_of(asked, thing, name, value, rng)
        for name, value in zip(names, drawn, strict=True)
    ]
    questions = [rng.choice(asked.one[:2]).format(thing=thing, key=name) for name in names]
    ways, links = _chains(questions, length, phrases, rng)
    others = facts[1:] + [link for way in links[1:] for link in way]
    said = [facts[0], *links[0], *others]
    depths = depths_of(rng, 1, len(said) - 1, depth)
    banned = [*names, *drawn, *(key for way in ways for key in way)]
    buried = bury(filler, rng, said, depths, tokens, without(banned))
    follows = phrases.follows.format(chain=" → ".join(ways[0]), question=questions[0])
    found = needles.reasoned(asked, facts[:1], thing, names[0], drawn[0], filler.joint)
    return Example(
        id=identity,
        source="keychain",
        question=rng.choice(phrases.asks).format(key=ways[0][0]),
        documents=buried.documents,
        answers=(drawn[0],),
        reasoning=f"{follows}{filler.joint}{found}",
        gold_documents=tuple(sorted(set(buried.places[: 1 + length]))),
        group=identity,
        metadata={
            "task": "keychain",
            "language": filler.language,
            "stated": drawn[0],
            "depths": [buried.depths[0]],
            "chain": ways[0],
            "chains": chains,
            "hidden_question": questions[0],
        },
    )
