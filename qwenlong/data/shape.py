"""What makes an example a prompt of the length asked for: bounded, lengthened, cut, hidden.

What is lengthened keeps its group, and its id tells how: ``q1@32768``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice

from qwenlong.config import SourceConfig
from qwenlong.data import registry
from qwenlong.data.cut import fitted
from qwenlong.data.distractors import Pool, documents_of, group_of, pool_of
from qwenlong.data.gold import numbered
from qwenlong.data.lengthen import lengthened
from qwenlong.data.rules import Rules, Tally
from qwenlong.data.synthesis.keychain import hide, other_questions
from qwenlong.types import Example, InputError, Prompt

POOL_CHARACTERS = 2**26
"""Kept of a source's documents to lengthen others with, about 16 M tokens."""
QUESTIONS = 4096
"""Kept of a source's questions, for chains that lead to them."""
_LABEL = re.compile(r"(?:\[(\d+)\]|(?:passage|document|段落) ?(\d+)\b)[.:：]?\s*", re.IGNORECASE)
Own = Callable[[], Iterator[Example]]
"""All examples of a source's side, from the first."""
Texts = Callable[[], Iterable[str]]


def shaper(
    spec: SourceConfig, own: Own, rules: Rules, tally: Tally, corpus: Texts = tuple
) -> Callable[[Example], Prompt | None]:
    """What makes an example of ``spec`` a prompt, or None where ``tally`` tells why there is none.

    It raises InputError for an example of which no such prompt can be made.

    Args:
        own: where distractors and other questions come from.
        corpus: the texts of ``spec.corpus`` that may be run on.

    Raises:
        InputError: there is no text to lengthen with.
    """
    bounded = spec.source not in registry.MADE
    if not bounded and spec.lengthen is not None and spec.distractors != "text":
        raise InputError(_by_text_alone(spec, spec.source))
    limits = [each for each in (spec.lengthen, rules.context) if each is not None]
    pool, filler = _pools(spec, own, rules, corpus)
    finish = _hider(spec, own, rules)

    def shaped(example: Example) -> Prompt | None:
        example, made = unlabelled(example), _made(example, spec)
        prompt = rules.renderer.prompt(example)
        length = len(prompt.ids)
        if bounded and length < spec.min_tokens:
            tally.leave_out(f"shorter than min_tokens ({spec.min_tokens})", example.id)
            return None
        if bounded and spec.max_tokens is not None and length > spec.max_tokens:
            tally.leave_out(f"longer than max_tokens ({spec.max_tokens})", example.id)
            return None
        finished = rules.renderer.prompt(finish(example)) if spec.hide else prompt
        if limits and len(finished.ids) > min(limits):
            short = _shortened(prompt, finish, min(limits), made, rules, tally)
            return _named(short, spec) if short else None
        if pool is None or spec.lengthen is None:
            return finished
        if made and spec.distractors != "text":
            raise InputError(_by_text_alone(spec, made))
        long = lengthened(
            example,
            pool,
            rules.renderer,
            spec.lengthen,
            rules.seed,
            spec.distractors,
            spec.depth,
            filler,
            finish,
        )
        return _named(long, spec)

    return shaped


def unlabelled(example: Example) -> Example:
    """Without the numbers that numbered documents have of their own: the prompt gives them anew."""
    if not numbered(example):
        return example
    labels = [_LABEL.match(text) for text in example.documents]
    if not all(label and int(label[1] or label[2]) == n for n, label in enumerate(labels, 1)):
        return example
    bare = (
        text[label.end() :] if label else text
        for text, label in zip(example.documents, labels, strict=True)
    )
    return replace(example, documents=tuple(bare))


def _made(example: Example, spec: SourceConfig) -> str:
    """The synthetic task that an example is of; "" for others. Built ones tell it of themselves."""
    if spec.source in registry.MADE:
        return spec.source
    told = example.source in ("facts", "recital") or "stated" in example.metadata
    is_made = spec.source == "built" and told and example.source in registry.MADE
    return example.source if is_made else ""


def _by_text_alone(spec: SourceConfig, made: str) -> str:
    return (
        f"distractors={spec.distractors}: examples of {made} are lengthened by text alone"
        " (distractors: text, and a corpus): in others of their kind stand other facts alike"
    )


def _shortened(
    prompt: Prompt,
    finish: Callable[[Example], Example],
    limit: int,
    made: str,
    rules: Rules,
    tally: Tally,
) -> Prompt | None:
    """An over-long prompt, finished: at most ``limit`` long, or left out."""
    room = limit
    while True:
        result = fitted(prompt, rules.renderer, room, rules.over_long, made)
        told = f"longer than {limit} tokens: {result.fate} (over_long={rules.over_long})"
        if result.prompt is None:
            tally.leave_out(told, prompt.example.id)
            return None
        finished = rules.renderer.prompt(finish(result.prompt.example))
        if len(finished.ids) <= limit:
            tally.cut[told] += 1
            return replace(finished, cut=result.prompt.cut)
        # What finishing adds differs by a few tokens with what is left of the documents.
        room -= len(finished.ids) - limit


def _hider(spec: SourceConfig, own: Own, rules: Rules) -> Callable[[Example], Example]:
    """What is done last: the question hidden, or nothing."""
    if not spec.hide:
        return lambda example: example
    asked = ((example.question, "") for example in islice(own(), QUESTIONS))
    questions = pool_of(asked, lambda texts: [0] * len(texts), False)
    return lambda example: hide(
        example, other_questions(example, questions, rules.seed), rules.seed
    )


def _named(prompt: Prompt, spec: SourceConfig) -> Prompt:
    """With an id of its own among those that other entries make of the same example."""
    example = prompt.example
    if numbered(example) and "stated" in example.metadata:
        cited = "".join(f"[{number}]" for number in example.metadata["gold_citations"])
        stated = f"{example.answers[0]} {cited}"
        example = replace(example, metadata={**example.metadata, "stated": stated})
    if spec.lengthen is None:
        return replace(prompt, example=example)
    kind = "" if spec.distractors == "hard" else f"-{spec.distractors}"
    depth = "" if spec.depth is None else f"-{spec.depth:g}"
    identity = f"{example.id}@{spec.lengthen}{kind}{depth}"
    named = replace(example, id=identity, group=group_of(example))
    return replace(prompt, example=named)


def _pools(
    spec: SourceConfig, own: Own, rules: Rules, corpus: Texts
) -> tuple[Pool | None, Callable[[], Pool] | None]:
    """What lengthens: documents of the source's own side, or running text; and text after it.

    The text after it is counted only once it is needed.
    """
    if spec.lengthen is None:
        return None, None
    count = rules.renderer.count_documents
    filler = None
    if spec.corpus is not None:
        texts = [(text, "") for text in corpus()]
        filler = cache(lambda: pool_of(texts, count, False))
    if spec.distractors == "text":
        if filler is None:
            raise InputError("corpus=null: distractors=text needs running text")
        return filler(), None
    documents = _capped(documents_of(own()), POOL_CHARACTERS)
    return pool_of(documents, count, spec.distractors == "hard"), filler


def _capped(documents: Iterator[tuple[str, str]], most: int) -> Iterator[tuple[str, str]]:
    """Documents until ``most`` characters of different ones are reached."""
    seen: set[str] = set()
    for text, group in documents:
        if text not in seen:
            seen.add(text)
            most -= len(text)
        if most < 0:
            return
        yield text, group
