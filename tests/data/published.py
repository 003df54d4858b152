"""The published sets of shared/data, each read once, and rows written as the hub has them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from qwenlong.data.rows import Rejected, Source, read
from qwenlong.data.sources import (
    bamboo,
    convfinqa,
    cuad,
    fairytaleqa,
    finqa,
    hotpotqa,
    longbench,
    ottqa,
    squad,
    tatqa,
)
from qwenlong.types import Example
from tests.data.hub_rows import ARTICLES, SETS, Row

DATA = Path(__file__).parents[2].parent / "shared" / "data"
FOLDERS: dict[str, tuple[Source, str]] = {
    "ottqa": (ottqa.SOURCE, "multihop_ottqa"),
    "hotpotqa": (hotpotqa.HOTPOTQA, "multihop_hotpot100"),
    "tatqa": (tatqa.SOURCE, "numeric_tatqa"),
    "convfinqa": (convfinqa.SOURCE, "numeric_convfinqa"),
    "finqa": (finqa.SOURCE, "numeric_finqa"),
    "bamboo": (bamboo.SOURCE, "mc_bamboo"),
    "cuad": (cuad.SOURCE, "extractive_cuad"),
    "xquad": (squad.XQUAD, "multiling_xquad"),
    "cmrc2018": (squad.CMRC2018, "zh_cmrc2018"),
    "longbench": (longbench.SOURCE, "zh_longbench_multifieldqa"),
    "fairytaleqa": (fairytaleqa.SOURCE, "narrative_fairytaleqa"),
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
