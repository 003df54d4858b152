"""Section ``data``, and the file of ``qwenlong data build``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qwenlong.config.callables import SOURCE
from qwenlong.config.keys import REQUIRED, key


def _over_long() -> Any:
    return key(
        "drop",
        "What to do with an example whose prompt is too long: drop it, cut out the middle of its"
        " documents, or cut around the documents that hold the answer.",
        one_of=("drop", "middle", "keep_gold"),
    )


def _on_error() -> Any:
    return key(
        "stop",
        "What to do with a row that cannot be read: stop, or skip it and report how many.",
        one_of=("stop", "skip"),
    )


@dataclass(frozen=True)
class SourceConfig:
    """Where examples come from."""

    source: str = key(
        REQUIRED,
        "A published set, a synthetic task, or your own files (jsonl, chat, built, documents).",
        names="a source of docs/data.md",
        function=SOURCE,
    )
    path: str | None = key(
        None,
        "File or folder, relative to the experiment file; null takes a published set from the hub.",
        path=True,
    )
    subset: str | None = key(None, "Part of a published set that has several.")
    corpus: str | None = key(
        None,
        "Texts in which a synthetic task is hidden, or from which distractors: text are taken.",
        path=True,
    )
    language: str = key("en", "Language of a synthetic task.")
    examples: int | None = key(
        None,
        "How many examples a synthetic source makes; the most that are taken of another.",
        at_least=1,
    )
    weight: float | None = key(
        None, "Share of a built set, relative to the weights of its other sources.", above=0
    )
    min_tokens: int = key(
        0,
        "Shortest document of a synthetic source; of all others, shorter prompts are left out.",
        at_least=0,
    )
    max_tokens: int | None = key(
        None,
        "The longest, likewise; null is 256 for facts and recital, and no limit for others.",
        at_least=1,
    )
    lengthen: int | None = key(
        None,
        "Tokens to which distractors lengthen every prompt, within 2 %; null adds none.",
        at_least=1,
    )
    distractors: str = key(
        "hard",
        "What lengthens a prompt: documents similar to the question, random documents, or running"
        " text of the corpus.",
        one_of=("hard", "random", "text"),
    )
    depth: float | None = key(
        None,
        "Place of the gold documents from 0 (first) to 1 (last); null draws it for each example.",
        at_least=0,
        at_most=1,
    )
    hide: bool = key(
        False,
        "Hide each question at the end of a chain of keys, among chains that lead to other"
        " questions (LoongRL, arXiv 2510.19363).",
    )


@dataclass(frozen=True)
class DataConfig:
    """The examples of a run."""

    sft: list[SourceConfig] = key(
        [],
        "Examples for the SFT stages; without a worked solution they are learned without thinking.",
    )
    train: list[SourceConfig] = key(
        [], "Examples for the RL phases; each phase draws those of its own lengths."
    )
    held_out: list[SourceConfig] = key(
        [],
        "Examples for evaluation; a set that is also trained on is split by documents.",
    )
    over_long: str = _over_long()
    on_error: str = _on_error()
    thinking: bool = key(
        True,
        "Whether the policy thinks before it answers (Qwen3's modes). If so, only responses that"
        " close their thinking are rewarded, and SFT learns examples without reasoning in the other"
        " mode.",
    )
    deduplicate: bool = key(
        False, "Leave out examples that are nearly the same as an earlier one of their list."
    )


@dataclass(frozen=True)
class BuildConfig:
    """The file of ``qwenlong data build``, which makes a set of examples once for many runs."""

    tokenizer: str = key(
        REQUIRED, "A policy's folder or name: lengths are in its tokens, chat template included."
    )
    sources: list[SourceConfig] = key([], "What the set is made of.")
    examples: int | None = key(
        None,
        "Examples of all sources together, divided by their weights; null takes all.",
        at_least=1,
    )
    held_out: float = key(
        0.0, "Share of the examples kept for evaluation, split by documents.", at_least=0, below=1
    )
    context: int | None = key(
        None, "Longest prompt in tokens; over_long says what to do with longer ones.", at_least=1
    )
    over_long: str = _over_long()
    on_error: str = _on_error()
    deduplicate: bool = key(True, "Leave out examples that are nearly the same as an earlier one.")
    thinking: bool = key(True, "Whether lengths are counted in the template's thinking mode.")
    seed: int = key(0, "Seed of everything that is drawn.")
