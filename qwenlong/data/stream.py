"""From a source's rows to prompts, one at a time: split, checked, bounded, lengthened, fitted.

What is lengthened keeps its group, and its id tells how: ``q1@32768``.

Nothing vanishes: a ``Tally`` counts what is left out, by its reason.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from qwenlong.config import SourceConfig
from qwenlong.data import registry
from qwenlong.data.cut import fitted
from qwenlong.data.distractors import Pool, documents_of, group_of, pool_of
from qwenlong.data.lengthen import lengthened
from qwenlong.data.overlap import Duplicate, deduplicated
from qwenlong.data.prompts import Renderer
from qwenlong.data.rows import Rejected
from qwenlong.data.synthesis.keychain import hide, others_of, unhideable
from qwenlong.types import Example, InputError, Prompt, Split

POOL_CHARACTERS = 2**26
"""Kept of a source's documents to lengthen others with, about 16 M tokens."""
QUESTIONS = 4096
"""Kept of a source's questions, for chains that lead to them."""


@dataclass
class Tally:
    """What became of a source's examples."""

    source: str
    taken: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """By reason."""
    cut: Counter[str] = field(default_factory=Counter)
    """Over-long examples, by what became of them."""
    first: dict[str, str] = field(default_factory=dict)
    """Where each reason was met first."""

    def told(self) -> list[str]:
        """What was left out or cut, in words."""
        total = self.taken + self.left_out.total()
        left_out = [f"{n} of {total} left out: {why}" for why, n in self.left_out.items()]
        return left_out + [f"{n} of {total} {fate}" for fate, n in self.cut.items()]

    def leave_out(self, reason: str, where: str) -> None:
        self.left_out[reason] += 1
        self.first.setdefault(reason, where)


@dataclass(frozen=True)
class Rules:
    """What all sources of a set have in common."""

    renderer: Renderer
    seed: int
    on_error: str = "stop"
    deduplicate: bool = False
    context: int | None = None
    """Longest prompt in tokens; what is longer meets ``over_long``."""
    over_long: str = "drop"
    check: Callable[[Example], object] = lambda _: None
    """Raises InputError for an example that no verifier can score."""


@dataclass(frozen=True)
class Side:
    """The part of a source that a split may use: all, or all but or only some groups."""

    split: Split
    held_out: frozenset[str] | None = None
    """Groups of the held-out split; None: the source is not parted."""

    def has(self, example: Example) -> bool:
        if self.held_out is None:
            return True
        return (group_of(example) in self.held_out) == (self.split == "held_out")


def prompts_of(spec: SourceConfig, side: Side, rules: Rules, tally: Tally) -> Iterator[Prompt]:
    """The prompts of one source, ``spec.examples`` of them at most.

    Raises:
        InputError: the source cannot be read, or a row is broken and ``on_error`` is stop.
    """
    examples = _checked(spec, side, rules, tally)
    if rules.deduplicate:
        examples = _once(examples, tally)
    if spec.hide:
        examples = _hideable(examples, rules, tally)
    shaped = _shaper(spec, side, rules, tally)
    prompts = (_named(prompt, spec) for example in examples if (prompt := shaped(example)))
    for prompt in islice(prompts, spec.examples):
        tally.taken += 1
        yield prompt


@contextmanager
def under(key: str) -> Iterator[None]:
    """Names the source in its errors: ``key.path=…`` for its keys, ``key: …`` for its files."""
    try:
        yield
    except InputError as error:
        joint = "." if re.match(r"\w+=", str(error)) else ": "
        raise InputError(f"{key}{joint}{error}") from None


def held_out_groups(spec: SourceConfig, share: float, rules: Rules) -> frozenset[str]:
    """Groups for the held-out split, of about ``share`` of the examples: documents stay together.

    They are taken in the order of a hash while they fit, so a group of more than that is never
    held out, and no seed changes them.
    """
    sizes: Counter[str] = Counter()
    count = rules.renderer.count_tokens
    for item in registry.items(spec, "train", count, rules.seed):
        if isinstance(item, Example):
            sizes[group_of(item)] += 1
    room = share * sizes.total()
    chosen: set[str] = set()
    for group in sorted(sizes, key=lambda group: hashlib.sha256(group.encode()).digest()):
        if sizes[group] <= room:
            chosen.add(group)
            room -= sizes[group]
    return frozenset(chosen)


def _checked(spec: SourceConfig, side: Side, rules: Rules, tally: Tally) -> Iterator[Example]:
    """The examples of the side that a verifier can score."""
    for item in registry.items(spec, side.split, rules.renderer.count_tokens, rules.seed):
        if isinstance(item, Rejected):
            _refused(item.why, item.where, rules, tally)
            continue
        if not side.has(item):
            continue
        try:
            rules.check(item)
        except InputError as error:
            _refused(str(error), item.id, rules, tally)
            continue
        yield item


def _refused(why: str, where: str, rules: Rules, tally: Tally) -> None:
    if rules.on_error == "stop":
        raise InputError(f"{where}: {why} (on_error=skip would leave it out)")
    tally.leave_out(why, where)


def _once(examples: Iterator[Example], tally: Tally) -> Iterator[Example]:
    for item in deduplicated(examples):
        if isinstance(item, Duplicate):
            tally.leave_out("repeats an earlier example", f"{item.id} of {item.of}")
        else:
            yield item


def _hideable(examples: Iterator[Example], rules: Rules, tally: Tally) -> Iterator[Example]:
    for example in examples:
        if why := unhideable(example):
            _refused(why, example.id, rules, tally)
        else:
            yield example


def _shaper(
    spec: SourceConfig, side: Side, rules: Rules, tally: Tally
) -> Callable[[Example], Prompt | None]:
    """An example as a prompt of the length that is asked for; None where it is left out."""
    bounded = spec.source not in registry.MADE
    limits = [each for each in (spec.lengthen, rules.context) if each is not None]
    pool, filler = _pools(spec, side, rules)
    finish = _hider(spec, side, rules)

    def shaped(example: Example) -> Prompt | None:
        prompt = rules.renderer.prompt(example)
        length = len(prompt.ids)
        if bounded and length < spec.min_tokens:
            tally.leave_out(f"shorter than min_tokens ({spec.min_tokens})", example.id)
            return None
        if bounded and spec.max_tokens is not None and length > spec.max_tokens:
            tally.leave_out(f"longer than max_tokens ({spec.max_tokens})", example.id)
            return None
        try:
            finished = rules.renderer.prompt(finish(example)) if spec.hide else prompt
        except InputError as error:
            _refused(str(error), example.id, rules, tally)
            return None
        if limits and len(finished.ids) > min(limits):
            return _shortened(prompt, finish, min(limits), rules, tally)
        if pool is None or spec.lengthen is None:
            return finished
        return lengthened(
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

    return shaped


def _shortened(
    prompt: Prompt, finish: Callable[[Example], Example], limit: int, rules: Rules, tally: Tally
) -> Prompt | None:
    """An over-long prompt, finished: at most ``limit`` long, or left out."""
    room = limit
    while True:
        result = fitted(prompt, rules.renderer, room, rules.over_long)
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


def _hider(spec: SourceConfig, side: Side, rules: Rules) -> Callable[[Example], Example]:
    """What is done last: the question hidden, or nothing."""
    if not spec.hide:
        return lambda example: example
    asked = ((example.question, "") for example in islice(_own(spec, side, rules), QUESTIONS))
    questions = pool_of(asked, lambda texts: [0] * len(texts), False)
    return lambda example: hide(example, others_of(example, questions, rules.seed), rules.seed)


def _named(prompt: Prompt, spec: SourceConfig) -> Prompt:
    """With an id of its own among those that other entries make of the same example."""
    if spec.lengthen is None:
        return prompt
    kind = "" if spec.distractors == "hard" else f"-{spec.distractors}"
    depth = "" if spec.depth is None else f"-{spec.depth:g}"
    identity = f"{prompt.example.id}@{spec.lengthen}{kind}{depth}"
    named = replace(prompt.example, id=identity, group=group_of(prompt.example))
    return replace(prompt, example=named)


def _pools(spec: SourceConfig, side: Side, rules: Rules) -> tuple[Pool | None, Pool | None]:
    """What lengthens: documents of the source's own side, or running text; and text after it."""
    if spec.lengthen is None:
        return None, None
    count = rules.renderer.count_documents
    filler = None
    if spec.corpus is not None:
        texts, _ = registry.corpus_of(Path(spec.corpus))
        filler = pool_of(((text.text, "") for text in texts.texts), count, False)
    if spec.distractors == "text":
        if filler is None:
            raise InputError("corpus=null: distractors=text needs running text")
        return filler, None
    documents = _capped(documents_of(_own(spec, side, rules)), POOL_CHARACTERS)
    return pool_of(documents, count, spec.distractors == "hard"), filler


def _own(spec: SourceConfig, side: Side, rules: Rules) -> Iterator[Example]:
    """All examples of the source's side, once more; what is left out is counted elsewhere."""
    whole = spec if spec.source in registry.MADE else replace(spec, examples=None)
    return _checked(whole, side, replace(rules, on_error="skip"), Tally(spec.source))


def _capped(documents: Iterator[tuple[str, str]], most: int) -> Iterator[tuple[str, str]]:
    """Documents until ``most`` characters of different ones are reached."""
    seen: set[int] = set()
    for text, group in documents:
        key = hash_of(text)
        if key not in seen:
            seen.add(key)
            most -= len(text)
        if most < 0:
            return
        yield text, group


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
