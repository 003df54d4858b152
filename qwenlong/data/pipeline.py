"""From the rows of a source to prompts, one at a time. The way of one row:

1. A reader (``sources/``, ``own/``, ``synthesis/``, found by ``registry``) makes an ``Example`` of
   it, or a ``Rejected`` that says where it stands and why it gives none.
2. It must be on the split's side (``splits``), and a verifier must be able to score it.
3. ``length.shape`` brings it to the length that is asked for: bounded, lengthened or cut, its
   question hidden. ``prompts.Renderer`` writes the token ids that the policy reads.
4. What repeats an earlier example is left out (``overlap``), if the experiment asks for it.

Nothing is lost silently: a ``Tally`` counts what is left out, by its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

from qwenlong.config import DataConfig, SourceConfig
from qwenlong.config.callables import is_reference
from qwenlong.data import registry
from qwenlong.data.length.shape import Shape, shape_of
from qwenlong.data.overlap import Repeats
from qwenlong.data.rows import Rejected
from qwenlong.data.rules import Rules, Tally
from qwenlong.data.splits import Side, sides
from qwenlong.data.synthesis.corpus import corpus_of
from qwenlong.data.synthesis.keychain import why_not_hidden
from qwenlong.types import CountTokens, Example, InputError, Prompt

HELD_OUT = 0.2
"""Share of a set's examples that is held out where a run both trains and evaluates on it."""
Seen = dict[tuple[object, ...], Repeats]
"""The examples that a list of sources has given, by the form that they were brought to: one example
in two lengths is meant to be there twice."""


def load(data: DataConfig, part: str, rules: Rules) -> tuple[list[Prompt], list[str]]:
    """The prompts of ``data.<part>`` in the order of its sources, and what was left out, in words.

    What is read both for data.held_out and for another part is divided by its documents.

    Raises:
        InputError: a source cannot be read, or there is no example.
    """
    specs = {
        name: {f"data.{name}.{i}": spec for i, spec in enumerate(getattr(data, name))}
        for name in ("sft", "train", "held_out")
    }
    trained = {**specs["sft"], **specs["train"]}
    count_tokens = rules.renderer.count_tokens
    train, held_out = sides(trained, specs["held_out"], HELD_OUT, count_tokens, rules.seed)
    prompts: list[Prompt] = []
    notes: list[str] = []
    seen: Seen = {}
    for key, spec in specs[part].items():
        tally = Tally(spec.source)
        side = held_out[key] if part == "held_out" else train[key]
        with registry.under(key):
            prompts += prompts_of(spec, side, rules, tally, seen)
        notes += [f"{key} ({spec.source}): {line}" for line in tally.lines()]
    if not prompts:
        if not getattr(data, part):
            raise InputError(f"data.{part}=[]: no examples; name at least one source")
        raise InputError(f"data.{part}: no examples are left: {'; '.join(notes)}")
    return _with_unique_ids(prompts), notes


def sample(data: DataConfig, part: str, most: int, count: CountTokens, seed: int) -> list[Example]:
    """The first examples of each source: what a tokenizer can be trained on."""
    examples: list[Example] = []
    for i, spec in enumerate(getattr(data, part)):
        few = replace(spec, examples=min(spec.examples or most, most))
        with registry.under(f"data.{part}.{i}"):
            items = registry.items(few, "train", count, seed)
            examples += islice((item for item in items if isinstance(item, Example)), most)
    return examples


def prompts_of(
    spec: SourceConfig, side: Side, rules: Rules, tally: Tally, seen: Seen | None = None
) -> Iterator[Prompt]:
    """The prompts of one source, ``spec.examples`` of them at most.

    Args:
        seen: shared by the sources of one list, and filled here; empty for the first of them.

    Raises:
        InputError: the source cannot be read, or a row is broken and ``on_error`` is stop.
    """
    if side.note:
        tally.notes.append(side.note)

    def whole_side() -> Iterator[Example]:
        """All examples of the side, read once more; what is left out is already counted."""
        # What is made on demand, by a task or a function of the user's, has no end of its own.
        on_demand = spec.source in registry.MADE or is_reference(spec.source)
        whole = spec if on_demand else replace(spec, examples=None)
        return _examples(whole, side, replace(rules, on_error="skip"), Tally(spec.source))

    def running_text() -> Iterator[str]:
        """The texts of the corpus that the side may have; unreadable files are counted."""
        corpus, rejected = corpus_of(Path(spec.corpus or ""), side.split, tally.notes.append)
        for item in rejected:
            _reject(item, side, rules, tally)
        return (text.text for text in corpus.texts)

    shape = shape_of(spec, whole_side, rules, tally, running_text)
    form = spec.lengthen, spec.distractors, spec.depth, spec.hide
    repeats = None
    if rules.deduplicate:
        repeats = Repeats() if seen is None else seen.setdefault(form, Repeats())
    examples = _examples(spec, side, rules, tally)
    prompts = _shaped(examples, spec.hide, shape, repeats, rules, tally)
    for prompt in islice(prompts, spec.examples):
        tally.taken += 1
        yield prompt
    if spec.examples is not None and tally.taken < spec.examples:
        tally.notes.append(f"{spec.examples} asked for, {tally.taken} are there")


def _examples(spec: SourceConfig, side: Side, rules: Rules, tally: Tally) -> Iterator[Example]:
    """The examples of the side that a verifier can score."""
    count_tokens, note = rules.renderer.count_tokens, tally.notes.append
    for item in registry.items(spec, side.split, count_tokens, rules.seed, note):
        if isinstance(item, Rejected):
            _reject(item, side, rules, tally)
        elif not side.has(item):
            continue
        elif side.leaks(item):
            tally.leave_out("shares a document or its group with the held-out split", item.id)
        else:
            try:
                rules.check(item)
            except InputError as error:
                _refuse(str(error), item.id, rules, tally)
            else:
                yield item


def _shaped(
    examples: Iterator[Example],
    hide: bool,
    shape: Shape,
    repeats: Repeats | None,
    rules: Rules,
    tally: Tally,
) -> Iterator[Prompt]:
    for example in examples:
        cut = tally.cut.copy()
        if hide and (why := why_not_hidden(example)):
            _refuse(why, example.id, rules, tally)
            continue
        try:
            prompt = shape(example)
        except InputError as error:
            _refuse(str(error), example.id, rules, tally)
            continue
        if prompt is None:
            continue
        # Asked last: what one source leaves out, such as by its length, another may have.
        earlier = repeats.earlier(example) if repeats else None
        if earlier:
            tally.cut = cut
            tally.leave_out("repeats an earlier example", f"{example.id} of {earlier.of}")
        else:
            yield prompt


def _reject(item: Rejected, side: Side, rules: Rules, tally: Tally) -> None:
    # Rows that both sides read are counted by one of them only.
    if not (side.read_twice and rules.on_error == "skip"):
        _refuse(item.why, item.where, rules, tally)


def _refuse(why: str, where: str, rules: Rules, tally: Tally) -> None:
    if rules.on_error == "stop":
        raise InputError(f"{where}: {why} (on_error=skip would leave it out)")
    tally.leave_out(why, where)


def _with_unique_ids(prompts: list[Prompt]) -> list[Prompt]:
    """An id that is there already gets a number, because histories and seeds go by ids."""
    seen: Counter[str] = Counter()
    taken = {prompt.example.id for prompt in prompts}
    renamed: list[Prompt] = []
    for prompt in prompts:
        key = prompt.example.id
        seen[key] += 1
        if seen[key] > 1:
            number = next(n for n in count(seen[key]) if f"{key}#{n}" not in taken)
            taken.add(f"{key}#{number}")
            prompt = replace(prompt, example=replace(prompt.example, id=f"{key}#{number}"))
        renamed.append(prompt)
    return renamed
