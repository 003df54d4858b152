"""Needles: one fact, one among others of its form, or one key with several values.

After the needle in a haystack and its variants in RULER (Hsieh et al., arXiv 2404.06654). The
three tasks take turns: ``single`` (extractive), ``multi_key`` (extractive; other keys have values
of the same form) and ``multi_value`` (list; the key has several values, and others have theirs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from qwenlong.data.synthesis.corpus import Corpus
from qwenlong.data.synthesis.filler import Filler, filler_of, without
from qwenlong.data.synthesis.haystack import bury
from qwenlong.data.synthesis.names import in_language, keys, values
from qwenlong.data.synthesis.tasks import depths_of, each, joined
from qwenlong.types import CountTokens, Example

TASKS = ("single", "multi_key", "multi_value")


@dataclass(frozen=True)
class Phrases:
    things: tuple[str, ...]
    facts: tuple[str, ...]
    one: tuple[str, ...]
    several: tuple[str, ...]
    says: str
    so: str


PHRASES = {
    "en": Phrases(
        ("access code", "registry number", "locker code", "serial number", "delivery code"),
        (
            "The {thing} of the {key} is {value}.",
            "For the {key}, the {thing} is {value}.",
            "Note that {value} is the {thing} of the {key}.",
            "On the list, the {key} has the {thing} {value}.",
        ),
        (
            "What is the {thing} of the {key}?",
            "Which {thing} does the text give for the {key}?",
            "Find the {thing} of the {key}.",
        ),
        (
            "The text gives several {thing}s for the {key}. List all of them.",
            "What are all the {thing}s of the {key}?",
            "Name every {thing} that the text gives for the {key}.",
        ),
        'The text says: "{fact}"',
        "So the {thing} of the {key} is {value}.",
    ),
    "zh": Phrases(
        ("访问码", "登记号", "储物柜号码", "序列号", "取货码"),
        (
            "“{key}”的{thing}是{value}。",
            "至于“{key}”，它的{thing}是{value}。",
            "请注意，{value}是“{key}”的{thing}。",
            "清单上写着，“{key}”的{thing}为{value}。",
        ),
        (
            "“{key}”的{thing}是什么？",
            "文中给出的“{key}”的{thing}是哪一个？",
            "请找出“{key}”的{thing}。",
        ),
        (
            "文中给出了“{key}”的多个{thing}，请全部列出。",
            "“{key}”的所有{thing}分别是什么？",
            "请写出文中“{key}”的每一个{thing}。",
        ),
        "文中写道：{fact}",
        "因此，“{key}”的{thing}是{value}。",
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
    """Yields ``examples`` questions about facts in documents of ``tokens`` tokens.

    Args:
        depth: where in the documents the facts asked for stand, from 0 to 1; drawn evenly
            without one.

    Raises:
        InputError: the language has no phrases, or the corpus is too small.
    """
    phrases = in_language(PHRASES, language)
    filler = filler_of(corpus, count, language)
    for i, identity, rng in each("needles", examples, tokens, seed, filler):
        yield _example(identity, TASKS[i % len(TASKS)], phrases, filler, tokens, depth, rng)


def _example(
    identity: str,
    task: str,
    phrases: Phrases,
    filler: Filler,
    tokens: int,
    depth: float | None,
    rng: Random,
) -> Example:
    thing = rng.choice(phrases.things)
    others = 0 if task == "single" else min(24, 2 + tokens // 2048)
    asked = rng.randint(2, 5) if task == "multi_value" else 1
    names = keys(rng, 1 + others, filler.language)
    key = names[0]
    drawn = values(rng, asked + others)
    facts = [
        fact_of(phrases, thing, name, value, rng)
        for name, value in zip([key] * asked + names[1:], drawn, strict=True)
    ]
    depths = depths_of(rng, asked, others, depth)
    buried = bury(filler, rng, facts, depths, tokens, without([*names, *drawn]))
    answers = _as_they_stand(drawn[:asked], buried.offsets)
    told = _as_they_stand(facts[:asked], buried.offsets)
    question = rng.choice(phrases.several if asked > 1 else phrases.one)
    stated = joined(answers, filler.language)
    return Example(
        id=identity,
        source="needles",
        question=question.format(thing=thing, key=key),
        documents=buried.documents,
        answers=tuple(answers),
        kind="list" if asked > 1 else "extractive",
        reasoning=reasoned(phrases, told, thing, key, stated, filler.joint),
        gold_documents=tuple(sorted(set(buried.places[:asked]))),
        group=identity,
        metadata={
            "task": task,
            "language": filler.language,
            "stated": stated,
            "depths": sorted(buried.depths[:asked]),
        },
    )


def fact_of(phrases: Phrases, thing: str, key: str, value: str, rng: Random) -> str:
    """A sentence that gives the thing with this key its value."""
    return rng.choice(phrases.facts).format(thing=thing, key=key, value=value)


def reasoned(
    phrases: Phrases, facts: Sequence[str], thing: str, key: str, value: str, joint: str
) -> str:
    """The facts as they were found, and what follows from them."""
    says = joint.join(phrases.says.format(fact=fact) for fact in facts)
    return f"{says}{joint}{phrases.so.format(thing=thing, key=key, value=value)}"


def _as_they_stand(items: Sequence[str], offsets: Sequence[int]) -> list[str]:
    return [item for _, item in sorted(zip(offsets, items, strict=False))]
