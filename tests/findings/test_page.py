"""The page of findings, from runs that the driver's own code writes with made-up numbers."""

import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from experiments.findings.arms import gather
from experiments.findings.charts import CHARTS
from experiments.findings.page import write_findings
from qwenlong.types import InputError
from tests.findings.arm_runs import NO_SFT, write_run

HOSTILE = (
    "a | `b` ``c`` <img src=x onerror=alert(1)> [l](http://x.y) \u202e\n\n# H\n- *x* @all &amp;"
)


class Page(HTMLParser):
    """Tags of the page, cells by row, and the text of its code spans."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.codes: list[str] = []
        self.items: list[str] = []
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(self.source))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "code":
            self.codes.append("")
        elif tag == "li":
            self.items.append("")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        def inside(tag: str) -> bool:
            return self.tags.count(tag) > self.tags.count(f"/{tag}")

        if inside("td") or inside("th"):
            self.rows[-1][-1] += data.replace("\u00a0", " ")
        if inside("code"):
            self.codes[-1] += data
        if inside("li"):
            self.items[-1] += data.replace("\u00a0", " ")

    def row(self, *begin: str) -> list[str]:
        return next(row for row in self.rows if row[: len(begin)] == list(begin))


def page(out: Path, folders: Sequence[Path]) -> Page:
    return Page(write_findings(folders, out / "findings.md"))


@pytest.fixture(scope="module")
def shown(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page(tmp_path_factory.mktemp("shown"), runs)


def test_the_page_says_what_was_measured(shown: Page) -> None:
    single, entropy = (item for item in shown.items if item.startswith("single_stage"))
    assert "single_stage: holds at this size" in single
    assert "−0.133 ± 0.029 over seeds 0, 1 and 2 (−0.150, −0.150, −0.100): all down" in single
    assert "Entropy, last 5 RL steps" in entropy and "holds at this size" in entropy
    assert any(item.startswith("dapo: not seen") for item in shown.items)
    cheats, trains = (item for item in shown.items if item.startswith("substring_reward"))
    assert "holds at this size" in cheats
    assert "+0.562 ± 0.000 over seeds 0, 1 and 2 (+0.562, +0.562, +0.562): all up" in cheats
    assert "against" in trains
    assert shown.row("baseline", "3 of 3")[2:4] == ["0.267 ± 0.029", "0.800 ± 0.050"]
    accuracy = shown.row("512 tokens, at the end", "0.800 ± 0.050", "0.450 ± 0.050")
    assert accuracy[3:] == ["−0.350 ± 0.050", "−0.350, −0.300, −0.400", "all down"]
    tokens = shown.row("tokens generated in RL")
    assert tokens[1:] == ["2,240 ± 0", "2,240, 2,240, 2,240"]
    assert "`baseline` ends at 0.800" in shown.source and "room to differ" in shown.source
    assert "No runs of `no_sft`" in shown.source
    assert shown.row("learner.objective")[1:] == ["grpo", "dapo"]
    assert "Wrong at 512 tokens at the end: 33 of 60 answers" in shown.source
    assert any(item.startswith("33 × a; question: Where was") for item in shown.items)


def test_every_plot_is_sound_and_the_same_again(
    shown: Page, runs: list[Path], tmp_path: Path
) -> None:
    assert shown.links == [f"findings/{name}.svg" for name in CHARTS]
    page(tmp_path, runs)
    for name in ("findings.md", *shown.links):
        assert (tmp_path / name).read_bytes() == (shown.path.parent / name).read_bytes()
    for link in shown.links:
        text = "".join(ElementTree.parse(tmp_path / link).getroot().itertext())
        assert all(name in text for name in ("baseline", "single_stage", "substring_reward"))


def test_an_unfinished_run_and_missing_seeds_are_named(runs: list[Path], tmp_path: Path) -> None:
    window = "policy.window=256"
    stopped = write_run(tmp_path, "no_yarn", 0, window, end=0.5, stop="phase2")
    shown = page(
        tmp_path, [*runs[6:9], stopped, write_run(tmp_path, "no_yarn", 1, window, end=0.5)]
    )
    missing, unfinished, *_ = shown.items
    assert missing == "no_yarn: no run of seed 2."
    assert "no_yarn, seed 0: not finished, 7 RL steps so far; still to come: phase2" in unfinished
    assert shown.row("no_yarn", "1 of 2")[3:] == ["0.500", "−0.300", "one seed"]
    assert any(item.startswith("no_yarn: cannot be said") for item in shown.items)


def test_nothing_finished_yet(tmp_path: Path) -> None:
    began = [write_run(tmp_path, "baseline", seed, stop="sft") for seed in range(2)]
    shown = page(tmp_path, began)
    assert "No run is finished yet" in shown.source
    assert "None of its runs is finished." in shown.source
    assert not shown.links
    assert not list((tmp_path / "findings").iterdir())


def test_an_arm_without_sft_and_one_that_forgot_its_key(runs: list[Path], tmp_path: Path) -> None:
    no_sft = write_run(tmp_path, "no_sft", 0, end=0.3, experiment=NO_SFT)
    forgot = write_run(tmp_path, "forgot", 0)
    shown = page(tmp_path, [runs[6], no_sft, forgot])
    assert "Before RL, the policy is the one that the run began with." in shown.source
    assert shown.row("stages.sft")[2] == "–" and "kind: sft" in shown.row("stages.sft")[1]
    assert "Its configuration is the baseline's: it changes nothing." in shown.source
    assert any(item.startswith("forgot: no claim.") for item in shown.items)


def test_what_a_model_or_a_name_holds_stays_text(
    shown: Page, runs: list[Path], tmp_path: Path
) -> None:
    name = "x`|<b>*y*<b> [l](u)"
    hostile = page(tmp_path, [runs[6], write_run(tmp_path, name, 0, wrong=HOSTILE, end=0.5)])
    assert set(hostile.tags) <= set(shown.tags)
    assert hostile.links == shown.links
    assert (hostile.tags.count("h1"), hostile.tags.count("h2")) == (1, 4)
    assert {len(row) for row in hostile.rows} <= {len(row) for row in shown.rows}
    assert any("<img src=x onerror=alert(1)>" in text and "¦" in text for text in hostile.codes)
    assert name.replace("|", "¦") in hostile.codes
    for link in hostile.links:
        ElementTree.parse(tmp_path / link)


def test_the_command_line(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "docs" / "findings.md"
    folders = [str(run) for run in runs[6:8]]
    command = [sys.executable, "-m", "experiments.findings", *folders, "--out"]
    done = subprocess.run([*command, str(out)], capture_output=True, text=True)
    assert done.stdout == f"{out}\n" and out.is_file() and not list(tmp_path.glob("**/report.html"))
    refused = subprocess.run([*command, "page"], capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr == (
        "experiments.findings: --out=page: must be the name of a Markdown file, such as"
        " findings.md\n"
    )
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match=r"bare/config\.yaml: must be the configuration of a run"):
        gather([tmp_path / "bare"])
