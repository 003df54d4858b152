"""KeyChain: chains of keys, the true question at the end of one of them.

After LoongRL (Wang et al., arXiv 2510.19363): keys are identifiers of 32 hexadecimal digits that
lead from one to the next. The question names the first key only. At the end of its chain stands
the question to be answered, about a fact elsewhere in the documents; other chains end in other
questions about other facts of the same form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from random import Random

from qwenlong.data.distractors import Pool, drawn, group_of
from qwenlong.data.synthesis import needles
from qwenlong.data.synthesis.corpus import UNSPACED, Corpus, with_sentences
from qwenlong.data.synthesis.filler import Filler, filler_of, without
from qwenlong.data.synthesis.haystack import bury
from qwenlong.data.synthesis.names import in_language, keys, uuids, values
from qwenlong.data.synthesis.tasks import depths_of, each
from qwenlong.rewards.registry import kind_of, kinds
from qwenlong.rewards.wording import is_chinese
from qwenlong.types import CountTokens, Example, InputError

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


def unhideable(example: Example) -> str:
    """Why the question of an example cannot be hidden; empty where it can."""
    if not kind_of(example).may_hide_question:
        hideable = (kind.name for kind in kinds().values() if kind.may_hide_question)
        return f"kind={example.kind}: hide=true takes {', '.join(hideable)} only"
    if not example.documents or example.metadata.get("messages"):
        return "hide=true needs documents to put the chain in"
    return "hide=true: is a chain of keys already" if "chain" in example.metadata else ""


def others_of(example: Example, questions: Pool, seed: int) -> list[str]:
    """Two to four of the ``questions`` (a pool of no group) for the other chains of ``hide``.

    They are in the language of the example's own and hold none of its answers.
    """
    rng = Random(f"others {seed} {example.id}")
    most, chinese = rng.randint(2, 4), is_chinese(example.question)
    bare = replace(example, documents=())
    texts = (questions.texts[number] for number in drawn(questions, bare, "random", rng))
    fitting = (text for text in texts if text != example.question and is_chinese(text) == chinese)
    return list(islice(fitting, most))


def hide(example: Example, others: Sequence[str], seed: int) -> Example:
    """The example with its question hidden in its own documents, at the end of a chain of keys.

    The sentences, in Chinese for a Chinese question, else in English, stand in any documents; those
    that hold its chain become gold ones where gold is known. Its verifier no longer sees the words
    of the question: see ``unhideable``.

    Args:
        others: questions of other examples, for one more chain each; see ``others_of``.

    Raises:
        InputError: there are no others, or no documents.
    """
    if not others or not example.documents:
        lacks = "document to hide its question in" if others else "other question to lead astray"
        raise InputError(f"hide=true: has no {lacks}")
    language = "zh" if is_chinese(example.question) else "en"
    phrases = in_language(PHRASES, language)
    rng = Random(f"hide {seed} {example.id}")
    # In quotation marks, for not every real question ends in a question mark.
    quoted = [f"“{question}”" for question in (example.question, *others)]
    ways, links = _chains(quoted, rng.randint(3, 6), phrases, rng)
    put: dict[int, list[str]] = {}
    for link in rng.sample([link for way in links for link in way], sum(map(len, links))):
        put.setdefault(rng.randrange(len(example.documents)), []).append(link)
    joint = "" if language in UNSPACED else " "
    documents = []
    for at, text in enumerate(example.documents):
        title, line, body = text.partition("\n") if "\n" in text else ("", "", text)
        added = put.get(at)
        documents.append(title + line + with_sentences(body, added, joint, rng) if added else text)
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
        group=group_of(example),
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
