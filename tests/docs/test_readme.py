"""What README promises about the code: its length, its reading path, its experiment."""

from __future__ import annotations

import re
from pathlib import Path

from qwenlong.config.reading import load_config
from tests.docs.pages import ROOT, sections_of, write_files

README = ROOT / "README.md"
NAME = re.compile(r"`([\w/]+(?:\.py|/))`")


def reading_path() -> list[Path]:
    """The files of README's table, in its order; a folder stands for what is named after it."""
    rows = README.read_text().partition("## How to read the code")[2].partition("\n## ")[0]
    files: list[Path] = []
    for row in (line for line in rows.splitlines() if line.startswith("| ")):
        folder = ROOT
        for name in NAME.findall(row):
            if not name.endswith("/"):
                files.append(folder / name)
                continue
            folder = ROOT / name
            if f"`{name}`:" not in row:
                files += sorted(folder.glob("*.py"))
    return files


def test_the_reading_path_exists_and_can_be_read_in_an_afternoon() -> None:
    files = reading_path()
    assert len(files) >= 30
    assert not [file for file in files if not file.is_file()]
    assert sum(len(file.read_text().splitlines()) for file in files) <= 5_500


def test_it_is_short() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 120


def test_its_experiment_can_be_read(tmp_path: Path) -> None:
    for section in sections_of(README):
        write_files(section, tmp_path)
    config = load_config(tmp_path / "mine.yaml", ["stages.phase1.steps=2"])
    assert [phase.steps for phase in config.phases] == [2, 2]
    assert config.phases[1].yarn_factor == 2.5


def test_its_links_lead_somewhere() -> None:
    for page in (README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
