"""The published sets of shared/data, each read once, and rows written as the hub has them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from qwenlong.data.registry import PUBLISHED
from qwenlong.data.rows import Rejected, Source, read
from qwenlong.types import Example
from tests.data.hub_rows import ARTICLES, SETS, Row

DATA = Path(__file__).parents[2].parent / "shared" / "data"
FOLDERS: dict[str, tuple[Source, str]] = {
    "ottqa": (PUBLISHED["ottqa"], "multihop_ottqa"),
    "hotpotqa": (PUBLISHED["hotpotqa"], "multihop_hotpot100"),
    "tatqa": (PUBLISHED["tatqa"], "numeric_tatqa"),
    "convfinqa": (PUBLISHED["convfinqa"], "numeric_convfinqa"),
    "finqa": (PUBLISHED["finqa"], "numeric_finqa"),
    "bamboo": (PUBLISHED["bamboo"], "mc_bamboo"),
    "cuad": (PUBLISHED["cuad"], "extractive_cuad"),
    "xquad": (PUBLISHED["xquad"], "multiling_xquad"),
    "cmrc2018": (PUBLISHED["cmrc2018"], "zh_cmrc2018"),
    "longbench": (PUBLISHED["longbench"], "zh_longbench_multifieldqa"),
    "fairytaleqa": (PUBLISHED["fairytaleqa"], "narrative_fairytaleqa"),
}

FEW = ("hotpotqa", "tatqa", "convfinqa", "bamboo", "longbench")
"""One for each form of file and most kinds of answer; what scores every answer of the others is
slow."""
EACH = [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in FOLDERS]


def folder(name: str) -> Path:
    """Where a set lies; the test is passed over where it does not."""
    path = DATA / FOLDERS[name][1]
    if not path.is_dir():
        pytest.skip(f"{path} is not on this machine")
    return path


@cache
def whole(name: str) -> tuple[tuple[Example, ...], tuple[Rejected, ...]]:
    """All examples of a set, and all that is left out."""
    return sorted_out(name, folder(name))


def sorted_out(
    name: str, path: Path, subset: str = ""
) -> tuple[tuple[Example, ...], tuple[Rejected, ...]]:
    items = list(read(FOLDERS[name][0], path, subset))
    examples = tuple(item for item in items if isinstance(item, Example))
    return examples, tuple(item for item in items if isinstance(item, Rejected))


def one(name: str, identity: str) -> Example:
    (found,) = [example for example in whole(name)[0] if example.id == identity]
    return found


def write(path: Path, content: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(content), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    else:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in content)
        path.write_text("".join(lines), encoding="utf-8")
    return path


def read_rows(name: str, path: Path, content: list[Row]) -> tuple[list[Example], list[Rejected]]:
    """Writes the rows as the hub has them and reads them as a user does."""
    file = write(path, content)
    if name == "multihoprag":
        write(path.parent / f"corpus{path.suffix}", ARTICLES)
    found = list(read(SETS[name][0], file))
    examples = [item for item in found if isinstance(item, Example)]
    return examples, [item for item in found if isinstance(item, Rejected)]
