"""Says which folders become packages; everything else about the package is in pyproject.toml.

``curricula``, ``rewards`` and ``rollout`` lie at the top of the checkout and are imported as
``qwenlong.<name>``, in a checkout through links. A build does not use the links, because a zip of
the checkout holds them as text files: it takes the folders themselves.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_namespace_packages, setup

ROOMS = ("curricula", "rewards", "rollout")


def packages(folder: str, name: str) -> list[str]:
    """Names of the packages in a folder; one without ``__init__.py`` holds data files."""
    if not Path(folder, "__init__.py").is_file():
        raise SystemExit(f"qwenlong cannot be built: {folder}/__init__.py is missing")
    linked = [pattern for room in ROOMS for pattern in (room, f"{room}.*")]
    found = find_namespace_packages(folder, exclude=[*linked, "*__pycache__*"])
    return [name, *(f"{name}.{each}" for each in found)]


setup(
    packages=[
        *packages("qwenlong", "qwenlong"),
        *(each for room in ROOMS for each in packages(room, f"qwenlong.{room}")),
    ],
    package_dir={f"qwenlong.{room}": room for room in ROOMS},
)
