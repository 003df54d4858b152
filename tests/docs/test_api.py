"""Does what docs/api.md says, and finds every name that it lists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Section, run_section, sections_of

PAGE = ROOT / "docs" / "api.md"
MODULE = re.compile(r"`(qwenlong\.[\w.]+)`(?:: ((?:`\w+`(?:, )?)+))?")


@pytest.mark.parametrize("section", sections_of(PAGE), ids=lambda section: section.title)
def test_the_page_does_what_it_says(section: Section, tmp_path: Path) -> None:
    run_section(section, tmp_path, ROOT)


def test_every_name_of_the_table_is_there() -> None:
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    found = [match for line in table for match in MODULE.findall(line)]
    assert len(found) >= 14
    for module, names in found:
        if names:
            for name in re.findall(r"`(\w+)`", names):
                assert hasattr(import_module(module), name), f"{module}.{name}"
        else:
            _import(module)


def _import(dotted: str) -> None:
    """Imports a module, or a name of a module."""
    try:
        import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        assert hasattr(import_module(module), name), dotted
