"""From a source's rows to prompts, one at a time: split, checked, bounded, lengthened, fitted.

Nothing vanishes: a ``Tally`` counts what is left out, by its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path

from qwenlong.config import SourceConfig
from qwenlong.data import registry
from qwenlong.data.overlap import Duplicate, deduplicated
from qwenlong.data.rows import Rejected
from qwenlong.data.rules import Rules, Tally
from qwenlong.data.shape import shaper
from qwenlong.data.splits import Side
from qwenlong.data.synthesis.keychain import why_not_hidden
from qwenlong.types import Example, InputError, Prompt

Repeats = Callable[[Example], Example | Duplicate]
Seen = dict[tuple[object, ...], Repeats]
"""Of a list of sources, what finds repeated examples among those brought to the same form: one
example in two lengths is meant to be there twice."""


def prompts_of(
    spec: SourceConfig, side: Side, rules: Rules, tally: Tally, seen: Seen | None = None
) -> Iterator[Prompt]:
    """The prompts of one source, ``spec.examples`` of them at most.

    Args:
        seen: of the list that the source stands in; new, and filled here, at its first.

    Raises:
        InputError: the source cannot be read, or a row is broken and ``on_error`` is stop.
    """
    if side.note:
        tally.notes.append(side.note)
    examples = _checked(spec, side, rules, tally)
    if spec.hide:
        examples = _hideable(examples, rules, tally)
    own, corpus = partial(_own, spec, side, rules), partial(_filler, spec, side, rules, tally)
    shape = shaper(spec, own, rules, tally, corpus)
    repeats = _repeats(spec, {} if seen is None else seen) if rules.deduplicate else None
    for prompt in islice(_shaped(examples, shape, repeats, rules, tally), spec.examples):
        tally.taken += 1
        yield prompt
    if spec.examples is not None and tally.taken < spec.examples:
        tally.notes.append(f"{spec.examples} asked for, {tally.taken} are there")


def _checked(spec: SourceConfig, side: Side, rules: Rules, tally: Tally) -> Iterator[Example]:
    """The examples of the side that a verifier can score."""
    count_tokens, note = rules.renderer.count_tokens, tally.notes.append
    for item in registry.items(spec, side.split, count_tokens, rules.seed, note):
        if isinstance(item, Rejected):
            if not (side.again and rules.on_error == "skip"):
                _refused(item.why, item.where, rules, tally)
            continue
        if not side.has(item):
            continue
        if side.leaks(item):
            tally.leave_out("shares a document or its group with the held-out split", item.id)
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


def _repeats(spec: SourceConfig, seen: Seen) -> Repeats:
    """Tells whether an example repeats one that was asked about before, in the same form."""
    form = spec.lengthen, spec.distractors, spec.depth, spec.hide
    if form not in seen:
        asked: list[Example] = []
        # Gives an answer for each example that it takes.
        answers = deduplicated(asked.pop() for _ in count())

        def answer(example: Example) -> Example | Duplicate:
            asked.append(example)
            return next(answers)

        seen[form] = answer
    return seen[form]


def _hideable(examples: Iterator[Example], rules: Rules, tally: Tally) -> Iterator[Example]:
    for example in examples:
        if why := why_not_hidden(example):
            _refused(why, example.id, rules, tally)
        else:
            yield example


def _shaped(
    examples: Iterator[Example],
    shape: Callable[[Example], Prompt | None],
    repeats: Repeats | None,
    rules: Rules,
    tally: Tally,
) -> Iterator[Prompt]:
    for example in examples:
        cut = tally.cut.copy()
        try:
            prompt = shape(example)
        except InputError as error:
            _refused(str(error), example.id, rules, tally)
            continue
        if prompt is None:
            continue
        # Asked last: what one source leaves out, such as by its length, another may have.
        found = repeats(example) if repeats else example
        if isinstance(found, Duplicate):
            tally.cut = cut
            tally.leave_out("repeats an earlier example", f"{found.id} of {found.of}")
        else:
            yield prompt


def _filler(spec: SourceConfig, side: Side, rules: Rules, tally: Tally) -> Iterator[str]:
    """The texts of the corpus that the side may have; files that cannot be read are counted."""
    note = tally.notes.append
    corpus, rejected = registry.corpus_of(Path(spec.corpus or ""), side.split, note)
    for item in rejected:
        if not (side.again and rules.on_error == "skip"):
            _refused(item.why, item.where, rules, tally)
    return (text.text for text in corpus.texts)


def _own(spec: SourceConfig, side: Side, rules: Rules) -> Iterator[Example]:
    """All examples of the source's side, once more; what is left out is counted elsewhere."""
    whole = spec if spec.source in registry.MADE else replace(spec, examples=None)
    return _checked(whole, side, replace(rules, on_error="skip"), Tally(spec.source))
