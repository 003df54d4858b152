"""Measures ``qwenlong data build``: seconds, memory, and how exact its lengths are.

Two sets of examples of 32,768 tokens are built, the second of twice as many, each by the command in
its own process on two cores: five published sets of ../shared/data, lengthened, and two synthetic
tasks in Moby Dick. Time is from the command's start to its end; memory is the peak of the
process. Lengths are read from the Parquet file, template included. The tokenizer is
trained on the same texts, with a vocabulary large enough for four characters a token in English.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from pyarrow import parquet

from benchmarks.common import console, print_table, quiet, write_result
from qwenlong.config import SourceConfig, TinyConfig
from qwenlong.data import registry
from qwenlong.data.prompts import training_texts
from qwenlong.model.tiny import build_tiny
from qwenlong.types import Example

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
BOOK = "filler_gutenberg/moby_dick_2701-0.txt"
TOKENS = 32_768
QUESTION = 168
"""Tokens that template, question and instruction of a synthetic task need at most."""
CORES = 2
VOCABULARY = 32_000
SECONDS, MEGABYTES, RATIO, LEAST, MOST = 180, 2_000, 2.2, 0.98, 1.0
"""Limits: seconds and memory of 1,000 examples, the ratio of time for twice as many, lengths."""
COLUMNS = {
    "examples": "{examples}",
    "seconds": "{seconds:.1f}",
    "MB at most": "{megabytes:,}",
    "shortest": "{lowest:.4f}",
    "longest": "{highest:.4f}",
}
REAL: tuple[dict[str, Any], ...] = (
    {"source": "hotpotqa", "path": "multihop_hotpot100", "weight": 4, "corpus": BOOK},
    {"source": "tatqa", "path": "numeric_tatqa", "weight": 25, "corpus": BOOK},
    {"source": "xquad", "path": "multiling_xquad", "subset": "en", "weight": 20, "corpus": BOOK},
    {"source": "fairytaleqa", "path": "narrative_fairytaleqa", "weight": 21, "corpus": BOOK},
    {"source": "cmrc2018", "path": "zh_cmrc2018", "weight": 10},
)
SYNTHETIC: tuple[dict[str, Any], ...] = (
    {"source": "needles", "weight": 10, "corpus": BOOK},
    {"source": "keychain", "weight": 10, "corpus": BOOK},
)


def main(
    examples: Annotated[int, typer.Option(help="Of the smaller set.")] = 1_000,
    data: Annotated[Path, typer.Option(help="Where the published sets lie.")] = DATA,
) -> None:
    """Builds a set and one of twice the size; the exit code is 1 if a bar is missed."""
    if not data.is_dir():
        raise SystemExit(f"--data {data}: is not there")
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy"
        tiny = TinyConfig(
            layers=1, hidden=16, intermediate=16, heads=1, kv_heads=1, vocabulary=VOCABULARY
        )
        build_tiny(policy, texts(data), tiny, TOKENS, seed=0)
        sets = [built(n, data, policy, Path(folder)) for n in (examples, 2 * examples)]
    ratio = sets[1]["seconds"] / sets[0]["seconds"]
    bars = {"examples": "bars", "seconds": SECONDS, "megabytes": MEGABYTES}
    print_table("Building a set", COLUMNS, [*sets, {**bars, "lowest": LEAST, "highest": MOST}])
    for source, (low, high) in sets[0]["shares"].items():
        console.print(f"{source}: {low:.4f} to {high:.4f} of {TOKENS:,}", highlight=False)
    console.print(f"twice the examples take {ratio:.2f} times as long (bar: {RATIO})")
    results = {"tokens": TOKENS, "cores": CORES, "ratio": round(ratio, 2)}
    write_result("data", {**results, "sets": sets}, threads=CORES)
    met = sets[0]["seconds"] <= SECONDS and ratio <= RATIO
    for each in sets:
        met = met and each["megabytes"] <= MEGABYTES
        met = met and LEAST <= each["lowest"] <= each["highest"] <= MOST
    if not met:
        raise typer.Exit(1)


def texts(data: Path) -> Iterator[str]:
    """What the tokenizer is trained on: examples of every set, and the book."""
    for spec in REAL:
        path = str(data / spec["path"])
        source = SourceConfig(spec["source"], path, subset=spec.get("subset"))
        found = registry.items(source, "train", len, 0)
        yield from training_texts([e for e in islice(found, 300) if isinstance(e, Example)])
    yield (data / BOOK).read_text(encoding="utf-8-sig")


def spec_of(examples: int, data: Path, policy: Path) -> dict[str, Any]:
    """What ``qwenlong data build`` is asked for."""
    sources = [{**spec, "lengthen": TOKENS} for spec in REAL]
    sources += [{**spec, "max_tokens": TOKENS - QUESTION} for spec in SYNTHETIC]
    for source in sources:
        source |= {key: str(data / source[key]) for key in ("path", "corpus") if key in source}
    return {"tokenizer": str(policy), "examples": examples, "sources": sources}


def built(examples: int, data: Path, policy: Path, folder: Path) -> dict[str, Any]:
    """One run of the command. ``shares``: the lowest and highest length by source, of TOKENS."""
    path, out = folder / f"{examples}.yaml", folder / str(examples)
    path.write_text(json.dumps(spec_of(examples, data, policy)), encoding="utf-8")
    command = "from qwenlong.cli import main; main()"
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", command, "data", "build", str(path), "--out", str(out)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES]),
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"the command failed with exit code {os.waitstatus_to_exitcode(status)}")
    rows = parquet.read_table(out / "train.parquet", columns=["source", "tokens"]).to_pylist()
    if len(rows) != examples:
        raise SystemExit(f"{len(rows)} examples were built, not {examples}")
    lengths: dict[str, list[float]] = {}
    for row in rows:
        lengths.setdefault(row["source"], []).append(row["tokens"] / TOKENS)
    return {
        "examples": examples,
        "seconds": round(seconds, 1),
        "megabytes": round(usage.ru_maxrss * 1024 / 1e6),
        "shares": {source: (min(own), max(own)) for source, own in lengths.items()},
        "lowest": min(map(min, lengths.values())),
        "highest": max(map(max, lengths.values())),
    }


if __name__ == "__main__":
    typer.run(main)
