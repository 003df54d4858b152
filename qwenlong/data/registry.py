"""Sources by name: published sets, synthetic tasks, the user's own files and functions."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from qwenlong.config import SourceConfig
from qwenlong.config.callables import SOURCE, is_reference, resolve
from qwenlong.data import built, sources
from qwenlong.data.own import chat, documents, jsonl
from qwenlong.data.rows import Rejected, Source, check_subset, read
from qwenlong.data.sources import hub
from qwenlong.data.synthesis import TASKS, facts
from qwenlong.data.synthesis.corpus import corpus_of
from qwenlong.types import CountTokens, Example, InputError, Split

Items = Iterable[Example | Rejected]
Reader = Callable[[SourceConfig, Split, CountTokens, int], Items]
LENGTHS = 8
"""Lengths that a synthetic task is made in, from min_tokens to max_tokens."""


def _published() -> dict[str, Source]:
    """The sets of the catalogue, with the functions of their names in their modules."""
    catalogue = Path(sources.__path__[0]) / "catalogue.toml"
    found = {}
    for name, entry in tomllib.loads(catalogue.read_text(encoding="utf-8")).items():
        module = import_module(f"{sources.__name__}.{entry.pop('module')}")
        layout = f"a snapshot of huggingface.co/datasets/{entry.get('hub')}, or a file of it"
        entry.setdefault("layout", layout)
        subsets = entry.pop("subsets", {})
        if isinstance(subsets, list):
            subsets = {subset: subset.rpartition("/")[2] for subset in subsets}
        examples, rows = getattr(module, name), getattr(module, f"{name}_rows", hub.rows)
        found[name] = Source(name, examples=examples, rows=rows, subsets=subsets, **entry)
    return found


PUBLISHED = _published()
OWN: dict[str, Reader] = {
    "built": built.read,
    "chat": lambda spec, *_: chat.read(_path(spec)),
    "documents": lambda spec, *_: documents.examples(_path(spec)),
    "facts": facts.read,
    "jsonl": jsonl.read,
    "recital": facts.recitals,
}
MADE = {"facts", "recital", *TASKS}
"""Sources that are made up, and keep their splits apart themselves."""


def known(spec: SourceConfig) -> None:
    """
    Raises:
        InputError: there is no source of that name, no such function, subset or corpus.
    """
    if is_reference(spec.source):
        resolve(spec.source, "source", SOURCE)
    elif spec.source not in (*OWN, *TASKS, *PUBLISHED):
        names = ", ".join(sorted({*PUBLISHED, *TASKS, *OWN}))
        raise InputError(f"source={spec.source}: must be one of {names}, or module:callable")
    if spec.source in PUBLISHED:
        check_subset(PUBLISHED[spec.source], spec.subset or "")
    if spec.source in TASKS:
        _corpus(spec)


def module_of(spec: SourceConfig) -> str | None:
    """The file of the user's function that ``spec`` names as its source; None for other sources."""
    if not is_reference(spec.source):
        return None
    return inspect.getsourcefile(inspect.unwrap(resolve(spec.source, "source", SOURCE)))


def items(
    spec: SourceConfig,
    split: Split,
    count: CountTokens,
    seed: int,
    note: Callable[[str], object] = lambda _: None,
) -> Iterator[Example | Rejected]:
    """Every example of a source in its order, and what is left out.

    Args:
        note: called with what else there is to say.

    Raises:
        InputError: there is no such source, or not at that path.
    """
    known(spec)
    if is_reference(spec.source):
        yield from _of_function(spec, split, count, seed)
    elif spec.source in OWN:
        yield from OWN[spec.source](spec, split, count, seed)
    elif spec.source in TASKS:
        yield from _of_task(spec, split, count, seed, note)
    else:
        path = Path(spec.path) if spec.path else None
        yield from read(PUBLISHED[spec.source], path, spec.subset or "")


@contextmanager
def under(key: str) -> Iterator[None]:
    """Names the source in its errors: ``key.path=…`` for its keys, ``key: …`` for its files."""
    try:
        yield
    except InputError as error:
        joint = "." if re.match(r"\w+=", str(error)) else ": "
        raise InputError(f"{key}{joint}{error}") from None


def _path(spec: SourceConfig) -> Path:
    if spec.path is None:
        raise InputError(f"path=null: source {spec.source} needs the path of a file")
    return Path(spec.path)


def _corpus(spec: SourceConfig) -> Path:
    if spec.corpus is None:
        raise InputError(f"corpus=null: source {spec.source} needs texts to hide its task in")
    return Path(spec.corpus)


def _of_function(
    spec: SourceConfig, split: Split, count: CountTokens, seed: int
) -> Iterator[Example]:
    """What a user's function gives. Its own errors are not caught, so that their place is seen."""
    function = resolve(spec.source, "source", SOURCE)
    for number, example in enumerate(function(spec, split, count, seed), start=1):
        if not isinstance(example, Example):
            raise InputError(
                f"source={spec.source}: must give qwenlong.types.Example; item {number} is"
                f" {type(example).__name__}"
            )
        yield example


def _of_task(
    spec: SourceConfig,
    split: Split,
    count: CountTokens,
    seed: int,
    note: Callable[[str], object],
) -> Iterator[Example | Rejected]:
    """A synthetic task in even steps of length; the splits draw from different seeds."""
    if spec.max_tokens is None or not 0 <= spec.min_tokens <= spec.max_tokens:
        raise InputError(
            f"max_tokens={spec.max_tokens}: source {spec.source} needs the length of its documents"
            f" in tokens, and at least min_tokens ({spec.min_tokens})"
        )
    if spec.examples is None:
        raise InputError(f"examples=null: source {spec.source} needs a number of examples to make")
    corpus, rejected = corpus_of(_corpus(spec), split, note, spec.language)
    yield from rejected
    steps = LENGTHS if spec.min_tokens else 1
    width = (spec.max_tokens - spec.min_tokens) / max(1, steps - 1)
    for step in range(steps):
        tokens = round(spec.max_tokens - step * width)
        share = len(range(step, spec.examples, steps))
        own_seed = 2 * seed + (split == "held_out")
        yield from TASKS[spec.source](
            corpus, share, tokens, count, own_seed, spec.language, spec.depth
        )
