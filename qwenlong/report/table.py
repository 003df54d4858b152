"""The accuracy table with which a run ends in the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qwenlong.report.runs import Stage, asked, contexts_of, stages_of


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Prints stages by context lengths (tokens), as far as ``summary.json`` has them."""
    stages = stages_of(summary)
    if not stages:
        console.print(Text("No stage has been evaluated yet.", style="dim"))
        return
    contexts = contexts_of(stages)
    numbers = {context: asked(stages, context) for context in contexts}
    table = Table(
        title="Accuracy by context length (tokens)",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("stage")
    for context in contexts:
        n = numbers[context]
        table.add_column(f"{context:,}" + (f"\nn={n}" if n is not None else ""), justify="right")
    table.add_column("seconds", justify="right", style="dim")
    for stage in stages:
        cells = [_cell(stage, context, numbers[context] is None) for context in contexts]
        seconds = "–" if stage.seconds is None else f"{stage.seconds:,.1f}"
        table.add_row(Text(stage.name), *cells, seconds)
    console.print(table)
    highest = summary.get("engine_learner_kl_max")
    text = "not measured yet" if highest is None else f"{highest:.1e}"
    console.print(Text(f"highest engine–learner KL (engine_learner_kl_max): {text}"))


def _cell(stage: Stage, context: int, with_n: bool) -> Text:
    cell = stage.accuracy.get(context)
    if cell is None:
        return Text("–", style="dim")
    text = Text(f"{cell.value:.3f}")
    return text.append(f" (n={cell.n})", style="dim") if with_n else text
