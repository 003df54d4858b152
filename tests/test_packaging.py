"""Wheels and sdists hold every room and its data; one lock serves every supported Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.test_rooms import LINKED, ROOT

SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "qwenlong", *LINKED)
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec", "triton"}
"""What the Makefile leaves out of the lock, and why is said there."""
PYTHONS = ("3.11", "3.12", "3.13")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a build reads."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def build(folder: Path, kind: str) -> Path:
    """The wheel or sdist that setuptools, the build backend, makes of a folder."""
    code = f"import setuptools.build_meta as backend; backend.build_{kind}('dist')"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = (folder / "dist").glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def packaged(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("qwenlong/")}


def expected() -> set[str]:
    """Every file of the package, as it is named in a wheel."""
    folders = {"qwenlong": ROOT / "qwenlong", **{f"qwenlong/{x}": ROOT / x for x in LINKED}}
    return {
        f"{name}/{file.relative_to(folder)}"
        for name, folder in folders.items()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_a_wheel_holds_every_room_and_its_data(checkout: Path) -> None:
    assert packaged(build(checkout, "wheel")) == expected()
    assert {"qwenlong/report/report.css", "qwenlong/rewards/__init__.py"} <= expected()


def test_a_wheel_of_an_sdist_holds_the_same(checkout: Path, tmp_path: Path) -> None:
    with tarfile.open(build(checkout, "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert packaged(build(unpacked, "wheel")) == expected()


def test_a_wheel_of_a_zip_holds_the_same(checkout: Path) -> None:
    """A zip of the checkout holds each link as a text file with its target."""
    for room in LINKED:
        link = checkout / "qwenlong" / room
        link.unlink()
        link.write_text(f"../{room}")
    assert packaged(build(checkout, "wheel")) == expected()


@pytest.mark.parametrize("room", LINKED)
def test_a_build_without_a_room_fails_in_one_line(checkout: Path, room: str) -> None:
    shutil.rmtree(checkout / room)
    with pytest.raises(AssertionError) as failed:
        build(checkout, "wheel")
    message = str(failed.value).partition("\n")[0]
    assert message == f"qwenlong cannot be built: {room}/__init__.py is missing"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_serves_every_python(python: str) -> None:
    """All that the project and its packages require on that Python is pinned, at a fit version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert python in SpecifierSet(project["requires-python"])
    lock = [
        Requirement(line)
        for line in (ROOT / "requirements-cpu.lock").read_text().splitlines()
        if line[:1].isalnum()
    ]
    pins = {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in lock}
    optional = project["optional-dependencies"]
    extras = ("cpu", "dev", "tensorboard", "trackio")
    wanted = [*project["dependencies"], *(each for extra in extras for each in optional[extra])]
    queue, seen = [Requirement(each) for each in wanted], set[str]()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if str(requirement) in seen or name in LEFT_OUT:
            continue
        seen.add(str(requirement))
        assert name in pins, f"{requirement} is not in the lock"
        assert requirement.specifier.contains(pins[name], prereleases=True), requirement
        for extra in requirement.extras or {""}:
            environment = {
                "python_version": python, "python_full_version": f"{python}.1", "extra": extra,
            }  # fmt: skip
            found = map(Requirement, requires(name) or [])
            queue += [x for x in found if not x.marker or x.marker.evaluate(environment)]
    assert len(seen) > 100
