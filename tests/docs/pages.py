"""Runs the code blocks of a Markdown page, so that a page cannot promise what does not work.

A block whose first line is a comment with a file name, such as ``# mine.yaml``, is written to that
file. A ``console`` block is run line by line: ``$`` starts a command, and every other line has to
stand in that command's output. A line of ``…`` stands for any output.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"(?:#|//) (\S+\.\w+)$")
TIMEOUT_S = 280


@dataclass(frozen=True)
class Section:
    """A part of a page under one ``##`` heading: its title and its fenced blocks in order."""

    title: str
    blocks: tuple[tuple[str, str], ...]
    """Language and text of each."""


def sections_of(page: Path) -> list[Section]:
    """The sections of ``page`` that have a block to run."""
    parts = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = [(part.split("\n", 1)[0], tuple(BLOCK.findall(part))) for part in parts]
    return [Section(title, blocks) for title, blocks in found if blocks]


def write_files(section: Section, folder: Path) -> None:
    """Writes the blocks that name a file. JSON has no comments, so it loses its first line."""
    for language, text in section.blocks:
        first, _, rest = text.partition("\n")
        if name := FILE_NAME.match(first):
            path = folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(rest if language == "json" else text, encoding="utf-8")


def run_section(section: Section, folder: Path, code: Path) -> None:
    """Writes the section's files to ``folder`` and runs its console blocks there.

    Args:
        code: the checkout whose qwenlong the commands use.

    Raises:
        AssertionError: a command failed, or its output lacks a line that the page shows.
    """
    write_files(section, folder)
    for language, text in section.blocks:
        if language == "console":
            for command, shown in commands_of(text):
                run_command(command, shown, folder, code)


def commands_of(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that its output must contain."""
    commands: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif line.strip() not in ("", "…"):
            commands[-1][1].append(line.strip())
    return commands


def run_command(command: str, shown: list[str], folder: Path, code: Path) -> None:
    scripts = Path(sys.executable).parent
    variables = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(code),
        "COLUMNS": "200",
    }
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"$ {command}\n{output}"
    for line in shown:
        assert line in output, f"$ {command}\nthe page shows {line!r}, but it printed\n{output}"
