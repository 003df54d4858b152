"""The published sets of shared/data, each read once, for the tests of their readers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

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

DATA = Path(__file__).parents[2].parent / "shared" / "data"
FOLDERS: dict[str, tuple[Source, str]] = {
    "ottqa": (ottqa.SOURCE, "multihop_ottqa"),
    "hotpotqa": (hotpotqa.SOURCE, "multihop_hotpot100"),
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
