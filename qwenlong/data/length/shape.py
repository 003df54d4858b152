"""Makes an example a prompt of the length asked for: bounded, lengthened, cut, its question hidden.

What is lengthened keeps its group, and its id says how: ``q1@32768``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice

from qwenlong.config import SourceConfig
from qwenlong.data import registry
from qwenlong.data.gold import numbered
from qwenlong.data.length.cut import fitted
from qwenlong.data.length.distractors import Pool, documents_of, group_of, pool_of
from qwenlong.data.length.lengthen import lengthened
from qwenlong.data.rules import Rules, Tally
from qwenlong.data.synthesis.keychain import hide, other_questions
from qwenlong.types import Example, InputError, Prompt

POOL_CHARACTERS = 2**26
"""Kept of a source's documents to lengthen others with, about 16 M tokens."""
QUESTIONS = 4096
"""Kept of a source's questions, for chains that lead to them."""
_LABEL = re.compile(r"(?:\[(\d+)\]|(?:passage|document|段落) ?(\d+)\b)[.:：]?\s*", re.IGNORECASE)
Shape = Callable[[Example], Prompt | None]
Finish = Callable[[Example], Example]


def shape_of(
    spec: SourceConfig,
    whole_side: Callable[[], Iterator[Example]],
    rules: Rules,
    tally: Tally,
    running_text: Callable[[], Iterable[str]] = tuple,
) -> Shape:
    """A function that makes an example a prompt, or gives None: then ``tally`` has the reason.

    The function raises InputError for an example of which no such prompt can be made.

    Args:
        whole_side: all examples of the source's side, for distractors and other questions.
        running_text: the texts of ``spec.corpus``.

    Raises:
        InputError: there is no text to lengthen with.
    """
    synthetic = spec.source in registry.MADE
    if synthetic and spec.lengthen is not None and spec.distractors != "text":
        raise InputError(_only_by_text(spec, spec.source))
    limits = [each for each in (spec.lengthen, rules.context) if each is not None]
    pool, filler = _pools(spec, whole_side, rules, running_text)
    if spec.hide:
        asked = ((example.question, "") for example in islice(whole_side(), QUESTIONS))
        questions = pool_of(asked, lambda texts: [0] * len(texts), False)

    def finish(example: Example) -> Example:
        """The last thing that is done to an example: its question is hidden, if that is wanted."""
        if not spec.hide:
            return example
        return hide(example, other_questions(example, questions, rules.seed), rules.seed)

    def shape(example: Example) -> Prompt | None:
        example, task = unlabelled(example), _task_of(example, spec)
        prompt = rules.renderer.prompt(example)
        length = len(prompt.ids)
        # Of a synthetic task, min_tokens and max_tokens are the lengths that it is made in.
        if not synthetic and length < spec.min_tokens:
            tally.leave_out(f"shorter than min_tokens ({spec.min_tokens})", example.id)
            return None
        if not synthetic and spec.max_tokens is not None and length > spec.max_tokens:
            tally.leave_out(f"longer than max_tokens ({spec.max_tokens})", example.id)
            return None
        finished = rules.renderer.prompt(finish(example)) if spec.hide else prompt
        if limits and len(finished.ids) > min(limits):
            short = _shortened(prompt, finish, min(limits), task, rules, tally)
            return _named(short, spec) if short else None
        if pool is None or spec.lengthen is None:
            return finished
        if task and spec.distractors != "text":
            raise InputError(_only_by_text(spec, task))
        long = lengthened(
            example, pool, rules.renderer, spec.lengthen, rules.seed,
            spec.distractors, spec.depth, filler, finish,
        )  # fmt: skip
        return _named(long, spec)

    return shape


def unlabelled(example: Example) -> Example:
    """Without the numbers that its documents bring along: the prompt numbers them itself."""
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


def _task_of(example: Example, spec: SourceConfig) -> str:
    """The synthetic task that an example is of, which a built set's examples say; "" for others."""
    if spec.source in registry.MADE:
        return spec.source
    says = example.source in ("facts", "recital") or "stated" in example.metadata
    synthetic = spec.source == "built" and says and example.source in registry.MADE
    return example.source if synthetic else ""


def _only_by_text(spec: SourceConfig, task: str) -> str:
    return (
        f"distractors={spec.distractors}: examples of {task} are lengthened by text alone"
        " (distractors: text, and a corpus): in others of their kind stand other facts alike"
    )


def _shortened(
    prompt: Prompt, finish: Finish, limit: int, task: str, rules: Rules, tally: Tally
) -> Prompt | None:
    """An over-long prompt, finished: at most ``limit`` long, or left out."""
    room = limit
    while True:
        result = fitted(prompt, rules.renderer, room, rules.over_long, task)
        fate = f"longer than {limit} tokens: {result.fate} (over_long={rules.over_long})"
        if result.prompt is None:
            tally.leave_out(fate, prompt.example.id)
            return None
        finished = rules.renderer.prompt(finish(result.prompt.example))
        if len(finished.ids) <= limit:
            tally.cut[fate] += 1
            return replace(finished, cut=result.prompt.cut)
        # What finishing adds differs by a few tokens with what is left of the documents.
        room -= len(finished.ids) - limit


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
    return replace(prompt, example=replace(example, id=identity, group=group_of(example)))


def _pools(
    spec: SourceConfig,
    whole_side: Callable[[], Iterator[Example]],
    rules: Rules,
    running_text: Callable[[], Iterable[str]],
) -> tuple[Pool | None, Callable[[], Pool] | None]:
    """What lengthens: documents of the source's own side, or running text; and text after it.

    The text after it is counted only once it is needed.
    """
    if spec.lengthen is None:
        return None, None
    count = rules.renderer.count_documents
    filler = None
    if spec.corpus is not None:
        texts = [(text, "") for text in running_text()]
        filler = cache(lambda: pool_of(texts, count, False))
    if spec.distractors == "text":
        if filler is None:
            raise InputError("corpus=null: distractors=text needs running text")
        return filler(), None
    documents = _at_most(documents_of(whole_side()), POOL_CHARACTERS)
    return pool_of(documents, count, spec.distractors == "hard"), filler


def _at_most(documents: Iterator[tuple[str, str]], characters: int) -> Iterator[tuple[str, str]]:
    """Documents until different ones have ``characters`` together."""
    seen: set[str] = set()
    for text, group in documents:
        if text not in seen:
            seen.add(text)
            characters -= len(text)
        if characters < 0:
            return
        yield text, group
