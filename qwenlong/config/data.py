"""Where examples come from, of a run and of a built set."""

from __future__ import annotations

from dataclasses import dataclass, field

from qwenlong.types import MISSING


@dataclass(frozen=True)
class SourceConfig:
    source: str = MISSING
    """A published set, a synthetic task, jsonl, chat, built, facts or recital (docs/data.md)."""
    path: str | None = None
    """File or folder, relative to the experiment file; null: from the hub, where it is there."""
    subset: str | None = None
    """Of a published set that has some."""
    corpus: str | None = None
    """Texts that a synthetic task is hidden in, or that distractors=text runs on."""
    language: str = "en"
    """Of a synthetic task."""
    examples: int | None = None
    """How many a synthetic source makes, or the most that are taken."""
    weight: float | None = None
    """Share of a built set, beside the weights of its other sources."""
    min_tokens: int = 0
    """Synthetic sources: the shortest document. All others: prompts that are shorter stay out."""
    max_tokens: int | None = None
    """The longest; 256 for facts and recital if null."""
    lengthen: int | None = None
    """Tokens that every prompt is brought to by distractors, to within 2 %; as it is if null."""
    distractors: str = "hard"
    """What lengthens: hard (like the question), random, or text (running text of corpus)."""
    depth: float | None = None
    """Where the gold documents stand, 0 first to 1 last; drawn anew for each if null."""
    hide: bool = False
    """Hides each question at the end of a chain of keys, among chains to other questions
    (LoongRL, arXiv 2510.19363)."""


@dataclass(frozen=True)
class DataConfig:
    sft: list[SourceConfig] = field(default_factory=list)
    """Examples for the SFT stages, with a worked solution, or none: then without thinking."""
    train: list[SourceConfig] = field(default_factory=list)
    """Examples for the RL phases; each phase draws the lengths that are its own."""
    held_out: list[SourceConfig] = field(default_factory=list)
    """Examples for evaluation. A set that is also trained on is parted by its documents."""
    over_long: str = "drop"
    """What becomes of a document beyond the last context: drop, middle (cut out the middle) or
    keep_gold (cut around the gold documents)."""
    on_error: str = "stop"
    """What becomes of a file's row that gives no example: stop, or skip (counted and said)."""
    thinking: bool = True
    """Whether the policy thinks before it answers (Qwen3's modes). Rewards then count only what
    closes its thinking; SFT learns examples without reasoning in the other mode."""
    deduplicate: bool = False
    """Leaves out examples that repeat an earlier one of their list, near enough."""


@dataclass(frozen=True)
class BuildConfig:
    """What ``qwenlong data build`` takes: a set of examples, made once."""

    tokenizer: str = MISSING
    """A policy's folder or name: lengths are in its tokens, its chat template included."""
    sources: list[SourceConfig] = field(default_factory=list)
    examples: int | None = None
    """Of all sources together, by their weights; all that there are if null."""
    held_out: float = 0.0
    """Share that is kept apart for evaluation, by documents."""
    context: int | None = None
    """Longest prompt in tokens; longer ones meet over_long. No limit if null."""
    over_long: str = "drop"
    on_error: str = "stop"
    deduplicate: bool = True
    thinking: bool = True
    """Which of the template's modes lengths are counted in."""
    seed: int = 0
