"""The accuracy table that is printed in the terminal at the end of a run."""

from __future__ import annotations

from itertools import starmap
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qwenlong.report.accuracy import Accuracy, accuracy_table, stages_of


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Prints accuracy by stage, held-out source and context length, as ``summary.json`` has it."""
    stages = stages_of(summary)
    if not stages:
        console.print(Text("No stage has been evaluated yet.", style="dim"))
        return
    accuracies = accuracy_table(stages)
    several = any(row.source for row in accuracies.rows)
    table = Table(
        title="Accuracy by context length (tokens)",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("stage")
    if several:
        table.add_column("source")
    for context, n in accuracies.columns.items():
        table.add_column(f"{context:,}" + (f"\nn={n}" if n is not None else ""), justify="right")
    table.add_column("seconds", justify="right", style="dim")
    for row in accuracies.rows:
        names = [Text(row.stage.name)]
        if several:
            names = [Text(""), _with_n(row.source, row.n)] if row.source else [*names, Text("mean")]
        seconds = "–" if row.stage.seconds is None else f"{row.stage.seconds:,.1f}"
        table.add_row(*names, *starmap(_cell, row.cells), "" if row.source else seconds)
    console.print(table)
    highest = summary.get("engine_learner_kl_max")
    text = "not measured yet" if highest is None else f"{highest:.1e}"
    console.print(Text(f"highest engine–learner KL (engine_learner_kl_max): {text}"))


def _cell(cell: Accuracy | None, show_n: bool) -> Text:
    if cell is None:
        return Text("–", style="dim")
    return _with_n(f"{cell.value:.3f}", cell.n if show_n else None)


def _with_n(text: str, n: int | None) -> Text:
    return Text(text).append("" if n is None else f" (n={n})", style="dim")
