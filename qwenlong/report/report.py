"""``report.html``: one file that needs no network, from one run directory or several."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from qwenlong.report.charts import PARTS, accuracy_chart, stage_colours, time_chart, time_parts
from qwenlong.report.curriculum_charts import GATE, PASS_RATES, drawn, gate_chart, pool_chart
from qwenlong.report.palette import palette_css, style, svg
from qwenlong.report.runs import Run, Stage, asked, contexts_of, read_runs, verdict
from qwenlong.report.step_charts import CURVES, run_stroke, step_chart

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Headline:
    """Accuracy at the longest context evaluated; null where the run has not come so far."""

    context: int | None
    n: int | None
    untrained: float | None
    after_sft: float | None
    final: float | None
    final_stage: str
    seconds: float
    kl_max: float | None
    peak_memory_gb: float | None


def write_report(run_dirs: Sequence[Path], out: Path) -> Path:
    """Writes the report of the runs to ``out``, as far as each has come.

    Raises:
        InputError: a folder that is no run directory, or a file in it that cannot be read.
    """
    runs = read_runs(run_dirs)
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (HERE / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = environment.get_template("template.html.j2").render(
        title=" · ".join(run.name for run in runs),
        runs=_views(runs),
        curves=_curves(runs),
        parts=PARTS,
        pass_rates=PASS_RATES,
        gate=GATE,
        masked=any(step.get("aepo_masking") for run in runs for step in run.steps),
        rollouts=json_block([_reading(i, r) for i, run in enumerate(runs) for r in run.rollouts]),
        css=Markup(palette_css() + (HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
    )
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, encoding="utf-8", errors="replace", newline="\n")
    return out


def json_block(value: Any) -> Markup:
    """JSON that is safe inside a ``<script>`` element, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def headline(run: Run) -> Headline:
    contexts = contexts_of(run.stages)
    context = contexts[-1] if contexts else None
    evaluated = [stage for stage in run.stages if context in stage.accuracy]

    def at(stages: Sequence[Stage]) -> float | None:
        return stages[-1].accuracy[context].value if stages and context is not None else None

    kinds = [stage.kind for stage in evaluated]
    before_rl = evaluated[: kinds.index("rl")] if "rl" in kinds else evaluated
    trained = [stage for stage in evaluated if stage.kind != "untrained"]
    memory = [step["peak_memory_gb"] for step in run.steps if step.get("peak_memory_gb")]
    memory += [run.summary["peak_memory_gb"]] if run.summary.get("peak_memory_gb") else []
    return Headline(
        context=context,
        n=evaluated[-1].accuracy[context].n if evaluated and context is not None else None,
        untrained=at([stage for stage in evaluated if stage.kind == "untrained"]),
        after_sft=at([stage for stage in before_rl if stage.kind == "sft"]),
        final=at(trained),
        final_stage=trained[-1].name if trained else "",
        seconds=sum((each.seconds or 0) + (each.evaluation_seconds or 0) for each in run.stages),
        kl_max=run.summary.get("engine_learner_kl_max"),
        peak_memory_gb=max(memory, default=None),
    )


def _views(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What the template shows of each run."""
    colours = stage_colours(runs)
    parts = [time_parts(run) for run in runs]
    longest = max((sum(of.values()) for run in parts for of in run.values()), default=0.0)
    width = 1000 if len(runs) == 1 else 490
    views = []
    for index, run in enumerate(runs):
        accuracy = time = ""
        with style():
            if contexts_of(run.stages):
                figure = accuracy_chart([run], colours, width)
                accuracy = svg(figure, f"accuracy-{index}", f"Accuracy by context, {run.name}")
            if parts[index]:
                figure = time_chart(parts[index], longest)
                time = svg(figure, f"time-{index}", f"Seconds by part, {run.name}")
        views.append({**_view(index, run, colours, accuracy, time), **_curriculum(index, run)})
    return views


def _view(
    index: int, run: Run, colours: Mapping[str, str], accuracy: str, time: str
) -> dict[str, Any]:
    contexts = contexts_of(run.stages)
    colour, dashes = run_stroke(index)
    return {
        "run": run,
        "head": headline(run),
        "contexts": contexts,
        "asked": {context: asked(run.stages, context) for context in contexts},
        "rows": [(stage, colours[stage.name]) for stage in run.stages],
        "accuracy": Markup(accuracy),
        "time": Markup(time),
        "stroke": f"3px {'dashed' if dashes == '--' else 'solid'} var(--{colour})",
    }


def _curriculum(index: int, run: Run) -> dict[str, Any]:
    charts = {}
    for name, chart in (("pool", pool_chart), ("gate", gate_chart)):
        with style():
            figure = chart(run)
            label = f"The curriculum's {name}, over steps, {run.name}"
            charts[name] = Markup(svg(figure, f"{name}-{index}", label) if figure else "")
    return {**charts, "drawn": drawn(run)}


def _curves(runs: Sequence[Run]) -> list[Markup]:
    curves = []
    for key, label in CURVES.items():
        with style():
            figure = step_chart(runs, key)
            if figure:
                curves.append(Markup(svg(figure, key.replace("_", "-"), f"{label}, over steps")))
    return curves


def _reading(index: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """A rollout as the page's script takes it."""
    keys = (
        *("stage", "step", "context", "id", "source", "question", "answers", "response"),
        *("prompt_tokens", "response_tokens", "finish_reason", "version", "advantage", "score"),
    )
    shown = {key: record.get(key) for key in keys}
    return {**shown, "run": index, "verdict": verdict(record["score"]["value"])}
