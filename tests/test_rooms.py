"""Imports run one way: types, then the rooms, then train, then the command line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "qwenlong"
LINKED = ("curricula", "rewards", "rollout")
ROOMS = (*LINKED, "model", "learner", "data", "evaluate", "plan", "report")
ABOVE = ("train", "cli")
ALLOWED = {("learner", "model")}
"""A learner holds a model: the one room that may look into another."""

HEAVY = ("torch", "ray", "vllm")
NEVER = {"curricula": HEAVY, "plan": HEAVY, "rewards": HEAVY}
"""What a room does not import anywhere, not even inside a function."""

NOT_AT_IMPORT = {"learner": ("ray", "vllm", "trl"), "model": ("ray", "vllm", "trl")}
"""What importing a room does not load, so that it runs where these are not installed."""


def imported(node: ast.AST, at_import: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of every import below ``node``.

    With ``at_import`` only those that run when the module is imported.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield child.lineno, alias.name
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                yield child.lineno, "." * child.level + f"{child.module or ''}.{alias.name}"
        elif at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        elif at_import and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for branch in child.orelse:
                yield from imported(ast.Module([branch], []), at_import)
        else:
            yield from imported(child, at_import)


def offences(folder: Path, banned: tuple[str, ...], at_import: bool = False) -> list[str]:
    """Imports of ``banned`` names, or of anything below them, in a folder's files."""
    return [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in sorted(folder.rglob("*.py"))
        for line, name in imported(ast.parse(file.read_text(encoding="utf-8")), at_import)
        if any(name == ban or name.startswith(f"{ban}.") for ban in banned)
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_know_neither_each_other_nor_what_stands_above_them(room: str) -> None:
    others = [other for other in ROOMS if other != room and (room, other) not in ALLOWED]
    assert not offences(PACKAGE / room, tuple(f"qwenlong.{name}" for name in (*others, *ABOVE)))


@pytest.mark.parametrize("room", NEVER)
def test_light_rooms_stay_light(room: str) -> None:
    assert not offences(PACKAGE / room, NEVER[room])


@pytest.mark.parametrize("room", NOT_AT_IMPORT)
def test_learner_and_model_load_without_ray_and_vllm(room: str) -> None:
    assert not offences(PACKAGE / room, NOT_AT_IMPORT[room], at_import=True)


@pytest.mark.parametrize("folder", [*LINKED, "qwenlong", "tests", "benchmarks"])
def test_nobody_uses_the_bare_names_or_relative_imports(folder: str) -> None:
    assert not offences(ROOT / folder, (*LINKED, ""))


@pytest.mark.parametrize("room", LINKED)
def test_rooms_at_the_top_are_linked_into_the_package(room: str) -> None:
    assert (PACKAGE / room).readlink() == Path("..") / room


def test_importing_the_package_runs_nothing() -> None:
    assert (PACKAGE / "__init__.py").read_text() == ""


def test_imports_are_found_wherever_they_hide() -> None:
    source = """
import ray
from . import a
if TYPE_CHECKING:
    import vllm
else:
    import trl
def late():
    from torch import nn
class Eager:
    import yaml
try:
    import rich
except ImportError:
    pass
"""
    tree = ast.parse(source)
    everywhere = [name for _, name in imported(tree)]
    assert everywhere == ["ray", "..a", "vllm", "trl", "torch.nn", "yaml", "rich"]
    at_import = [name for _, name in imported(tree, at_import=True)]
    assert at_import == ["ray", "..a", "trl", "yaml", "rich"]
