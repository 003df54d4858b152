"""The page of a built set: first its counts, then examples to read.

The set's manifest and rows come as plain mappings; this module does not know how they are stored.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from qwenlong.config import SourceConfig
from qwenlong.report.drawing import svg
from qwenlong.report.histograms import DEPTHS, depth_chart, length_chart
from qwenlong.report.html import write_page
from qwenlong.report.runs import cut_middle, spread

EXAMPLES_SHOWN = 60
"""Most examples on a page. This and the following limits bound the page's size."""
DOCUMENTS_SHOWN = 40
"""Most documents of an example."""
GOLD_SHOWN, OTHERS_SHOWN, TEXT_SHOWN, VALUE_SHOWN = 6_000, 1_200, 4_000, 800
"""Most characters of a gold document, of any other document, of a question, answer or reasoning,
and of a value in the metadata. The middle of a longer text is cut out."""
_OPENING = 160
"""Characters of a document that are shown while it is folded."""
_DEFAULTS = {
    each.name: each.default for each in fields(SourceConfig) if each.default is not MISSING
}

Bucket = tuple[str, str, str]
"""Split, source and kind."""


@dataclass
class Counts:
    """Counts over the rows of one source in one split; memory does not grow with the rows."""

    kinds: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    """Number of rows by length in tokens."""
    depths: Counter[int] = field(default_factory=Counter)
    """Gold documents, by the part of the text that they stand in; there are ``DEPTHS`` parts."""
    placed: int = 0
    """Examples with a known gold document and other documents around it."""

    def add(self, row: Mapping[str, Any]) -> None:
        self.kinds[row["kind"]] += 1
        self.lengths[row["tokens"]] += 1
        depths = depths_of(row["documents"], row["gold_documents"])
        self.depths.update(min(DEPTHS - 1, int(depth * DEPTHS)) for depth in depths)
        self.placed += bool(depths)


Table = Mapping[tuple[str, str], Counts]
"""Counts by split and source."""


def depths_of(documents: Sequence[str], gold: Sequence[int]) -> list[float]:
    """The share of the other documents' text that stands before each gold document.

    Empty if all documents are gold.
    """
    golden = set(gold)
    total = sum(len(text) for place, text in enumerate(documents) if place not in golden)
    depths, before = [], 0
    for place, text in enumerate(documents):
        if place not in golden:
            before += len(text)
        elif total:
            depths.append(before / total)
    return depths


def chosen(counts: Table, most: int = EXAMPLES_SHOWN) -> dict[Bucket, set[int]]:
    """Which examples to show: their places in each bucket, evenly spaced in it.

    If there are more buckets than ``most``, every source of every split is shown before further
    kinds of a source.
    """
    sizes: dict[Bucket, int] = {}
    rank: dict[Bucket, int] = {}
    for (split, source), of in counts.items():
        for place, (kind, n) in enumerate(of.kinds.most_common()):
            sizes[split, source, kind], rank[split, source, kind] = n, place
    buckets = sorted(sizes, key=lambda bucket: rank[bucket])
    ends = accumulate(sizes[bucket] for bucket in buckets)
    ranges = [range(end - sizes[each], end) for each, end in zip(buckets, ends, strict=True)]
    picked = spread(ranges, most)
    return {
        bucket: {number - own.start for number in picked if number in own}
        for bucket, own in zip(buckets, ranges, strict=True)
    }


def write_dataset(
    name: str,
    manifest: Mapping[str, Any],
    counts: Table,
    examples: Sequence[Mapping[str, Any]],
    out: Path,
) -> Path:
    """Writes the page of a built set to ``out``.

    Args:
        examples: those to show, as ``reading`` returns them.
    """
    splits = list(manifest["splits"])
    sources = list(dict.fromkeys(source for _, source in counts))
    config = manifest["recipe"]["config"]
    return write_page(
        out,
        "dataset.html.j2",
        "dataset.js",
        ["report.css", "dataset.css"],
        name=name,
        config=config,
        splits=manifest["splits"],
        totals={key: sum(of[key] for of in manifest["splits"].values()) for key in _ADDED},
        sources=[
            _source(*each) for each in zip(manifest["sources"], config["sources"], strict=True)
        ],
        removed=list(_removed(manifest["sources"])),
        kinds={split: _kinds(split, manifest["splits"][split], counts) for split in splits},
        charts=_charts(splits, sources, counts),
        placed=sum(of.placed for of in counts.values()),
        examples=examples,
        recipe=_recipe(manifest),
    )


_ADDED = ("examples", "tokens")


def _source(entry: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """A source's row in the table: its licence, its settings and its counts."""
    settings = {key: value for key, value in spec.items() if value != _DEFAULTS.get(key)}
    if spec["lengthen"] is not None:
        settings["distractors"] = spec["distractors"]
    settings.pop("source")
    licence = entry.get(
        "licence", "your own files" if spec["path"] else "made from seed and corpus"
    )
    tallies = entry["splits"].values()
    return {
        "name": entry["source"],
        "licence": licence,
        "citation": entry.get("citation", ""),
        "settings": ", ".join(f"{key}={value}" for key, value in settings.items()),
        "taken": {split: tally["taken"] for split, tally in entry["splits"].items()},
        "left_out": sum(sum(tally["left_out"].values()) for tally in tallies),
        "cut": sum(sum(tally["cut"].values()) for tally in tallies),
    }


def _removed(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, int, str, str]]:
    """(source, split, left out or cut, number of examples, reason, first of them)."""
    for entry in entries:
        for split, tally in entry["splits"].items():
            for what in ("left_out", "cut"):
                for why, n in sorted(tally[what].items(), key=lambda item: -item[1]):
                    first = tally["first_left_out"].get(why, "") if what == "left_out" else ""
                    yield entry["source"], split, what.replace("_", " "), n, why, first


def _kinds(split: str, sums: Mapping[str, Any], counts: Table) -> dict[str, Any]:
    """A table of sources by kinds of answer, with the manifest's sums."""
    rows = {source: of.kinds for (of_split, source), of in counts.items() if of_split == split}
    most = max((n for kinds in rows.values() for n in kinds.values()), default=1)
    return {"rows": rows, "most": most, "kinds": sums["kinds"], "sources": sums["sources"]}


def _charts(splits: Sequence[str], sources: Sequence[str], counts: Table) -> dict[str, Markup]:
    """The charts that have something to draw, with the sources that have something to draw."""
    charts = {}
    for name, draw, label in (
        ("lengths", length_chart, "Examples by length in tokens"),
        ("depths", depth_chart, "Gold documents by depth"),
    ):
        values = {place: getattr(of, name) for place, of in counts.items()}
        known = [source for source in sources if any(values.get((each, source)) for each in splits)]
        if known and (image := svg(draw, splits, known, values, name=name, label=label)):
            charts[name] = image
    return charts


def _recipe(manifest: Mapping[str, Any]) -> str:
    sums = {name: {"sha256": split["sha256"]} for name, split in manifest["splits"].items()}
    recipe = {**manifest["recipe"], "splits": sums}
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=110)


def reading(row: Mapping[str, Any], split: str) -> dict[str, Any]:
    """An example as the page shows it, with long texts cut.

    Args:
        row: a row of a built set, with its metadata parsed.
    """
    documents, gold = row["documents"], row["gold_documents"]
    depths = depths_of(documents, gold)
    facts = {"id": row["id"], "group": row["group"], "difficulty": row["difficulty"]}
    metadata = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in sorted(row["metadata"].items())
    }
    return {
        "split": split,
        "source": row["source"],
        "kind": row["kind"],
        "tokens": row["tokens"],
        "question": cut_middle(row["question"], TEXT_SHOWN),
        "answers": [cut_middle(answer, TEXT_SHOWN) for answer in row["answers"]],
        "reasoning": cut_middle(row["reasoning"], TEXT_SHOWN),
        "facts": {key: str(value) for key, value in facts.items() if value not in (None, "")},
        "metadata": {key: cut_middle(text, VALUE_SHOWN) for key, text in metadata.items()},
        "documents": list(_documents(documents, gold)),
        "written": len(documents),
        "gold": len(set(gold)),
        "depths": ", ".join(f"{depth:.2f}" for depth in depths),
    }


def _documents(documents: Sequence[str], gold: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The documents to show, numbered from 1, and an entry for each gap between them.

    Shown are the gold documents and those nearest to them and to both ends.
    """
    golden = set(gold)
    anchors = {0, len(documents) - 1, *golden}
    kept = sorted(
        range(len(documents)),
        key=lambda place: (place not in golden, min(abs(place - each) for each in anchors), place),
    )[:DOCUMENTS_SHOWN]
    for is_kept, group in groupby(range(len(documents)), lambda place: place in kept):
        places = list(group)
        if not is_kept:
            characters = sum(len(documents[place]) for place in places)
            yield {"first": places[0] + 1, "last": places[-1] + 1, "characters": characters}
            continue
        for place in places:
            text = documents[place]
            yield {
                "number": place + 1,
                "gold": place in golden,
                "characters": len(text),
                "opening": " ".join(text[:_OPENING].split()),
                "text": cut_middle(text, GOLD_SHOWN if place in golden else OTHERS_SHOWN),
            }
