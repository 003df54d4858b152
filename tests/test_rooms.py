"""Imports run one way: from the command line down to the types, floor by floor."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "qwenlong"
LINKED = ("curricula", "rewards", "rollout")
FLOORS = (
    ("cli",),
    ("commands",),
    ("train",),
    ("cluster", "runs", "plan", "report"),
    ("learner", "rollout", "data", "curricula", "evaluate"),
    ("model", "rewards"),
    ("config",),
    ("disk",),
    ("types",),
)
"""Highest first. A room may import every room of the floors below its own, and none beside it."""

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


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, the linked rooms under qwenlong."""
    found = {}
    for room in (PACKAGE, *(PACKAGE / name for name in LINKED)):
        for file in room.rglob("*.py"):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = file
    return found


def arrows() -> dict[str, set[str]]:
    """Every module and the modules of the package that it imports, inside functions too."""
    known = modules()
    graph: dict[str, set[str]] = {}
    for name, file in known.items():
        names = [full for _, full in imported(ast.parse(file.read_text(encoding="utf-8")))]
        targets = {full if full in known else full.rpartition(".")[0] for full in names}
        graph[name] = {target for target in targets if target in known and target != name}
    return graph


def test_every_room_stands_on_a_floor() -> None:
    rooms = {room_of(name) for name in modules()} - {"qwenlong"}
    assert rooms == {room for floor in FLOORS for room in floor}


def test_rooms_import_only_from_floors_below() -> None:
    floor = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
    wrong = {
        f"{name} imports {target}"
        for name, targets in arrows().items()
        for target in targets
        if room_of(name) != room_of(target)
        and "qwenlong" not in (room_of(name), room_of(target))
        and floor[room_of(target)] <= floor[room_of(name)]
    }
    assert not wrong


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        name: {other for other in others if room_of(other) == room_of(name)}
        for name, others in arrows().items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle inside a room: {' imports '.join(error.args[1])}")


@pytest.mark.parametrize("room", NEVER)
def test_light_rooms_stay_light(room: str) -> None:
    assert not offences(PACKAGE / room, NEVER[room])


@pytest.mark.parametrize("room", NOT_AT_IMPORT)
def test_learner_and_model_load_without_ray_and_vllm(room: str) -> None:
    assert not offences(PACKAGE / room, NOT_AT_IMPORT[room], at_import=True)


@pytest.mark.parametrize(
    "folder", [*LINKED, "qwenlong", "tests", "benchmarks", "examples", "experiments"]
)
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
