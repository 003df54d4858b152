"""The report of small run directories, written by hand."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from qwenlong.report.accuracy import Accuracy
from qwenlong.report.charts import save_accuracy_png, spaced
from qwenlong.report.report import headline, write_report
from qwenlong.report.runs import read_runs, spread
from qwenlong.report.step_charts import smoothed
from qwenlong.report.table import print_summary
from qwenlong.types import InputError

HOSTILE = "</script><script>document.title='taken'</script> <img src=x onerror=alert(1)> & \u2028"
ACCURACY = {"untrained": (0.0, 0.0), "sft": (0.61, 0.32), "phase1": (0.97, 0.873)}


def rollout(stage: str, step: int | None, number: int, **changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "stage": stage,
        "step": step,
        "context": 2048 if step is None else None,
        "id": f"facts-{number}",
        "source": "facts",
        "question": "Where was Mara Voss born?",
        "answers": ["Norwick"],
        "prompt_tokens": 900,
        "response": "<think>\n  hm\n</think>\nTherefore, the answer is Norwick.",
        "response_tokens": 14,
        "finish_reason": "stop",
        "version": 3,
        "advantage": None if step is None else 0.5,
        "score": {"value": (0.0, 0.5, 1.0)[number % 3], "verifier": "strict", "breakdown": {}},
    }
    return record | changes


def metrics(stage: str, kind: str, step: int) -> dict[str, Any]:
    common = {"stage": stage, "kind": kind, "step": step, "loss": 0.1, "entropy": 0.5}
    if kind == "sft":
        return common
    parts = {"rollout": 2.0, "score": 0.1, "learn": 1.0, "load": 0.2, "checkpoint": 0.0}
    return common | {
        "reward_mean": 0.1 * step,
        "response_tokens_mean": 14.0,
        "engine_learner_kl": 3e-7,
        "seconds_step": 3.5,
        "peak_memory_gb": 4.5,
        **{f"seconds_{part}": seconds for part, seconds in parts.items()},
    }


def lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def write_run(folder: Path, rollouts: int = 4, response: str = HOSTILE) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 41\nstages:\n  sft: {}\n  phase1: {}\n")
    kinds = {"untrained": "untrained", "sft": "sft", "phase1": "rl"}
    stages = [
        {
            "name": name,
            "kind": kinds[name],
            "seconds": 61.5,
            "evaluation_seconds": 3.5,
            "accuracy": {"256": {"value": short, "n": 100}, "2048": {"value": long, "n": 200}},
        }
        for name, (short, long) in ACCURACY.items()
    ]
    summary = {"stages": stages, "engine_learner_kl_max": 3e-7}
    (folder / "summary.json").write_text(json.dumps(summary))
    steps = [metrics("sft", "sft", i) for i in (1, 2)]
    lines(folder / "metrics.jsonl", steps + [metrics("phase1", "rl", i) for i in (1, 2, 3)])
    training = [rollout("phase1", 1, i, response=response) for i in range(rollouts)]
    lines(folder / "rollouts" / "phase1-00001.jsonl", training)
    lines(folder / "rollouts" / "phase1-eval.jsonl", [rollout("phase1", None, 0)])
    return folder


class Page(HTMLParser):
    """Scripts and ids of a page, as a browser would find them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "script":
            self.inside = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data


def report(tmp_path: Path, *runs: Path) -> str:
    return write_report(runs, tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_numbers_land_in_the_page(tmp_path: Path) -> None:
    html = report(tmp_path, write_run(tmp_path / "quickstart"))
    shown = re.findall(r"<li[^>]*><b>([\d.]+)</b><span>([^<]+)", html)
    assert shown == [("0.00", "untrained"), ("0.32", "after SFT"), ("0.87", "after phase1")]
    assert "2,048 tokens, over 200 held-out questions" in html
    assert "3.0e-07" in html and "4.5 GB" in html and "3 min 15 s" in html
    assert "5 of 5 rollouts" in html
    assert "seed: 41" in html
    assert "not complete" not in html


def test_charts_are_sound_svg_without_shared_ids(tmp_path: Path) -> None:
    html = report(tmp_path, write_run(tmp_path / "a"), write_run(tmp_path / "b"))
    charts = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(charts) == 2 + 4 + 2
    for chart in charts:
        ElementTree.fromstring(re.sub(r"xlink:href", "href", chart))
        assert set(re.findall(r"#[0-9a-f]{6}\b", chart)) == set()
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= set(page.ids)


def test_nothing_is_fetched(tmp_path: Path) -> None:
    html = report(tmp_path, write_run(tmp_path / "quickstart"))
    assert "default-src 'none'" in html
    assert not re.search(r'(src|href)="(?!#)', html)


def test_what_a_model_wrote_stays_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a<b>&'c\"", response=HOSTILE)
    with (run / "config.yaml").open("a") as file:
        file.write(f"note: {json.dumps(HOSTILE)}\n")
    html = report(tmp_path, run)
    page = Page(html)
    assert len(page.scripts) == 2 and "img" not in page.tags
    assert "\u2028" not in page.scripts[0] and "<" not in page.scripts[0]
    assert json.loads(page.scripts[0])[0]["response"] == HOSTILE
    assert "innerHTML" not in page.scripts[1]


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    del summary["stages"][2:], summary["engine_learner_kl_max"]
    (run / "summary.json").write_text(json.dumps(summary))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "phase1", "kind"')
    html = report(tmp_path, run)
    assert "not finished yet: phase1" in html
    assert "line 6 is cut off" in html
    assert "not measured yet" in html


@pytest.mark.parametrize("kept", ["config.yaml", "summary.json", "metrics.jsonl", "rollouts"])
def test_any_one_part_is_enough(tmp_path: Path, kept: str) -> None:
    whole, run = write_run(tmp_path / "whole"), tmp_path / "run"
    run.mkdir()
    (whole / kept).rename(run / kept)
    html = report(tmp_path, run)
    assert "this run is not complete" in html
    for name in {"config.yaml", "summary.json"} - {kept}:
        assert f"{name}: not there" in html


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"{folder}: not a run directory") as caught:
        write_report([tmp_path / folder], tmp_path / "report.html")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"stage": "phase1"}\nnonsense\n{}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl:2: not JSON"):
        read_runs([run])


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name / "seed") for name in ("one", "two")]
    html = report(tmp_path, *runs)
    for run in runs:
        assert html.count(f"<h3>{run}</h3>") == 2
    assert len(re.findall(r'<td class="strong">0.87</td>', html)) == 2
    assert {record["run"] for record in json.loads(Page(html).scripts[0])} == {0, 1}


def test_a_step_written_again_counts_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(metrics("phase1", "rl", 3) | {"entropy": float("nan")}) + "\n")
    steps = read_runs([run])[0].rl_steps
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert steps[-1]["entropy"] is None


def test_many_rollouts_are_thinned_evenly(tmp_path: Path) -> None:
    run = read_runs([write_run(tmp_path / "run", rollouts=900)])[0]
    assert (len(run.rollouts), run.rollouts_written) == (300, 901)
    scores = [record["score"]["value"] for record in run.rollouts if record["step"] is not None]
    assert all(abs(scores.count(value) - 100) <= 1 for value in (0.0, 0.5, 1.0))


def test_spread_takes_equal_numbers_and_evenly() -> None:
    assert spread([list(range(100)), [200, 201]], 12) == [*range(0, 100, 10), 200, 201]
    assert spread([[1], [], [2, 3]], 10) == [1, 2, 3]
    assert len(spread([[i] for i in range(50)], 7)) == 7


def test_long_responses_lose_their_middle(tmp_path: Path) -> None:
    run = read_runs([write_run(tmp_path / "run", response="a" * 50_000 + "end")])[0]
    response = run.rollouts[0]["response"]
    assert response.endswith("end") and "38,003 characters are left out" in response


def test_headline_of_a_run_that_only_began(tmp_path: Path) -> None:
    run = tmp_path / "run"
    lines(run / "metrics.jsonl", [metrics("sft", "sft", 1)])
    head = headline(read_runs([run])[0])
    names = ("context", "untrained", "after_sft", "final")
    assert [head[name] for name in names] == [None] * 4


@pytest.mark.parametrize(("value", "n"), [(0.9, 200), (0.0, 50), (1.0, 7)])
def test_wilson_interval(value: float, n: int) -> None:
    for bound in Accuracy(value, n).interval:
        deviation = 1.96 * (bound * (1 - bound) / n) ** 0.5
        assert abs(value - bound) == pytest.approx(deviation, abs=1e-9)


def test_labels_are_pushed_apart() -> None:
    placed = sorted(spaced([0.99, 1.0, 0.98, 0.2], 0.06, 1.0))
    assert placed == pytest.approx([0.2, 0.88, 0.94, 1.0])


def test_smoothing_stays_within_its_stage() -> None:
    means = smoothed([0.0] * 20 + [1.0] * 20, ["a"] * 20 + ["b"] * 20)
    assert means == [0.0] * 20 + [1.0] * 20


def test_png_for_the_readme(tmp_path: Path) -> None:
    out = save_accuracy_png(write_run(tmp_path / "run"), tmp_path / "docs" / "accuracy.png")
    assert out.read_bytes().startswith(b"\x89PNG")
    bare = tmp_path / "bare"
    lines(bare / "metrics.jsonl", [metrics("sft", "sft", 1)])
    with pytest.raises(InputError, match="no evaluated stage"):
        save_accuracy_png(bare, tmp_path / "none.png")


def with_sources(run: Path, **shifts: float) -> Path:
    """Writes into a run's summary an accuracy for each source, shifted from what is there."""
    summary = json.loads((run / "summary.json").read_text())
    for stage in summary["stages"]:
        stage["accuracy_by_source"] = {
            source: {
                context: {
                    "value": max(0.0, round(cell["value"] + shift, 3)),
                    "n": cell["n"] // len(shifts),
                }
                for context, cell in stage["accuracy"].items()
            }
            for source, shift in shifts.items()
        }
    (run / "summary.json").write_text(json.dumps(summary))
    return run


def test_several_sources_are_shown_with_their_mean(tmp_path: Path) -> None:
    run = with_sources(write_run(tmp_path / "run"), **{"hotpot<i>": 0.02, "facts": -0.02})
    html = report(tmp_path, run)
    assert "over 200 held-out questions of 2 sources" in html
    assert "hotpot&lt;i&gt;" in html and "hotpot<i>" not in html
    assert html.count("<svg") == 1 + 1 + 4 + 1
    body = html[html.index('<table class="accuracy">') :]
    rows = re.findall(r"<tr.*?</tr>", body[: body.index("</table>")], flags=re.DOTALL)
    texts = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]
    assert texts[0] == "stage 256 2,048 seconds"
    assert texts[-3:] == [
        "phase1, mean 0.97 0.87 61.5",
        # 100 questions at 256 tokens and 200 at 2,048, half of them from each source.
        "hotpot&lt;i&gt; n=50–100 0.99 0.89",
        "facts n=50–100 0.95 0.85",
    ]


def test_a_single_source_and_old_summaries_look_alike(tmp_path: Path) -> None:
    old, new = (write_run(tmp_path / name / "run") for name in ("old", "new"))
    with_sources(new, facts=0.0)
    assert report(tmp_path / "a", old) == report(tmp_path / "b", new)


def test_runs_with_one_and_with_two_sources_side_by_side(tmp_path: Path) -> None:
    two = with_sources(write_run(tmp_path / "two"), a=0.02, b=-0.02)
    html = report(tmp_path, write_run(tmp_path / "old"), two)
    assert html.count('aria-label="Accuracy by context and source') == 1
    assert html.count('<tr class="source">') == 2 * len(ACCURACY)


def test_the_interval_of_a_mean_is_narrower_than_its_sources() -> None:
    sources = (Accuracy(0.9, 100), Accuracy(0.5, 100))
    low, high = Accuracy(0.7, 200, sources).interval
    assert 0.6 < low < 0.7 < high < 0.8
    assert Accuracy(0.9, 100, sources[:1]).interval == pytest.approx(sources[0].interval)


def table(summary: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=100)
    print_summary(summary, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_table_of_a_summary(tmp_path: Path) -> None:
    text = table(json.loads((write_run(tmp_path / "run") / "summary.json").read_text()))
    rows = [line.split() for line in text.splitlines()]
    assert ["stage", "n=100", "n=200", "seconds"] in rows
    assert ["untrained", "0.000", "0.000", "61.5"] in rows
    assert ["phase1", "0.970", "0.873", "61.5"] in rows
    assert "3.0e-07" in text


def test_table_of_several_sources(tmp_path: Path) -> None:
    run = with_sources(write_run(tmp_path / "run"), **{"[b]a": 0.02, "b": -0.02})
    text = table(json.loads((run / "summary.json").read_text()))
    rows = [line.split() for line in text.splitlines()]
    assert ["stage", "source", "256", "2,048", "seconds"] in rows
    at = rows.index(["phase1", "mean", "0.970", "0.873", "61.5"])
    assert rows[at + 1] == ["[b]a", "(n=50–100)", "0.990", "0.893"]
    assert rows[at + 2] == ["b", "(n=50–100)", "0.950", "0.853"]


def test_table_of_partial_summaries() -> None:
    assert "No stage has been evaluated yet" in table({})
    cells = ({"value": 0.5, "n": 10}, {"value": 0.25, "n": 20})
    text = table(
        {"stages": [{"name": f"[b]{i}", "accuracy": {"64": c}} for i, c in enumerate(cells)]}
    )
    assert "0.500 (n=10)" in text and "0.250 (n=20)" in text and "[b]1" in text
    assert "not measured yet" in text


def test_the_room_needs_neither_torch_nor_ray() -> None:
    code = "import sys, qwenlong.report.report; print({'torch', 'ray'} & sys.modules.keys())"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
