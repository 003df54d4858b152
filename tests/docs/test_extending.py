"""Does what docs/extending.md says, section by section, with real runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Section, run_section, sections_of, write_files

ROOMS = ("qwenlong", "curricula", "rewards", "rollout")
BASE, *SECTIONS = sections_of(ROOT / "docs" / "extending.md")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code, because a page may add files to it."""
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, tmp_path / room, symlinks=True, ignore=ignored)
    write_files(BASE, tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_the_page_does_what_it_says(section: Section, checkout: Path) -> None:
    run_section(section, checkout, checkout)


def test_every_section_has_something_to_run() -> None:
    titles = [section.title for section in SECTIONS]
    assert len(titles) >= 7
    assert all(any(language == "console" for language, _ in s.blocks) for s in SECTIONS)
