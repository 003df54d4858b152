"""Sources by name: published sets, synthetic tasks, and the user's own files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from qwenlong.config import SourceConfig
from qwenlong.data import built, documents, facts, hub, jsonl, recital, triplets
from qwenlong.data.rows import Rejected, Source
from qwenlong.data.sources import (
    bamboo,
    convfinqa,
    cuad,
    docmath,
    docqa_rl,
    fairytaleqa,
    finqa,
    frames,
    golongrl,
    hotpotqa,
    longbench,
    longbench_v2,
    mrcr,
    multihoprag,
    musique,
    narrativeqa,
    ottqa,
    qasper,
    squad,
    tatqa,
    wikimultihop,
)
from qwenlong.data.synthesis import MAKERS
from qwenlong.data.synthesis.corpus import Corpus, Text, of_documents, of_running_text
from qwenlong.types import CountTokens, Example, InputError, Split

Items = Iterator[Example | Rejected]
Reader = Callable[[SourceConfig, Split, CountTokens, int], Iterable[Example | Rejected]]
LENGTHS = 8
"""Lengths that a synthetic task is made in, from min_tokens to max_tokens."""

PUBLISHED: dict[str, Source] = {
    source.name: source
    for source in (
        bamboo.SOURCE,
        convfinqa.SOURCE,
        cuad.SOURCE,
        docmath.SOURCE,
        docqa_rl.SOURCE,
        fairytaleqa.SOURCE,
        finqa.SOURCE,
        frames.SOURCE,
        golongrl.SOURCE,
        hotpotqa.SOURCE,
        longbench.SOURCE,
        longbench_v2.SOURCE,
        mrcr.SOURCE,
        multihoprag.SOURCE,
        musique.SOURCE,
        narrativeqa.SOURCE,
        ottqa.SOURCE,
        qasper.SOURCE,
        squad.CMRC2018,
        squad.XQUAD,
        tatqa.SOURCE,
        wikimultihop.SOURCE,
    )
}

OWN: dict[str, Reader] = {
    "built": built.read,
    "chat": lambda spec, _split, _count, _seed: triplets.read(needed(spec)),
    "documents": lambda spec, _split, _count, _seed: documents.examples(needed(spec)),
    "facts": facts.read,
    "jsonl": jsonl.read,
    "recital": recital.read,
}
MADE = {"facts", "recital", *MAKERS}
"""Sources that keep their splits apart themselves."""


def names() -> list[str]:
    return sorted({*PUBLISHED, *MAKERS, *OWN})


def items(spec: SourceConfig, split: Split, count: CountTokens, seed: int) -> Items:
    """Every example of a source in its order, and what is left out.

    Raises:
        InputError: there is no such source, or not at that path.
    """
    if spec.source in OWN:
        yield from OWN[spec.source](spec, split, count, seed)
    elif spec.source in MAKERS:
        yield from _made(spec, split, count, seed)
    elif spec.source in PUBLISHED:
        path = Path(spec.path) if spec.path else None
        yield from hub.read(PUBLISHED[spec.source], path, spec.subset or "")
    else:
        raise InputError(f"source={spec.source}: must be one of {', '.join(names())}")


def needed(spec: SourceConfig) -> Path:
    if spec.path is None:
        raise InputError(f"path=null: source {spec.source} needs the path of a file")
    return Path(spec.path)


def _made(spec: SourceConfig, split: Split, count: CountTokens, seed: int) -> Items:
    """A synthetic task in even steps of length; the splits draw from different seeds."""
    if spec.corpus is None:
        raise InputError(f"corpus=null: source {spec.source} needs texts to hide its task in")
    if spec.max_tokens is None or not 0 <= spec.min_tokens <= spec.max_tokens:
        raise InputError(
            f"max_tokens={spec.max_tokens}: source {spec.source} needs the length of its documents"
            f" in tokens, and at least min_tokens ({spec.min_tokens})"
        )
    if spec.examples is None:
        raise InputError(f"examples=null: source {spec.source} needs a number of examples to make")
    corpus, rejected = corpus_of(Path(spec.corpus), spec.language)
    yield from rejected
    corpus = _part(corpus, split)
    steps = LENGTHS if spec.min_tokens else 1
    width = (spec.max_tokens - spec.min_tokens) / max(1, steps - 1)
    for step in range(steps):
        tokens = round(spec.max_tokens - step * width)
        share = len(range(step, spec.examples, steps))
        own_seed = 2 * seed + (split == "held_out")
        yield from MAKERS[spec.source](
            corpus, share, tokens, count, own_seed, spec.language, spec.depth
        )


def _part(corpus: Corpus, split: Split) -> Corpus:
    """The splits share no text: the last fifth is the held-out split's."""
    border = len(corpus.texts) * 4 // 5
    texts = corpus.texts[border:] if split == "held_out" else corpus.texts[:border]
    return replace(corpus, texts=texts)


def corpus_of(path: Path, language: str = "") -> tuple[Corpus, list[Rejected]]:
    """The texts of a file or folder: one plain text is running text, all others are documents."""
    if path.is_file() and path.suffix == ".txt":
        try:
            with path.open(encoding="utf-8-sig") as file:
                return of_running_text(file, language), []
        except UnicodeDecodeError as error:
            raise InputError(f"corpus={path}: not UTF-8 (byte {error.start + 1})") from None
    rejected: list[Rejected] = []

    def texts() -> Iterator[Text]:
        for item in documents.documents(path):
            if isinstance(item, Rejected):
                rejected.append(item)
            else:
                yield Text(item.title, item.text)

    corpus = of_documents(texts())
    if not corpus.texts:
        raise InputError(f"corpus={path}: no text is there")
    return corpus, rejected
