"""Strict accuracy on held-out questions, by source and by context length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random
from statistics import fmean
from typing import Any

from qwenlong.types import Group, Prompt

AccuracyByContext = Mapping[str, Mapping[str, Any]]
"""Context in tokens to ``value`` and ``n``, as in summary.json."""


def by_source(prompts: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    sources = defaultdict(list)
    for prompt in prompts:
        sources[prompt.example.source].append(prompt)
    return dict(sources)


def draw_held_out(prompts: Sequence[Prompt], examples: int, seed: int) -> list[Prompt]:
    """At most ``examples`` prompts of each source, spread evenly over it; all if they are fewer.

    One prompt is drawn from each of ``examples`` equal parts of a source: the first ones would
    say nothing about the rest, which files often keep in some order. The order of ``prompts``
    stays.
    """
    drawn: set[int] = set()
    for source, own in by_source(prompts).items():
        # Seeded by source: one that is added does not change what is drawn of the others.
        rng, count = Random(f"{seed} {source}"), min(examples, len(own))
        edges = [i * len(own) // count for i in range(count + 1)]
        drawn |= {id(own[rng.randrange(*part)]) for part in pairwise(edges)}
    return [prompt for prompt in prompts if id(prompt) in drawn]


def accuracies(evaluated: Mapping[int, Sequence[Group]]) -> dict[str, AccuracyByContext]:
    """The accuracy of each source: the share of its responses that are right.

    Right means a score of 1, nothing less.

    Args:
        evaluated: groups by context in tokens.

    Raises:
        ValueError: a response has no score, so it is neither right nor wrong.
    """
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for context, groups in evaluated.items():
        for group in groups:
            if not all(score.judged for score in group.scores):
                raise ValueError(f"context {context}: unjudged responses cannot be counted")
            own = right[group.prompt.example.source][str(context)]
            own += [score.value == 1.0 for score in group.scores]
    return {
        source: {
            context: {"value": sum(each) / len(each), "n": len(each)}
            for context, each in contexts.items()
        }
        for source, contexts in right.items()
    }


def mean_over_sources(accuracy: Mapping[str, AccuracyByContext]) -> AccuracyByContext:
    """The mean of the sources at each context, unweighted, so that a large one cannot hide others.

    ``n`` is the number of all responses. A source without questions at a context is not in its
    mean.
    """
    contexts = {context for of_source in accuracy.values() for context in of_source}
    mean = {}
    for context in sorted(contexts, key=int):
        cells = [of_source[context] for of_source in accuracy.values() if context in of_source]
        value = fmean(cell["value"] for cell in cells)
        mean[context] = {"value": value, "n": sum(cell["n"] for cell in cells)}
    return mean
