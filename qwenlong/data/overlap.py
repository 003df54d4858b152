"""Finds examples that repeat an earlier one, and what two sets have in common.

Texts are compared by their folded words (``words``). Everything streams: memory holds 64-bit hashes
(two different texts share one with a probability of 2^-64), ids, and a bounded sample of n-grams.
Contamination by 13-grams is GPT-3's rule (Brown et al., arXiv 2005.14165, appendix C). Near
duplicates are found by MinHash (Broder, 1997) with banding, here rather than by ``datasketch``,
which found the same at a third of the speed and needs SciPy.

A hidden question is compared as the question that it was. Synthetic questions share their
templates: they are compared whole, and by their documents, but not by n-grams.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from qwenlong.data.synthesis import TASKS
from qwenlong.data.words import (
    Hashes,
    folded,
    grams_of,
    key_of,
    minhash_of,
    raw_digest,
    words,
)
from qwenlong.types import Example

NGRAM = 13
"""Words that two texts must share in a row to count as overlapping."""
MOST_GRAMS = 2**23
"""Document n-grams of a set that are kept, 12 bytes each; of a larger set an even sample."""
_SHOWN = 5
_REMEMBERED = 2**16
"""Documents whose hashes are kept."""
_BAND, _BANDS = 4, 8
"""Hashes of a band, and bands: two questions with a Jaccard index of 0.9 have a band in common with
a probability of 99.9 %, with one of 0.8 with 98 %."""
T = TypeVar("T")
What = Literal["question", "question_ngram", "document", "document_ngram"]


@dataclass(frozen=True)
class Duplicate:
    """An example that is left out, and the earlier one that it repeats."""

    id: str
    of: str
    exact: bool


@dataclass(frozen=True)
class Found:
    """Something that two sets share."""

    what: What
    first: str
    """Id of an example of the first set, and of the second."""
    second: str
    text: str


@dataclass(frozen=True)
class Contamination:
    """What of the second set the first set has, too; counts are of the second set's examples."""

    first: int
    """Examples of the first set, and of the second."""
    second: int
    same_question: int
    question_overlap: int
    """Questions that share ``NGRAM`` words in a row with one of the first set."""
    templates: int
    """Synthetic questions, whose n-grams were not compared."""
    same_document: int
    document_overlap: int
    """Examples with a document that shares ``NGRAM`` words in a row."""
    document_share: float
    """The share of the second set's document n-grams that the first set has, too."""
    sampled: int
    """One document n-gram of so many was compared; 1: all."""
    found: tuple[Found, ...]
    """The first few of each sort."""

    @property
    def clean(self) -> bool:
        questions = self.same_question + self.question_overlap
        return not (questions or self.same_document or self.document_overlap)


class Repeats:
    """Finds examples that repeat one that was seen before. Memory: about 2 KB an example.

    Exact: the same question over the same documents, in whatever order. Near: the same answers, the
    same numbers in the question, and questions and documents that each share at least ``near``
    of their shingles (Jaccard, estimated); None: exact only.
    """

    def __init__(self, near: float | None = 0.8) -> None:
        self.near = near
        self._documents: dict[bytes, tuple[int, Hashes]] = {}
        self._exact: dict[int, str] = {}
        self._bands: dict[int, list[int]] = {}
        self._seen: list[tuple[str, bytes]] = []

    def earlier(self, example: Example) -> Duplicate | None:
        """What ``example`` repeats; where it repeats nothing, it is remembered."""
        documents = [_remembered(self._documents, text, _hashes) for text in example.documents]
        # Sorted, because the same documents in another order make the same example.
        key = key_of(example.question, *sorted(str(document) for document, _ in documents))
        if key in self._exact:
            return Duplicate(example.id, self._exact[key], True)
        if self.near is not None:
            least = [hashes for _, hashes in documents] or [minhash_of("")]
            asked = minhash_of(example.question)
            # [2, hashes]; 16 bits of a hash are enough to see whether two are the same.
            signature = np.stack([asked, np.min(least, axis=0)]).astype(np.uint16)
            bands = list(_bands(example, asked))
            for number in sorted({n for band in bands for n in self._bands.get(band, ())}):
                identity, raw = self._seen[number]
                known = np.frombuffer(raw, dtype=np.uint16).reshape(signature.shape)
                # The smaller of the estimated Jaccard indices of question and documents.
                if (known == signature).mean(axis=1).min() >= self.near:
                    return Duplicate(example.id, identity, False)
            for band in bands:
                self._bands.setdefault(band, []).append(len(self._seen))
            self._seen.append((example.id, signature.tobytes()))
        self._exact[key] = example.id
        return None


def _hashes(text: str) -> tuple[int, Hashes]:
    return key_of(text), minhash_of(text)


def _bands(example: Example, signature: Hashes) -> Iterator[int]:
    """A hash for each band, the answers and the question's numbers; examples that share one are
    compared."""
    # Questions that differ in a year or an amount alone are alike by their words, but not the same.
    numbers = [word for word in words(example.question) if any(map(str.isdigit, word))]
    answers = key_of(" ".join(numbers), *sorted(map(folded, example.answers)))
    for at in range(0, _BAND * _BANDS, _BAND):
        yield hash((answers, at, *signature[at : at + _BAND].tolist()))


def _remembered(known: dict[bytes, T], text: str, make: Callable[[str], T]) -> T:
    """What ``make`` makes of a document, kept because questions often share one."""
    raw = raw_digest(text)
    if raw not in known:
        if len(known) >= _REMEMBERED:
            known.clear()
        known[raw] = make(text)
    return known[raw]


def contamination(first: Iterable[Example], second: Iterable[Example]) -> Contamination:
    """What of ``second`` (say, an evaluation set) stands in ``first`` (say, training data).

    Each is read once, the first to its end before the second begins.
    """
    known = _Known()
    for example in first:
        known.add(example)
    known.pack(MOST_GRAMS)
    counts: Counter[str] = Counter()
    found: list[Found] = []
    for example in second:
        counts["second"] += 1
        counts["templates"] += example.source in TASKS
        for hit in (*known.of_question(example), *known.of_documents(example, counts)):
            counts[hit.what] += 1
            if counts[hit.what] <= _SHOWN:
                found.append(hit)
    return Contamination(
        first=len(known.ids),
        second=counts["second"],
        same_question=counts["question"],
        question_overlap=counts["question_ngram"],
        templates=counts["templates"],
        same_document=counts["document"],
        document_overlap=counts["document_ngram"],
        document_share=counts["shared"] / max(1, counts["grams"]),
        sampled=known.sampled,
        found=tuple(found),
    )


@dataclass(frozen=True)
class _Shared:
    """A document of the second set: its n-grams, those that the first set has, and where."""

    grams: int
    shared: int
    hits: tuple[tuple[What, int, str], ...]


@dataclass
class _Known:
    """What is kept of the first set; values are numbers of its examples."""

    ids: list[str] = field(default_factory=list)
    questions: dict[int, int] = field(default_factory=dict)
    question_grams: dict[int, int] = field(default_factory=dict)
    documents: dict[int, int] = field(default_factory=dict)
    grams: list[Hashes] = field(default_factory=list)
    owners: list[NDArray[np.uint32]] = field(default_factory=list)
    held: int = 0
    sampled: int = 1
    seen: dict[bytes, _Shared] = field(default_factory=dict)
    """Documents of the second set by their exact text, with what the comparison found."""

    def add(self, example: Example) -> None:
        number = len(self.ids)
        self.ids.append(example.id)
        question = _question(example)
        self.questions.setdefault(key_of(question), number)
        if example.source not in TASKS:
            for gram in grams_of(words(question), NGRAM).tolist():
                self.question_grams.setdefault(gram, number)
        for text in example.documents:
            if self.documents.setdefault(key_of(text), number) != number:
                continue
            grams = grams_of(words(text), NGRAM)
            grams = grams[grams % np.uint64(self.sampled) == 0]
            self.grams.append(grams)
            self.owners.append(np.full(len(grams), number, dtype=np.uint32))
            self.held += len(grams)
            if self.held > MOST_GRAMS:
                self.pack(MOST_GRAMS // 2)

    def pack(self, most: int) -> None:
        """Sorts the n-grams, each once, and thins them out to at most ``most``."""
        none = np.zeros(0, dtype=np.uint64)
        grams, places = np.unique(np.concatenate([none, *self.grams]), return_index=True)
        owners = np.concatenate([np.zeros(0, dtype=np.uint32), *self.owners])[places]
        while len(grams) > most:
            # Hashes are uniform, so those that a power of two divides are an even sample; and the
            # second set is sampled by the same rule, so that what both have is still found.
            self.sampled *= 2
            kept = grams % np.uint64(self.sampled) == 0
            grams, owners = grams[kept], owners[kept]
        self.grams, self.owners, self.held = [grams], [owners], len(grams)

    def of_question(self, example: Example) -> Iterator[Found]:
        question = _question(example)
        owner = self.questions.get(key_of(question))
        if owner is not None:
            yield Found("question", self.ids[owner], example.id, question)
        if example.source in TASKS:
            return
        own = words(question)
        for place, gram in enumerate(grams_of(own, NGRAM).tolist()):
            if gram in self.question_grams:
                first = self.ids[self.question_grams[gram]]
                text = " ".join(own[place : place + NGRAM])
                yield Found("question_ngram", first, example.id, text)
                return

    def of_documents(self, example: Example, counts: Counter[str]) -> Iterator[Found]:
        """The first document that is the same and the first shared n-gram; counts all n-grams."""
        hits: dict[What, Found] = {}
        for text in example.documents:
            shared = _remembered(self.seen, text, self.shared_with)
            counts["grams"] += shared.grams
            counts["shared"] += shared.shared
            for what, owner, line in shared.hits:
                hits.setdefault(what, Found(what, self.ids[owner], example.id, line))
        yield from hits.values()

    def shared_with(self, text: str) -> _Shared:
        """What a document has in common with the first set's."""
        hits: list[tuple[What, int, str]] = []
        own = words(text)
        owner = self.documents.get(key_of(text))
        if owner is not None:
            hits.append(("document", owner, " ".join(own[:NGRAM])))
        every = grams_of(own, NGRAM)
        places = np.flatnonzero(every % np.uint64(self.sampled) == 0)
        if not self.held or not len(places):
            return _Shared(len(places), 0, tuple(hits))
        # An n-gram larger than all that are known points behind the end; any other place will do.
        at = np.searchsorted(self.grams[0], every[places])
        at[at == self.held] = 0
        common = np.flatnonzero(self.grams[0][at] == every[places])
        if len(common):
            place = int(places[common[0]])
            line = " ".join(own[place : place + NGRAM])
            hits.append(("document_ngram", int(self.owners[0][at[common[0]]]), line))
        return _Shared(len(places), len(common), tuple(hits))


def _question(example: Example) -> str:
    """The question; of a hidden one, the one at the end of the chain of keys."""
    return str(example.metadata.get("hidden_question") or example.question)
