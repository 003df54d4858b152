"""``qwenlong data``: builds a set of examples, shows it, and compares two sets."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from qwenlong.config import SourceConfig
from qwenlong.config.reading import load_build
from qwenlong.data import built
from qwenlong.data.build import build
from qwenlong.data.gold import gold_of
from qwenlong.data.overlap import Contamination, contamination
from qwenlong.data.own import jsonl
from qwenlong.data.prompts import Renderer
from qwenlong.data.rows import Rejected
from qwenlong.data.rules import Rules
from qwenlong.model.pretrained import chat_tokenizer
from qwenlong.report.dataset import Bucket, Counts, chosen, reading, write_dataset
from qwenlong.rewards.registry import verifier
from qwenlong.types import Example, InputError, Split

T = TypeVar("T")
MOST_REASONS = 3
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|(?<=of )[A-Z][\w /&-]*(?= do not)|\b\d+ of \d+\b")
"""The parts in which reasons of one kind differ: quotations, names of columns, counts."""


def build_set(path: Path, out: Path, overrides: Sequence[str], console: Console) -> None:
    """``qwenlong data build``."""
    config = load_build(path, overrides)
    renderer = Renderer(chat_tokenizer(config.tokenizer, "tokenizer"), config.thinking)
    shared = config.on_error, config.deduplicate, config.context, config.over_long
    rules = Rules(renderer, config.seed, *shared, check=verifier)
    with Live(console=console, transient=True, refresh_per_second=4) as live:

        def report(split: Split, number: int, done: int) -> None:
            source = f"source {number + 1} of {len(config.sources)}"
            live.update(Text(f"{split}: {source}, {config.sources[number].source}: {done:,}"))

        manifest = build(config, rules, out, report)
    console.print(summary(manifest))
    console.print(f"set  {out}", highlight=False, soft_wrap=True)


def summary(manifest: dict[str, Any]) -> Table:
    """Every source with what happened to its examples, and the lengths of each split."""
    table = Table("source", box=SIMPLE)
    for column in ("split", "examples", "left out", "cut"):
        table.add_column(column, justify="right")
    table.add_column("why", overflow="fold")
    for source in manifest["sources"]:
        for split, counts in source["splits"].items():
            reasons = _most_frequent({**counts["left_out"], **counts["cut"]})
            left_out, cut = (sum(counts[each].values()) for each in ("left_out", "cut"))
            numbers = (f"{n:,}" for n in (counts["taken"], left_out, cut))
            why = "; ".join(reasons + counts.get("notes", []))
            table.add_row(source["source"], split, *numbers, why)
    for split, counts in manifest["splits"].items():
        mean = counts["tokens"] / max(1, counts["examples"])
        lengths = f"{mean:,.0f} tokens on average, {counts['longest']:,} at most"
        table.add_row("all", split, f"{counts['examples']:,}", "", "", lengths, style="bold")
    return table


def _most_frequent(reasons: Mapping[str, int]) -> list[str]:
    """The most frequent reasons, without their quotations of the data; the manifest has all."""
    alike: Counter[str] = Counter()
    for why, count in reasons.items():
        alike[_QUOTED.sub("…", why)] += count
    most = alike.most_common(MOST_REASONS)
    shown = [f"{count} {why}" for why, count in most]
    rest = alike.total() - sum(count for _, count in most)
    return [*shown, f"{rest} for other reasons, in the manifest"] if rest else shown


def show_set(folder: Path, out: Path | None = None) -> Path:
    """``qwenlong data show``: writes the page of a built set. Two passes; memory holds a batch.

    Raises:
        InputError: there is no such set, or it is not as it was written.
    """
    manifest = built.manifest_of(folder)
    for split in manifest["splits"]:
        built.file_of(folder, manifest, split)
    counts: dict[tuple[str, str], Counts] = {}
    for split, row in _rows_of(folder, manifest):
        counts.setdefault((split, row["source"]), Counts()).add(row)
    wanted = chosen(counts)
    seen: Counter[Bucket] = Counter()
    examples = []
    for split, row in _rows_of(folder, manifest):
        bucket = (split, row["source"], row["kind"])
        if seen[bucket] in wanted[bucket]:
            examples.append(reading({**row, "metadata": json.loads(row["metadata"])}, split))
        seen[bucket] += 1
    name = folder.resolve().name
    return write_dataset(name, manifest, counts, examples, out or folder / "show.html")


def _rows_of(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row with its split; documents that the metadata cites by number are gold, too."""
    for split in manifest["splits"]:
        for _, row in _unbroken(built.rows(folder / f"{split}.parquet")):
            yield split, {**row, "gold_documents": gold_of(built.example_of(row))}


def _unbroken(items: Iterable[T | Rejected]) -> Iterator[T]:
    """
    Raises:
        InputError: an item could not be read.
    """
    for item in items:
        if isinstance(item, Rejected):
            raise InputError(f"{item.where}: {item.why}")
        yield item


def check_sets(first: Path, second: Path, console: Console) -> Contamination:
    """``qwenlong data check``: what of ``second`` is also in ``first``."""
    with console.status(f"reading {first} and {second}"):
        found = contamination(examples_at(first), examples_at(second))
    table = Table(f"of {found.second:,} examples of {second}", "", box=SIMPLE)
    for what, count in (
        (f"have a question of {first}", found.same_question),
        ("have a question that shares 13 words in a row with one", found.question_overlap),
        ("have a document of it", found.same_document),
        ("have a document that shares 13 words in a row with one", found.document_overlap),
    ):
        table.add_row(what, f"{count:,}")
    console.print(table)
    notes = [f"{each.what}: {each.second} and {each.first}: {each.text}" for each in found.found]
    if found.sampled > 1:
        notes.insert(
            0,
            f"{first} is large: one document n-gram in {found.sampled} was compared, so a short"
            " overlap may be missed",
        )
    if found.templates:
        notes.insert(
            0,
            f"synthetic questions ({found.templates:,}) were compared whole, not by 13 words in a"
            " row, because they share their templates",
        )
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)
    return found


def examples_at(path: Path) -> Iterator[Example]:
    """Every example of a built set's folder, of one of its Parquet files, or of a JSONL file."""
    if path.is_dir():
        for split in built.manifest_of(path)["splits"]:
            yield from examples_at(path / f"{split}.parquet")
    elif path.suffix == ".parquet":
        yield from (built.example_of(row) for _, row in _unbroken(built.rows(path)))
    elif path.suffix == ".jsonl":
        spec = SourceConfig("jsonl", path=str(path))
        yield from _unbroken(jsonl.read(spec, "train", len, 0))
    else:
        raise InputError(f"{path}: must be a built set's folder, a .parquet or a .jsonl file")
