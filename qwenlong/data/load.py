"""Sources by name, and a run's data: read, rendered, cut, counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qwenlong.config import SourceConfig
from qwenlong.data import facts, jsonl, ottqa, recital
from qwenlong.data.prompts import Renderer
from qwenlong.types import CountTokens, Example, InputError, Prompt, Split

Reader = Callable[[SourceConfig, Split, CountTokens, int], Iterator[Example]]

SOURCES: dict[str, Reader] = {
    "facts": facts.read,
    "recital": recital.read,
    "jsonl": jsonl.read,
    "ottqa": ottqa.read,
}


@dataclass(frozen=True)
class Prompts:
    """The prompts of one part of the data, and what became of those that were too long."""

    prompts: tuple[Prompt, ...]
    dropped: int
    cut: int


def read_examples(
    sources: Sequence[SourceConfig], key: str, split: Split, count: CountTokens, seed: int
) -> list[Example]:
    """All examples of ``sources``; ``key`` names them in errors, such as ``data.train``."""
    examples: list[Example] = []
    for i, spec in enumerate(sources):
        if spec.source not in SOURCES:
            known = ", ".join(SOURCES)
            raise InputError(f"{key}.{i}.source={spec.source}: must be one of {known}")
        try:
            examples.extend(SOURCES[spec.source](spec, split, count, seed))
        except InputError as error:
            raise InputError(f"{key}.{i}: {error}") from None
    if not examples:
        raise InputError(f"{key}=[]: no examples; name at least one source")
    return examples


def render(examples: Sequence[Example], renderer: Renderer, limit: int, over_long: str) -> Prompts:
    """Renders examples; documents that make a prompt longer than ``limit`` are dropped or cut."""
    prompts: list[Prompt] = []
    dropped = cut = 0
    for example in examples:
        prompt = renderer.prompt(example)
        if len(prompt.ids) > limit and over_long == "drop":
            dropped += 1
            continue
        if len(prompt.ids) > limit:
            cut += 1
            prompt = renderer.cut_to(prompt, limit)
        prompts.append(prompt)
    return Prompts(tuple(prompts), dropped, cut)
