"""``report.html``: one or several runs on one page.

To add a chart, write a function that draws it and add it to ``CHARTS``. A metric over RL steps
needs only a title in ``CURVES``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from qwenlong.report.accuracy import (
    Stage,
    accuracy_rows,
    contexts_of,
    range_of_n,
    same_n,
    split_by_source,
)
from qwenlong.report.charts import PARTS, accuracy_chart, source_chart, stage_colours, time_chart
from qwenlong.report.curriculum_charts import (
    GATE,
    PASS_RATES,
    draws_by_phase,
    gate_chart,
    pool_chart,
)
from qwenlong.report.drawing import svg
from qwenlong.report.html import write_page
from qwenlong.report.runs import LoggedRun, read_runs, verdict
from qwenlong.report.step_charts import CURVES, line_of_run, step_chart


@dataclass(frozen=True)
class Chart:
    """A chart that the page shows for each run."""

    name: str
    section: str
    """The section of the page: accuracy, curriculum or time."""
    label: str
    """What a screen reader reads, before the run's name."""
    draw: Callable[[LoggedRun, Sequence[LoggedRun]], Figure | None]
    """Gets the run and, for common scales, all runs; returns None if there is nothing to draw."""
    legend: Mapping[str, str] = field(default_factory=dict)
    """Colours by what they mean."""


CHARTS = (
    Chart("accuracy", "accuracy", "Accuracy by context", accuracy_chart),
    Chart("sources", "accuracy", "Accuracy by context and source", source_chart),
    Chart("pool", "curriculum", "Pool over steps", lambda run, _: pool_chart(run), PASS_RATES),
    Chart("gate", "curriculum", "Gate over steps", lambda run, _: gate_chart(run), GATE),
    Chart("time", "time", "Seconds by part", time_chart),
)


def write_report(run_dirs: Sequence[Path], out: Path) -> Path:
    """Writes the report of the runs to ``out``, finished or not.

    Raises:
        InputError: a folder is not a run directory, or a file in it cannot be read.
    """
    runs = read_runs(run_dirs)
    return write_page(
        Path(out),
        "report.html.j2",
        "report.js",
        ["report.css"],
        title=" · ".join(run.name for run in runs),
        runs=[_view(index, run, runs) for index, run in enumerate(runs)],
        curves=[
            curve
            for key, title in CURVES.items()
            if (
                curve := svg(
                    step_chart, runs, key, name=key.replace("_", "-"), label=f"{title}, over steps"
                )
            )
        ],
        parts=PARTS,
        masked=any(step.get("aepo_masking") for run in runs for step in run.steps),
        rollouts=json_block(
            [_rollout(i, each) for i, run in enumerate(runs) for each in run.rollouts]
        ),
    )


def json_block(value: Any) -> Markup:
    """JSON that is safe inside a ``<script>`` element, whatever its strings hold."""
    # "</script>" or "<!--" in a response would end the element or change how it is parsed.
    text = json.dumps(value, ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def headline(run: LoggedRun) -> dict[str, Any]:
    """The run's numbers at the longest evaluated context; None for what it has not reached."""
    contexts = contexts_of(run.stages)
    context = contexts[-1] if contexts else None
    evaluated = [stage for stage in run.stages if context in stage.accuracy]

    def last(stages: Sequence[Stage]) -> float | None:
        return stages[-1].accuracy[context].value if stages and context is not None else None

    # SFT may come again after RL; the headline shows what RL started from.
    kinds = [stage.kind for stage in evaluated]
    before_rl = evaluated[: kinds.index("rl")] if "rl" in kinds else evaluated
    trained = [stage for stage in evaluated if stage.kind != "untrained"]
    memory = [each.get("peak_memory_gb") or 0.0 for each in (run.summary, *run.steps)]
    return {
        "context": context,
        "n": evaluated[-1].accuracy[context].n if evaluated and context is not None else None,
        "sources": len(split_by_source(run.stages)),
        "untrained": last([stage for stage in evaluated if stage.kind == "untrained"]),
        "after_sft": last([stage for stage in before_rl if stage.kind == "sft"]),
        "final": last(trained),
        "final_stage": trained[-1].name if trained else "",
        "seconds": sum((each.seconds or 0) + (each.evaluation_seconds or 0) for each in run.stages),
        "kl_max": run.summary.get("engine_learner_kl_max"),
        "peak_memory_gb": max(memory) or None,
    }


def _view(index: int, run: LoggedRun, runs: Sequence[LoggedRun]) -> dict[str, Any]:
    """What the template shows of a run."""
    colours, sources = stage_colours(runs), split_by_source(run.stages)
    colour, dashes = line_of_run(index)
    charts = defaultdict(list)
    for chart in CHARTS:
        label = f"{chart.label}, {run.name}"
        if image := svg(chart.draw, run, runs, name=f"{chart.name}-{index}", label=label):
            charts[chart.section].append((image, chart.legend))
    return {
        "run": run,
        "head": headline(run),
        "charts": charts,
        "columns": {
            context: None if sources else same_n(run.stages, context)
            for context in contexts_of(run.stages)
        },
        "rows": [
            (source, range_of_n(stage), stage, colours[stage.name])
            for source, stage in accuracy_rows(run.stages)
        ],
        "draws": draws_by_phase(run),
        "stroke": f"3px {'dashed' if dashes == '--' else 'solid'} var(--{colour})",
    }


def _rollout(index: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """What the page's script needs of a rollout of the index-th run."""
    keys = (
        *("stage", "step", "context", "id", "source", "question", "answers", "response"),
        *("prompt_tokens", "response_tokens", "finish_reason", "version", "advantage", "score"),
    )
    shown = {key: record.get(key) for key in keys}
    return {**shown, "run": index, "verdict": verdict(record["score"]["value"])}
