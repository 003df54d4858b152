"""A run's data: every source of a part, as prompts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import count, islice

from qwenlong.config import DataConfig, SourceConfig
from qwenlong.data import registry
from qwenlong.data.rows import Rejected
from qwenlong.data.stream import Rules, Side, Tally, held_out_groups, prompts_of, under
from qwenlong.types import CountTokens, Example, InputError, Prompt, Split

HELD_OUT = 0.2
"""Share of a set's examples that is held out where a run both trains and evaluates on it."""


def load(data: DataConfig, part: str, rules: Rules) -> tuple[list[Prompt], list[str]]:
    """The prompts of ``data.<part>`` in the order of its sources, and what was left out, in words.

    A set that stands in data.held_out and in another part, too, is parted by its documents.

    Raises:
        InputError: a source cannot be read, or there is no example.
    """
    split: Split = "held_out" if part == "held_out" else "train"
    prompts: list[Prompt] = []
    notes: list[str] = []
    for i, spec in enumerate(getattr(data, part)):
        key = f"data.{part}.{i}"
        tally = Tally(spec.source)
        with under(key):
            groups = held_out_groups(spec, HELD_OUT, rules) if _is_parted(spec, data) else None
            prompts += prompts_of(spec, Side(split, groups), rules, tally)
        notes += [f"{key} ({spec.source}): {told}" for told in tally.told()]
    if not prompts:
        if not getattr(data, part):
            raise InputError(f"data.{part}=[]: no examples; name at least one source")
        raise InputError(f"data.{part}: no examples are left: {'; '.join(notes)}")
    return _told_apart(prompts), notes


def _told_apart(prompts: list[Prompt]) -> list[Prompt]:
    """Ids that are there before get a number: histories and seeds go by them."""
    seen: Counter[str] = Counter()
    taken = {prompt.example.id for prompt in prompts}
    apart: list[Prompt] = []
    for prompt in prompts:
        key = prompt.example.id
        seen[key] += 1
        if seen[key] > 1:
            own = next(n for n in count(seen[key]) if f"{key}#{n}" not in taken)
            taken.add(f"{key}#{own}")
            prompt = replace(prompt, example=replace(prompt.example, id=f"{key}#{own}"))
        apart.append(prompt)
    return apart


def sample(data: DataConfig, part: str, most: int, count: CountTokens, seed: int) -> list[Example]:
    """The first examples of each source: what a tokenizer can be trained on."""
    examples: list[Example] = []
    for i, spec in enumerate(getattr(data, part)):
        few = replace(spec, examples=min(spec.examples or most, most))
        with under(f"data.{part}.{i}"):
            found = registry.items(few, "train", count, seed)
            known = (item for item in found if not isinstance(item, Rejected))
            examples += islice(known, most)
    return examples


def _is_parted(spec: SourceConfig, data: DataConfig) -> bool:
    if spec.source in registry.MADE or spec.source == "built":
        return False
    trained = {_identity(each) for each in (*data.sft, *data.train)}
    held_out = {_identity(each) for each in data.held_out}
    return _identity(spec) in trained & held_out


def _identity(spec: SourceConfig) -> tuple[str, str | None, str | None]:
    return spec.source, spec.path, spec.subset
