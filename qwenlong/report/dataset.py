"""A built set as a page to read: one file that needs no network, counts first, then examples.

It gets the set's manifest and rows as plain mappings; how a set is stored is not known here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from itertools import accumulate
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from qwenlong.config import SourceConfig
from qwenlong.report.histograms import DEPTHS, depth_chart, length_chart
from qwenlong.report.palette import palette_css, style, svg
from qwenlong.report.runs import spread

HERE = Path(__file__).parent
EXAMPLES_SHOWN = 60
DOCUMENTS_SHOWN = 40
"""Of an example, at most. All these limits bound the page's size."""
GOLD_SHOWN, OTHERS_SHOWN, TEXT_SHOWN, VALUE_SHOWN = 6_000, 1_200, 4_000, 800
"""Characters of a gold document, of any other, of a question, answer or reasoning, and of a
value in the metadata; the middle goes first."""
_OPENING = 160
"""Characters of a document that a folded one shows."""
_DEFAULTS = {
    each.name: each.default for each in fields(SourceConfig) if each.default is not MISSING
}

Bucket = tuple[str, str, str]
"""Split, source and kind."""


@dataclass
class Counts:
    """Over the rows of one source in one split; memory does not grow with them."""

    kinds: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    """By tokens."""
    depths: Counter[int] = field(default_factory=Counter)
    """Gold documents, by the part of the text that they stand in, see ``DEPTHS``."""
    placed: int = 0
    """Examples with a gold document that is known and other documents around it."""

    def add(self, row: Mapping[str, Any]) -> None:
        self.kinds[row["kind"]] += 1
        self.lengths[row["tokens"]] += 1
        depths = depths_of(row["documents"], row["gold_documents"])
        self.depths.update(min(DEPTHS - 1, int(depth * DEPTHS)) for depth in depths)
        self.placed += bool(depths)


Table = Mapping[tuple[str, str], Counts]
"""By split and source."""


def depths_of(documents: Sequence[str], gold: Sequence[int]) -> list[float]:
    """The share of the other documents' text that stands before each gold one; none if all are."""
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
    """Which examples to show, by their place in a bucket: from every bucket, evenly spaced in it.

    Where there are more buckets than that, every source of every split comes before its kinds.
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
    """Writes the page of a built set. ``examples`` are as ``reading`` gives them."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (HERE / "dataset.js").read_text(encoding="utf-8")
    css = [(HERE / file).read_text(encoding="utf-8") for file in ("report.css", "dataset.css")]
    splits = list(manifest["splits"])
    sources = list(dict.fromkeys(source for _, source in counts))
    config = manifest["recipe"]["config"]
    html = environment.get_template("dataset.html.j2").render(
        name=name,
        config=config,
        splits=manifest["splits"],
        totals={key: sum(of[key] for of in manifest["splits"].values()) for key in _ADDED},
        longest=max(of["longest"] for of in manifest["splits"].values()),
        sources=[
            _source(*each) for each in zip(manifest["sources"], config["sources"], strict=True)
        ],
        removed=list(_removed(manifest["sources"])),
        sources_shown=sources,
        kinds={split: _kinds(split, manifest["splits"][split], counts) for split in splits},
        charts=_charts(splits, sources, counts),
        placed=sum(of.placed for of in counts.values()),
        examples=examples,
        recipe=_recipe(manifest),
        css=Markup(palette_css() + "".join(css)),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, encoding="utf-8", errors="replace", newline="\n")
    return out


_ADDED = ("examples", "tokens")


def _source(entry: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """A source as the table shows it, with what its configuration sets."""
    settings = {key: value for key, value in spec.items() if value != _DEFAULTS.get(key)}
    if spec["lengthen"] is not None:
        settings["distractors"] = spec["distractors"]
    settings.pop("source")
    licence = entry.get(
        "licence", "your own files" if spec["path"] else "made from seed and corpus"
    )
    tallies = entry["splits"]
    return {
        "name": entry["source"],
        "licence": licence,
        "citation": entry.get("citation", ""),
        "settings": ", ".join(f"{key}={value}" for key, value in settings.items()),
        "taken": {split: told["taken"] for split, told in tallies.items()},
        "left_out": sum(sum(told["left_out"].values()) for told in tallies.values()),
        "cut": sum(sum(told["cut"].values()) for told in tallies.values()),
    }


def _removed(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, int, str, str]]:
    """Source, split, what was done, to how many, why, and where first."""
    for entry in entries:
        for split, told in entry["splits"].items():
            for what in ("left_out", "cut"):
                for why, n in sorted(told[what].items(), key=lambda item: -item[1]):
                    first = told["first_left_out"].get(why, "") if what == "left_out" else ""
                    yield entry["source"], split, what.replace("_", " "), n, why, first


def _kinds(split: str, told: Mapping[str, Any], counts: Table) -> dict[str, Any]:
    """Sources by kinds, with the manifest's sums."""
    rows = {source: of.kinds for (of_split, source), of in counts.items() if of_split == split}
    most = max((n for kinds in rows.values() for n in kinds.values()), default=1)
    return {"rows": rows, "most": most, "kinds": told["kinds"], "sources": told["sources"]}


def _charts(splits: Sequence[str], sources: Sequence[str], counts: Table) -> dict[str, Markup]:
    """What has nothing to draw is left out: a chart, or a source's row of it."""
    charts = {}
    for name, draw, label in (
        ("lengths", length_chart, "Examples by length in tokens"),
        ("depths", depth_chart, "Gold documents by depth"),
    ):
        values = {place: getattr(of, name) for place, of in counts.items()}
        known = [source for source in sources if any(values.get((each, source)) for each in splits)]
        if not known:
            continue
        with style(), catch_warnings():
            # The font that text is measured in lacks some scripts; the reader's has them.
            filterwarnings("ignore", message="Glyph")
            charts[name] = Markup(svg(draw(splits, known, values), name, label))
    return charts


def _recipe(manifest: Mapping[str, Any]) -> str:
    told = {name: {"sha256": split["sha256"]} for name, split in manifest["splits"].items()}
    return yaml.safe_dump(
        {**manifest["recipe"], "splits": told}, sort_keys=False, allow_unicode=True, width=110
    )


def reading(row: Mapping[str, Any], split: str) -> dict[str, Any]:
    """An example as the page shows it: nothing in it is longer than the page can bear.

    Args:
        row: a row of a built set, its metadata parsed.
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
    """The documents to show, numbered from 1, and gaps where some are passed over.

    The gold ones and what is nearest to them and to the ends.
    """
    golden = set(gold)
    anchors = {0, len(documents) - 1, *golden}
    kept = sorted(
        range(len(documents)),
        key=lambda place: (place not in golden, min(abs(place - each) for each in anchors), place),
    )[:DOCUMENTS_SHOWN]
    gap: list[int] = []
    for place, text in enumerate(documents):
        if place not in kept:
            gap.append(place)
            continue
        yield from _gap(gap, documents)
        gap = []
        yield {
            "number": place + 1,
            "gold": place in golden,
            "characters": len(text),
            "opening": " ".join(text[:_OPENING].split()),
            "text": cut_middle(text, GOLD_SHOWN if place in golden else OTHERS_SHOWN),
        }
    yield from _gap(gap, documents)


def _gap(places: Sequence[int], documents: Sequence[str]) -> Iterator[dict[str, Any]]:
    if places:
        characters = sum(len(documents[place]) for place in places)
        yield {"first": places[0] + 1, "last": places[-1] + 1, "characters": characters}


def cut_middle(text: str, most: int) -> str:
    """``text``, or its two ends with a note of what was cut between them."""
    if len(text) <= most:
        return text
    head, tail = text[: 2 * most // 3], text[-(most // 3) :]
    left_out = len(text) - len(head) - len(tail)
    return f"{head}\n\n[… {left_out:,} characters are left out here …]\n\n{tail}"
