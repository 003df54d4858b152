"""Builds a set once: every split a Parquet file, and a manifest of how it came about.

The same configuration, files and seed give the same bytes. A folder that already holds what is
asked for is left as it is. Everything is written beside and renamed at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qwenlong.config import BuildConfig, SourceConfig
from qwenlong.data import built, registry
from qwenlong.data.pipeline import Seen, prompts_of
from qwenlong.data.rules import Rules, Tally
from qwenlong.data.splits import sides
from qwenlong.types import InputError, Prompt, Split

PACKAGES = ("qwenlong", "pyarrow", "tokenizers", "transformers")
Report = Callable[[Split, int, int], object]
"""Told the split, the number of the source under way, and how many of its examples stand."""


def build(config: BuildConfig, rules: Rules, out: Path, report: Report) -> dict[str, Any]:
    """Writes the set to ``out``, and returns its manifest.

    Raises:
        InputError: a source cannot be read or has too few examples, or ``out`` is taken. Nothing
            is left behind then.
    """
    if out.resolve() == Path.cwd():
        raise InputError(f"--out {out}: is the working directory; name a new folder")
    recipe = recipe_of(config, rules)
    if (out / built.MANIFEST).is_file():
        there = built.manifest_of(out)
        if there["recipe"] == recipe and whole(out, there):
            return there
        raise InputError(f"--out {out}: holds another set; name a new folder, or remove it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: is not empty; name a new folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
            partial = Path(beside) / out.name
            partial.mkdir()
            manifest = _written(config, rules, partial, report) | {"recipe": recipe}
            text = json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"
            (partial / built.MANIFEST).write_text(text, encoding="utf-8")
            os.replace(partial, out)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror or error}") from None
    return manifest


def recipe_of(config: BuildConfig, rules: Rules) -> dict[str, Any]:
    """All that decides the set's bytes: configuration, tokenizer, input files, versions.

    Input files are known by their content.
    """
    tokenizer = rules.renderer.tokenizer
    text = tokenizer.backend_tokenizer.to_str() + str(tokenizer.chat_template)
    inputs: dict[str, str] = {}
    for i, spec in enumerate(config.sources):
        for path in (spec.path, spec.corpus):
            if path is not None:
                with registry.under(f"sources.{i}"):
                    inputs[path] = _print_of(Path(path))
    return {
        "config": asdict(config),
        "tokenizer": hashlib.sha256(text.encode()).hexdigest(),
        "inputs": inputs,
        "versions": {name: version(name) for name in PACKAGES},
    }


def whole(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether every file is there as it was written."""
    files = {f"{name}.parquet": split["sha256"] for name, split in manifest["splits"].items()}
    return all(
        (folder / name).is_file() and built.digest(folder / name) == digest
        for name, digest in files.items()
    )


def quotas(config: BuildConfig, share: float) -> list[int | None]:
    """Examples of each source in a split that gets ``share`` of all; None: all that there are."""
    if config.examples is None:
        own = [spec.examples for spec in config.sources]
        return [None if each is None else round(each * share) for each in own]
    weights = [1.0 if spec.weight is None else spec.weight for spec in config.sources]
    sums = accumulate(weights, initial=0.0)
    ends = [round(config.examples * share * each / sum(weights)) for each in sums]
    return [end - start for start, end in pairwise(ends)]


def _written(config: BuildConfig, rules: Rules, folder: Path, report: Report) -> dict[str, Any]:
    shares: dict[Split, float] = {"train": 1 - config.held_out}
    if config.held_out:
        shares["held_out"] = config.held_out
    specs = {f"sources.{i}": spec for i, spec in enumerate(config.sources)}
    held_out = specs if config.held_out else {}
    count = rules.renderer.count_tokens
    sided = sides(specs, held_out, config.held_out, count, rules.seed)
    splits: dict[str, Any] = {}
    tallies: dict[Split, list[Tally]] = {}
    for (split, share), own in zip(shares.items(), sided, strict=False):
        path = folder / f"{split}.parquet"
        summary, writer = Summary(), built.Writer(path)
        tallies[split] = [Tally(spec.source) for spec in config.sources]
        seen: Seen = {}
        for i, (spec, quota) in enumerate(zip(config.sources, quotas(config, share), strict=True)):
            tally, key, asked = tallies[split][i], f"sources.{i}", replace(spec, examples=quota)
            with registry.under(key):
                for prompt in prompts_of(asked, own[key], rules, tally, seen):
                    writer.add(prompt.example, len(prompt.ids))
                    summary.add(prompt)
                    report(split, i, tally.taken)
            _enough(spec, i, quota, tally, split)
        writer.close()
        splits[split] = {**summary.told(), "sha256": built.digest(path)}
    of_sources = [
        _source(spec, {split: tallies[split][i] for split in shares})
        for i, spec in enumerate(config.sources)
    ]
    return {"format": built.FORMAT, "splits": splits, "sources": of_sources}


def _enough(spec: SourceConfig, number: int, quota: int | None, tally: Tally, split: Split) -> None:
    if not tally.taken and quota != 0:
        raise InputError(
            f"sources.{number}.source={spec.source}: gives no example for {split}{_why(tally)}"
        )
    if spec.weight is not None and quota is not None and tally.taken < quota:
        raise InputError(
            f"sources.{number}.weight={spec.weight}: asks for {quota} examples of {spec.source} in"
            f" {split}, which has {tally.taken}{_why(tally)}; lower examples or the weight"
        )


def _why(tally: Tally) -> str:
    told = [f"{n} {reason}" for reason, n in (tally.left_out + tally.cut).most_common(3)]
    return f" ({'; '.join(told)})" if told else ""


def _source(spec: SourceConfig, tallies: Mapping[Split, Tally]) -> dict[str, Any]:
    source = registry.PUBLISHED.get(spec.source)
    known = {"licence": source.licence, "citation": source.citation} if source else {}
    return {
        "source": spec.source,
        **known,
        "splits": {
            split: {
                "taken": tally.taken,
                "left_out": dict(sorted(tally.left_out.items())),
                "first_left_out": dict(sorted(tally.first.items())),
                "cut": dict(sorted(tally.cut.items())),
                "notes": tally.notes,
            }
            for split, tally in tallies.items()
        },
    }


def _print_of(path: Path) -> str:
    """A fingerprint of a file, or of all files of a folder."""
    files: Sequence[Path] = [path] if path.is_file() else sorted(path.rglob("*"))
    told = hashlib.sha256()
    for file in files:
        if file.is_file():
            told.update(f"{file.relative_to(path)} {built.digest(file)}\n".encode())
    return told.hexdigest()


class Summary:
    """Counts over a split's prompts."""

    def __init__(self) -> None:
        self.lengths: Counter[int] = Counter()
        """Prompts by the power of two, in tokens, that they do not exceed."""
        self.kinds: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.tokens = self.longest = 0

    def add(self, prompt: Prompt) -> None:
        length = len(prompt.ids)
        self.lengths[1 << (length - 1).bit_length()] += 1
        self.kinds[prompt.example.kind] += 1
        self.sources[prompt.example.source] += 1
        self.tokens += length
        self.longest = max(self.longest, length)

    def told(self) -> dict[str, Any]:
        return {
            "examples": self.kinds.total(),
            "tokens": self.tokens,
            "longest": self.longest,
            "lengths": {str(length): n for length, n in sorted(self.lengths.items())},
            "kinds": dict(sorted(self.kinds.items())),
            "sources": dict(sorted(self.sources.items())),
        }
