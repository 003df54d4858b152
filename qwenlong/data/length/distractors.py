"""Documents that lengthen an example and do not answer it: a pool, and which of it may be drawn.

A document is scored against the question by BM25 (Robertson and Zaragoza, 2009; by bm25s, Lù,
arXiv 2407.03618) over folded words; Chinese and Japanese characters count by pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from qwenlong.data.length.spellings import spellings
from qwenlong.data.words import folded, words
from qwenlong.rewards.registry import kind_of
from qwenlong.types import Example, InputError

if TYPE_CHECKING:
    import bm25s

CountAll = Callable[[Sequence[str]], Sequence[int]]
"""Counts the tokens that each text adds to a prompt where another document follows it."""
_WHOLE_WORDS = 3
"""Answers of fewer characters are searched for as whole words, longer ones anywhere."""
_ARTICLES = ("a", "an", "the")
_SPANISH = tuple("el la los las un una unos unas".split())


@dataclass(frozen=True)
class Pool:
    """Different documents in a fixed order. Memory: about four times their text."""

    texts: tuple[str, ...]
    folded: tuple[str, ...]
    groups: tuple[frozenset[str], ...]
    """Of each document: the groups of its examples, and the ``question_key`` of their questions. An
    example is not lengthened by documents that share one of these with it."""
    tokens: tuple[int, ...]
    index: bm25s.BM25 | None


def documents_of(examples: Iterable[Example]) -> Iterator[tuple[str, str]]:
    """Texts with groups and questions for ``pool_of``, of one source and side of the split."""
    for example in examples:
        for text in example.documents:
            yield text, group_of(example)
            yield text, question_key(example)


def question_key(example: Example) -> str:
    """Marks documents of examples with the same question: they may give it another answer."""
    return f"? {folded(example.question) or example.question}"


def group_of(example: Example) -> str:
    return example.group or example.id


def pool_of(
    documents: Iterable[tuple[str, str]], count: CountAll, ranked_by_question: bool = True
) -> Pool:
    """A pool of ``(text, group)``, in order; a text that comes again only adds its group to it.

    Args:
        count: ``Renderer.count_documents``; each document is counted once, here.
        ranked_by_question: build the index that kind ``hard`` needs.
    """
    groups: dict[str, set[str]] = {}
    for text, group in documents:
        if text.strip():
            groups.setdefault(text, set()).add(group)
    texts = tuple(groups)
    if not texts:
        raise InputError("pool: no document with text in it to lengthen examples with")
    flat = tuple(map(folded, texts))
    index = None
    if ranked_by_question:
        # Imported here because it loads numba, and then vLLM 0.32 does not start in this process.
        import bm25s

        index = bm25s.BM25()
        index.index([_terms(text.split()) for text in flat], show_progress=False)
    return Pool(
        texts,
        flat,
        tuple(frozenset(group - {""}) for group in groups.values()),
        tuple(count(texts)),
        index,
    )


def _terms(tokens: list[str]) -> list[str]:
    """Words, and pairs of neighbouring Chinese or Japanese characters."""
    terms = []
    for token, after in pairwise([*tokens, ""]):
        if len(token) > 1 or token.isascii():
            terms.append(token)
        elif len(after) == 1 and not after.isascii():
            terms.append(token + after)
    return terms


def drawn(pool: Pool, example: Example, kind: str, rng: Random) -> Iterator[int]:
    """The documents that may lengthen ``example``, in the order in which to take them.

    ``hard``: those most like the question first, then, in random order, those that share no word
    with it. ``random``: in random order. ``text``: in their own order from a place that ``rng``
    draws; after the last comes the first.
    """
    avoided, size = avoids(example), len(pool.texts)
    if kind == "text":
        start = rng.randrange(size)
        order = [*range(start, size), *range(start)]
    elif kind == "random":
        order = rng.sample(range(size), size)
    elif pool.index is None:
        raise InputError("kind=hard: the pool has no index; build it with ranked_by_question")
    else:
        known = [term for term in _terms(words(example.question)) if term in pool.index.vocab_dict]
        scores = pool.index.get_scores(known) if known else np.zeros(size, dtype=np.float32)
        like = np.argsort(-scores, kind="stable")[: int((scores > 0).sum())].tolist()
        unlike = np.flatnonzero(scores <= 0).tolist()
        rng.shuffle(unlike)
        order = [*like, *unlike]
    yield from (number for number in order if not avoided(pool, number))


def avoids(example: Example) -> Callable[[Pool, int], bool]:
    """Says whether a document of a pool must not lengthen ``example``.

    Such a document belongs to its group or to an example with the same question, has the same words
    as one of its own documents, or holds an answer, its numbers in digits or in words.
    """
    own_groups = {group_of(example), question_key(example)}
    own = set(map(folded, example.documents))
    forms = list(filter(None, _forms(example)))
    anywhere = [form for form in forms if len(form) >= _WHOLE_WORDS]
    bounded = [f" {form} " for form in forms if len(form) < _WHOLE_WORDS]
    bounded += [f" {other} " for form in forms for other in spellings(form)]

    def avoided(pool: Pool, number: int) -> bool:
        text = pool.folded[number]
        if not own_groups.isdisjoint(pool.groups[number]) or text in own:
            return True
        if any(form in text for form in anywhere):
            return True
        spaced = f" {text} " if bounded else ""
        return any(form in spaced for form in bounded)

    return avoided


def unique(example: Example) -> bool:
    """Whether it can be promised that no distractor holds an answer.

    It cannot where an answer has a single character or none, because other words may say the same.
    """
    forms = _forms(example)
    return bool(forms) and min(map(len, forms)) > 1


def _forms(example: Example) -> list[str]:
    """Answers folded, without their article, because verifiers accept them without one, too."""
    articles = (*_ARTICLES, *(_SPANISH if "¿" in example.question else ()))
    forms = []
    for form in map(folded, answer_strings(example)):
        article, _, rest = form.partition(" ")
        forms.append(rest if rest and article in articles else form)
    return forms


def answer_strings(example: Example) -> tuple[str, ...]:
    """The texts that no distractor may hold, by the kind of answer."""
    return kind_of(example).texts(example)
