"""What the synthetic tasks share: what one example is drawn from, and how it is made of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from qwenlong.data.synthesis.corpus import Corpus
from qwenlong.data.synthesis.haystack import Filler, Haystack, bury, filler_of, without
from qwenlong.data.synthesis.lexicon import Words, words_of
from qwenlong.types import CountTokens, Example, InputError


@dataclass(frozen=True)
class Draw:
    """What one example is drawn from."""

    number: int
    """From 0; a task with several variants takes them in turn."""
    rng: Random
    words: Words
    filler: Filler
    tokens: int
    """The length of the documents, joined by blank lines."""
    depth: float | None
    """Where the facts that are asked for stand, from 0 to 1; None: drawn evenly."""

    @property
    def short(self) -> bool:
        """Whether tasks hide fewer and shorter things, so that there is room for other text."""
        return self.tokens < 4096

    def depths(self, gold: int, others: int) -> list[float]:
        """Depths of ``gold`` facts that are asked for, then of the ``others``.

        Raises:
            InputError: ``depth`` is outside of [0, 1].
        """
        if self.depth is not None and not 0 <= self.depth <= 1:
            raise InputError(f"depth={self.depth}: must be from 0 (the beginning) to 1 (the end)")
        drawn = [self.rng.random() for _ in range(gold + others)]
        return drawn if self.depth is None else [self.depth] * gold + drawn[gold:]

    def bury(
        self, facts: Sequence[str], gold: int, names: Sequence[str], labels: Sequence[str] = ()
    ) -> Haystack:
        """Hides sentences, the first ``gold`` of which are asked for, in text without ``names``.

        With ``labels`` each document has a line with its number above it, of a form drawn of them.
        """
        depths = self.depths(gold, len(facts) - gold)
        form = self.rng.choice(labels) if labels else ""
        label = (lambda n: form.format(n=n)) if form else None
        return bury(self.filler, self.rng, facts, depths, self.tokens, without(names), label)


@dataclass(frozen=True)
class Question:
    """A question, and the documents that its answer is hidden in."""

    task: str
    """Which variant of the task it is."""
    text: str
    haystack: Haystack
    gold: int
    """The first so many things in the haystack are those that the answer is found by."""
    answers: tuple[str, ...]
    reasoning: str
    kind: str = "extractive"
    stated: str = ""
    """The final answer as it should be written; the first answer where empty."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the verifier of the kind needs, and what else there is to say."""


Task = Callable[[Draw], Question]
"""Hides a question. Keys and values of its facts must stand nowhere else in the documents."""


def examples_of(
    name: str,
    task: Task,
    corpus: Corpus,
    examples: int,
    tokens: int,
    count: CountTokens,
    seed: int,
    language: str = "en",
    depth: float | None = None,
) -> Iterator[Example]:
    """Yields ``examples`` examples of a task, whose documents come from ``corpus``.

    The documents, joined by blank lines, have ``tokens`` tokens or up to 3 % fewer by ``count``. No
    example depends on another. An id has the digest of the corpus in it, so that the same facts are
    never hidden in two corpora.

    Raises:
        InputError: the task has no words in that language, or the corpus is too small.
    """
    words = words_of(name, language)
    filler = filler_of(corpus, count, language)
    for number in range(examples):
        identity = f"{name}-{language}-{filler.digest}-{tokens}-{seed}-{number}"
        rng = Random(f"synthesis {identity}")
        made = task(Draw(number, rng, words, filler, tokens, depth))
        yield Example(
            id=identity,
            source=name,
            question=made.text,
            documents=made.haystack.documents,
            answers=made.answers,
            kind=made.kind,
            reasoning=made.reasoning,
            gold_documents=tuple(sorted(set(made.haystack.places[: made.gold]))),
            group=identity,
            metadata={
                "task": made.task,
                "language": language,
                "stated": made.stated or made.answers[0],
                "depths": sorted(made.haystack.depths[: made.gold]),
                **made.metadata,
            },
        )
