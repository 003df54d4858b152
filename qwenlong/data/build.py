"""Builds a set once: a Parquet file for every split, and a manifest that says how it was made.

The same configuration, files and seed give the same bytes. A folder that already holds the set is
left as it is. Everything is written to a temporary folder, which is renamed at the end, so that a
build that fails leaves nothing behind.
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

from pyarrow import parquet

from qwenlong.config import BuildConfig, SourceConfig
from qwenlong.data import built, registry
from qwenlong.data.pipeline import Seen, prompts_of
from qwenlong.data.rules import Rules, Tally
from qwenlong.data.splits import sides
from qwenlong.types import InputError, Split

PACKAGES = ("qwenlong", "pyarrow", "tokenizers", "transformers")
Report = Callable[[Split, int, int], object]
"""Called with the split, the number of the source that is read, and its examples so far."""


def build(config: BuildConfig, rules: Rules, out: Path, report: Report) -> dict[str, Any]:
    """Writes the set to ``out``, and returns its manifest.

    Raises:
        InputError: a source cannot be read or has too few examples, or ``out`` is taken.
    """
    if out.resolve() == Path.cwd():
        raise InputError(f"--out {out}: is the working directory; name a new folder")
    recipe = recipe_of(config, rules)
    if (out / built.MANIFEST).is_file():
        manifest = built.manifest_of(out)
        if manifest["recipe"] == recipe and _is_intact(out, manifest):
            return manifest
        raise InputError(f"--out {out}: holds another set; name a new folder, or remove it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: is not empty; name a new folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
            partial = Path(temporary) / out.name
            partial.mkdir()
            manifest = _write(config, rules, partial, report) | {"recipe": recipe}
            text = json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"
            (partial / built.MANIFEST).write_text(text, encoding="utf-8")
            os.replace(partial, out)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror or error}") from None
    return manifest


def recipe_of(config: BuildConfig, rules: Rules) -> dict[str, Any]:
    """All that decides the set's bytes: configuration, tokenizer, versions, and input files.

    A file is known by its content; so is the module of a function that is a source.
    """
    tokenizer = rules.renderer.tokenizer
    text = tokenizer.backend_tokenizer.to_str() + str(tokenizer.chat_template)
    inputs: dict[str, str] = {}
    for i, spec in enumerate(config.sources):
        with registry.under(f"sources.{i}"):
            for path in (spec.path, spec.corpus, registry.module_of(spec)):
                if path is not None:
                    inputs[path] = _digest_of_all(Path(path))
    return {
        "config": asdict(config),
        "tokenizer": hashlib.sha256(text.encode()).hexdigest(),
        "inputs": inputs,
        "versions": {name: version(name) for name in PACKAGES},
    }


def _is_intact(folder: Path, manifest: Mapping[str, Any]) -> bool:
    try:
        return all(built.file_of(folder, manifest, split) for split in manifest["splits"])
    except InputError:
        return False


def quotas(config: BuildConfig, share: float) -> list[int | None]:
    """Examples of each source in a split that gets ``share`` of all; None: all that there are."""
    if config.examples is None:
        own = [spec.examples for spec in config.sources]
        return [None if each is None else round(each * share) for each in own]
    weights = [1.0 if spec.weight is None else spec.weight for spec in config.sources]
    # Rounded sums, not rounded parts: so the quotas add up to the number asked for.
    sums = accumulate(weights, initial=0.0)
    ends = [round(config.examples * share * each / sum(weights)) for each in sums]
    return [end - start for start, end in pairwise(ends)]


def _write(config: BuildConfig, rules: Rules, folder: Path, report: Report) -> dict[str, Any]:
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
        writer = built.Writer(path)
        tallies[split] = [Tally(spec.source) for spec in config.sources]
        seen: Seen = {}
        for i, (spec, quota) in enumerate(zip(config.sources, quotas(config, share), strict=True)):
            tally, key, wanted = tallies[split][i], f"sources.{i}", replace(spec, examples=quota)
            with registry.under(key):
                for prompt in prompts_of(wanted, own[key], rules, tally, seen):
                    writer.add(prompt.example, len(prompt.ids))
                    report(split, i, tally.taken)
            _check_enough(spec, i, quota, tally, split)
        writer.close()
        splits[split] = {**_summary(path), "sha256": built.digest(path)}
    of_sources = [
        _source(spec, {split: tallies[split][i] for split in shares})
        for i, spec in enumerate(config.sources)
    ]
    return {"format": built.FORMAT, "splits": splits, "sources": of_sources}


def _check_enough(
    spec: SourceConfig, number: int, quota: int | None, tally: Tally, split: Split
) -> None:
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
    reasons = [f"{n} {reason}" for reason, n in (tally.left_out + tally.cut).most_common(3)]
    return f" ({'; '.join(reasons)})" if reasons else ""


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


def _digest_of_all(path: Path) -> str:
    """A digest of a file, or of all files of a folder with their names."""
    files: Sequence[Path] = [path] if path.is_file() else sorted(path.rglob("*"))
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(f"{file.relative_to(path)} {built.digest(file)}\n".encode())
    return digest.hexdigest()


def _summary(path: Path) -> dict[str, Any]:
    """Counts over the rows of a split; lengths by the power of two that they do not exceed."""
    table = parquet.read_table(path, columns=["tokens", "kind", "source"])
    tokens, kinds, sources = (column.to_pylist() for column in table.columns)
    lengths = Counter(1 << (length - 1).bit_length() for length in tokens)
    return {
        "examples": len(tokens),
        "tokens": sum(tokens),
        "longest": max(tokens, default=0),
        "lengths": {str(length): n for length, n in sorted(lengths.items())},
        "kinds": dict(sorted(Counter(kinds).items())),
        "sources": dict(sorted(Counter(sources).items())),
    }
