"""Sources by name: published sets, synthetic tasks, and the user's own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from qwenlong.config import SourceConfig
from qwenlong.data import built, sources
from qwenlong.data.hashes import key_of
from qwenlong.data.own import chat, documents, jsonl
from qwenlong.data.rows import Rejected, RowError, Source, read
from qwenlong.data.synthesis import TASKS, facts, recital
from qwenlong.data.synthesis.corpus import Corpus, Text, of_documents, of_running_text
from qwenlong.types import CountTokens, Example, InputError, Split

Items = Iterator[Example | Rejected]
Reader = Callable[[SourceConfig, Split, CountTokens, int], Iterable[Example | Rejected]]
LENGTHS = 8
"""Lengths that a synthetic task is made in, from min_tokens to max_tokens."""


def _published() -> dict[str, Source]:
    """The sets of ``sources/``: every file there that has a SOURCE, or several SOURCES."""
    modules = (
        import_module(f"{sources.__name__}.{m.name}") for m in iter_modules(sources.__path__)
    )
    found = (getattr(m, "SOURCES", (getattr(m, "SOURCE", None),)) for m in modules)
    return {source.name: source for each in found for source in each if source}


PUBLISHED = _published()
OWN: dict[str, Reader] = {
    "built": built.read,
    "chat": lambda spec, _split, _count, _seed: chat.read(needed(spec)),
    "documents": lambda spec, _split, _count, _seed: documents.examples(needed(spec)),
    "facts": facts.read,
    "jsonl": jsonl.read,
    "recital": recital.read,
}
MADE = {"facts", "recital", *TASKS}
"""Sources that keep their splits apart themselves."""


def names() -> list[str]:
    return sorted({*PUBLISHED, *TASKS, *OWN})


def known(spec: SourceConfig) -> None:
    """
    Raises:
        InputError: there is no source of that name, no such subset, or no such corpus.
    """
    if spec.source not in (*OWN, *TASKS, *PUBLISHED):
        raise InputError(f"source={spec.source}: must be one of {', '.join(names())}")
    subsets = PUBLISHED[spec.source].subsets if spec.source in PUBLISHED else ()
    if subsets and spec.subset and spec.subset not in subsets:
        raise InputError(f"subset={spec.subset}: must be one of {', '.join(subsets)}")
    if spec.source in TASKS:
        _corpus(spec)


def items(
    spec: SourceConfig,
    split: Split,
    count: CountTokens,
    seed: int,
    note: Callable[[str], object] = lambda _: None,
) -> Items:
    """Every example of a source in its order, and what is left out.

    Args:
        note: told what else there is to say.

    Raises:
        InputError: there is no such source, or not at that path.
    """
    known(spec)
    if spec.source in OWN:
        yield from OWN[spec.source](spec, split, count, seed)
    elif spec.source in TASKS:
        yield from _made(spec, split, count, seed, note)
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


def needed(spec: SourceConfig) -> Path:
    if spec.path is None:
        raise InputError(f"path=null: source {spec.source} needs the path of a file")
    return Path(spec.path)


def _corpus(spec: SourceConfig) -> Path:
    if spec.corpus is None:
        raise InputError(f"corpus=null: source {spec.source} needs texts to hide its task in")
    return Path(spec.corpus)


def _made(
    spec: SourceConfig,
    split: Split,
    count: CountTokens,
    seed: int,
    note: Callable[[str], object],
) -> Items:
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


def corpus_of(
    path: Path,
    split: Split | None = None,
    note: Callable[[str], object] = lambda _: None,
    language: str = "",
) -> tuple[Corpus, list[Rejected]]:
    """The texts of a file or folder, of a split its own, and what is no text.

    A fifth is the held-out split's. One plain text is running text and parted by place; of all
    others a document is whole on one side, and so are those of the same words.

    Raises:
        InputError: it cannot be read, or cannot be parted.
    """
    corpus, rejected = _whole(path, language)
    if corpus.left_out:
        held = sum(len(text.text) for text in corpus.texts)
        note(
            f"corpus={path}: a sample of {held:,} of its {held + corpus.left_out:,} characters is"
            " used"
        )
    if split is None:
        return corpus, rejected
    wholes = sorted({text.whole for text in corpus.texts})
    if len(wholes) > 1:
        held_out = set(wholes[: max(1, len(wholes) // 5)])
        texts = [t for t in corpus.texts if (t.whole in held_out) == (split == "held_out")]
    else:
        border = len(corpus.texts) * 4 // 5
        texts = [*(corpus.texts[border:] if split == "held_out" else corpus.texts[:border])]
    if not texts:
        raise InputError(f"corpus={path}: a single short text, which no two splits can share")
    return replace(corpus, texts=tuple(texts)), rejected


def _whole(path: Path, language: str) -> tuple[Corpus, list[Rejected]]:
    if path.is_file() and path.suffix == ".txt":
        start = b""
        try:
            with path.open("rb") as raw:
                start = raw.read(4096)
            with path.open(encoding=documents.encoding_of(start)) as file:
                return of_running_text(file, language), []
        except UnicodeDecodeError as error:
            why = documents.undecoded(error.encoding, start)
            raise InputError(f"corpus={path}: {why}") from None
        except RowError as error:
            raise InputError(f"corpus={path}: {error}") from None
        except OSError as error:
            raise InputError(f"corpus={path}: cannot be read: {error.strerror}") from None
    rejected: list[Rejected] = []

    def texts() -> Iterator[Text]:
        for item in documents.documents(path):
            if isinstance(item, Rejected):
                rejected.append(item)
            else:
                yield Text(item.title, item.text, whole=key_of(item.text))

    corpus = of_documents(texts())
    if not corpus.texts:
        raise InputError(f"corpus={path}: no txt, Markdown, HTML, PDF or JSONL with text is there")
    return corpus, rejected
