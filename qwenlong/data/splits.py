"""Divides sources into what is trained on and what is held out, so that they share no document.

Examples belong together if they have a document in common (its folded words are the same, whatever
its name) or a group, directly or through other examples. What belongs together stays on one side.
Where training and the held-out part read different rows, training leaves out those that share a
document with the held-out part. Each source is read once for this; memory holds hashes, no text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from qwenlong.config import SourceConfig
from qwenlong.config.callables import is_reference
from qwenlong.data import registry
from qwenlong.data.length.distractors import group_of
from qwenlong.data.sources.fields import joined_groups
from qwenlong.data.words import hash_of, key_of
from qwenlong.types import CountTokens, Example, Split


@dataclass(frozen=True)
class Side:
    """The part of a source that a split may use."""

    split: Split
    held_out: frozenset[int] | None = None
    """Hashes of the groups of the held-out split; None: the source is not divided."""
    closed: frozenset[int] = frozenset()
    """Keys of what the held-out split has, of which this side must have nothing."""
    read_twice: bool = False
    """The other side reads the same rows, and counts those that are broken."""
    note: str = ""

    def has(self, example: Example) -> bool:
        if self.held_out is None:
            return True
        return (hash_of(group_of(example)) in self.held_out) == (self.split == "held_out")

    def leaks(self, example: Example) -> bool:
        return bool(self.closed) and not self.closed.isdisjoint(_keys(example))


def sides(
    train: Mapping[str, SourceConfig],
    held_out: Mapping[str, SourceConfig],
    share: float,
    count: CountTokens,
    seed: int,
) -> tuple[dict[str, Side], dict[str, Side]]:
    """The sides of the sources for training, and of those for the held-out split.

    A source whose rows are read for both is divided: about ``share`` of its examples are held out.
    What belongs together is taken in the order of a hash, as long as it fits, so that the seed does
    not change the division; more than ``share`` of a source is never held out.

    Args:
        train, held_out: sources by their key, which an error names.

    Raises:
        InputError: a source cannot be read.
    """
    if not held_out or not train:
        return {key: Side("train") for key in train}, {key: Side("held_out") for key in held_out}
    rows: dict[_Identity, _Rows] = {}
    both: tuple[tuple[Split, Mapping[str, SourceConfig]], ...]
    both = ("train", train), ("held_out", held_out)
    for split, specs in both:
        for key, spec in specs.items():
            identity = _identity(spec, split)
            if spec.source not in registry.MADE and identity not in rows:
                with registry.under(key):
                    rows[identity] = _read(registry.items(spec, split, count, seed))
    ours = {_identity(spec, "train") for spec in train.values()} & rows.keys()
    theirs = {_identity(spec, "held_out") for spec in held_out.values()} & rows.keys()
    divided = sorted(_divided(rows, ours, theirs), key=str)
    chosen = _chosen({each: rows[each] for each in divided}, share)
    closed = {each: _closed(each, rows, theirs, chosen) for each in ours}
    # A built set has a file for each split, so its broken rows are read once.
    same = {_inputs(spec) for spec in train.values() if spec.source != "built"}
    first: dict[str, Side] = {}
    second: dict[str, Side] = {}
    for key, spec in train.items():
        at = _identity(spec, "train")
        first[key] = Side("train", chosen.get(at), closed.get(at, frozenset()))
    for key, spec in held_out.items():
        at = _identity(spec, "held_out")
        note = rows[at].note(chosen[at], share) if at in chosen else ""
        read_twice = _inputs(spec) in same
        second[key] = Side("held_out", chosen.get(at), read_twice=read_twice, note=note)
    return first, second


_Identity = tuple[str, str | None, str | None, Split, str]
"""Source, path and subset, the split where a source gives other examples for it, and all keys of a
function's source: a function may read any of them."""


@dataclass
class _Rows:
    """What is kept of a source: hashes."""

    examples: set[int] = field(default_factory=set)
    sizes: Counter[int] = field(default_factory=Counter)
    """Examples of each group."""
    keys: dict[int, set[int]] = field(default_factory=dict)
    """What each group has that other groups may have, too."""

    def note(self, held_out: frozenset[int], share: float) -> str:
        count = sum(self.sizes[group] for group in held_out)
        note = f"{count} of {self.sizes.total()} held out, the rest is for training"
        if count < share * self.sizes.total() / 2:
            note += "; the others share their documents with each other"
        return note


def _identity(spec: SourceConfig, split: Split) -> _Identity:
    of_function = is_reference(spec.source)
    by_split = spec.source == "built" or of_function  # others read the same rows
    keys = repr(spec) if of_function else ""
    return spec.source, spec.path, spec.subset, split if by_split else "train", keys


def _inputs(spec: SourceConfig) -> tuple[str | None, ...]:
    return spec.source, spec.path, spec.subset, spec.corpus


def _read(items: Iterable[Example | object]) -> _Rows:
    rows = _Rows()
    for item in items:
        if isinstance(item, Example):
            group, keys = hash_of(group_of(item)), set(_keys(item))
            rows.examples.add(key_of(item.question, *map(str, sorted(keys))))
            rows.sizes[group] += 1
            rows.keys.setdefault(group, set()).update(keys)
    return rows


def _keys(example: Example) -> Iterator[int]:
    """Keys of its documents and, in a published set, of its group's name without the set's.

    Two published sets may have such a group in common; any other name is known in its file alone.
    """
    yield from map(_key, example.documents)
    source, _, name = example.group.partition(":")
    if source in registry.PUBLISHED:
        yield hash_of(name)


_key = lru_cache(maxsize=32)(key_of)
"""Questions over the same documents come one after the other."""


def _divided(
    rows: Mapping[_Identity, _Rows], ours: set[_Identity], theirs: set[_Identity]
) -> set[_Identity]:
    """Sources that both splits read, under whatever path: they share most of their examples."""
    divided: set[_Identity] = set()
    for one in ours:
        for other in theirs:
            if "built" in (one[0], other[0]):
                continue  # a built set is divided already
            first, second = rows[one].examples, rows[other].examples
            if one == other or 2 * len(first & second) > min(len(first), len(second)):
                divided |= {one, other}
    return divided


def _chosen(rows: Mapping[_Identity, _Rows], share: float) -> dict[_Identity, frozenset[int]]:
    """The groups of each source that are held out."""
    sources = list(rows.values())
    shared = {
        (at, group): keys
        for at, source in enumerate(sources)
        for group, keys in source.keys.items()
    }
    together: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for member, first in joined_groups(shared).items():
        together.setdefault(first, []).append(member)
    room = [share * source.sizes.total() for source in sources]
    chosen: list[set[int]] = [set() for _ in sources]
    # In the order of a hash of their names: neither the files' order nor the seed matters.
    for members in sorted(together.values(), key=lambda each: min(group for _, group in each)):
        sizes: Counter[int] = Counter()
        for at, group in members:
            sizes[at] += sources[at].sizes[group]
        if any(size > room[at] for at, size in sizes.items()):
            continue  # a large set that belongs together stays in training
        for at, group in members:
            chosen[at].add(group)
        for at, size in sizes.items():
            room[at] -= size
    return dict(zip(rows, map(frozenset, chosen), strict=True))


def _closed(
    one: _Identity,
    rows: Mapping[_Identity, _Rows],
    theirs: set[_Identity],
    chosen: Mapping[_Identity, frozenset[int]],
) -> frozenset[int]:
    """What a source for training shares with the held-out split; a divided source shares nothing
    with itself."""
    own: set[int] = set().union(*rows[one].keys.values())
    closed: set[int] = set()
    for other in theirs:
        if one in chosen and other in chosen:
            continue
        if one[0] == other[0] == "built" and one[1] == other[1]:
            continue
        for group, keys in rows[other].keys.items():
            if other not in chosen or group in chosen[other]:
                closed |= own & keys
    return frozenset(closed)
