"""The accuracy table that is printed in the terminal at the end of a run."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qwenlong.report.accuracy import (
    Accuracy,
    accuracy_rows,
    contexts_of,
    range_of_n,
    same_n,
    stages_of,
)


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Prints accuracy by stage, held-out source and context length, as ``summary.json`` has it."""
    stages = stages_of(summary)
    if not stages:
        console.print(Text("No stage has been evaluated yet.", style="dim"))
        return
    contexts, rows = contexts_of(stages), accuracy_rows(stages)
    several = len(rows) > len(stages)
    # With several sources the rows say n; with one, a column does if all its stages have the same.
    numbers = {context: None if several else same_n(stages, context) for context in contexts}
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
    for context, n in numbers.items():
        table.add_column(f"{context:,}" + (f"\nn={n}" if n is not None else ""), justify="right")
    table.add_column("seconds", justify="right", style="dim")
    for source, stage in rows:
        names = [Text("" if source else stage.name)]
        if source:
            names.append(Text(source).append(f" ({range_of_n(stage)})", style="dim"))
        elif several:
            names.append(Text("mean"))
        cells = [
            _cell(stage.accuracy.get(context), not several and n is None)
            for context, n in numbers.items()
        ]
        seconds = "–" if stage.seconds is None else f"{stage.seconds:,.1f}"
        table.add_row(*names, *cells, "" if source else seconds)
    console.print(table)
    highest = summary.get("engine_learner_kl_max")
    text = "not measured yet" if highest is None else f"{highest:.1e}"
    console.print(Text(f"highest engine–learner KL (engine_learner_kl_max): {text}"))


def _cell(cell: Accuracy | None, show_n: bool) -> Text:
    if cell is None:
        return Text("–", style="dim")
    text = Text(f"{cell.value:.3f}")
    return text.append(f" (n={cell.n})", style="dim") if show_n else text
