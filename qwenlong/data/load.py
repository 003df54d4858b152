"""A run's data: every source of a part, as prompts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import count, islice

from qwenlong.config import DataConfig
from qwenlong.data import registry
from qwenlong.data.rows import Rejected
from qwenlong.data.rules import Rules, Tally
from qwenlong.data.splits import sides
from qwenlong.data.stream import Seen, prompts_of
from qwenlong.types import CountTokens, Example, InputError, Prompt

HELD_OUT = 0.2
"""Share of a set's examples that is held out where a run both trains and evaluates on it."""


def load(data: DataConfig, part: str, rules: Rules) -> tuple[list[Prompt], list[str]]:
    """The prompts of ``data.<part>`` in the order of its sources, and what was left out, in words.

    What is read for data.held_out and for another part, too, is parted by its documents.

    Raises:
        InputError: a source cannot be read, or there is no example.
    """
    specs = {
        name: {f"data.{name}.{i}": spec for i, spec in enumerate(getattr(data, name))}
        for name in ("sft", "train", "held_out")
    }
    trained = {**specs["sft"], **specs["train"]}
    count = rules.renderer.count_tokens
    train, held_out = sides(trained, specs["held_out"], HELD_OUT, count, rules.seed)
    prompts: list[Prompt] = []
    notes: list[str] = []
    seen: Seen = {}
    for key, spec in specs[part].items():
        tally = Tally(spec.source)
        side = held_out[key] if part == "held_out" else train[key]
        with registry.under(key):
            prompts += prompts_of(spec, side, rules, tally, seen)
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
        with registry.under(f"data.{part}.{i}"):
            found = registry.items(few, "train", count, seed)
            known = (item for item in found if not isinstance(item, Rejected))
            examples += islice(known, most)
    return examples
