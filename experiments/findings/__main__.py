"""Writes the page of findings: ``python -m experiments.findings RUN… --out docs/findings.md``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from experiments.findings.page import write_findings
from qwenlong.types import InputError


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, several seeds of each arm.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The Markdown file to write.")],
) -> None:
    """Compares the arms of an experiment with its baseline, over seeds."""
    try:
        typer.echo(write_findings(runs, out))
    except InputError as error:
        sys.exit(f"experiments.findings: {error}")


if __name__ == "__main__":
    typer.run(main)
