"""A browser shows what models and data wrote as text, on every page."""

from __future__ import annotations

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from transformers import PreTrainedTokenizerBase

from experiments.findings.page import write_findings
from qwenlong.commands.data import show_set
from qwenlong.config import BuildConfig, SourceConfig
from qwenlong.data.build import build
from qwenlong.data.prompts import Renderer
from qwenlong.data.rules import Rules
from qwenlong.report.report import write_report
from tests.findings import arm_runs
from tests.report.test_report import lines, rollout, write_run

TAKEN = "document.title+='!'"
ATTACKS = (
    f"</script><script>{TAKEN}</script>",
    f'"><img src=x onerror="{TAKEN}">',
    f'\'><svg onload="{TAKEN}"></svg>',
    f'</pre></code></title><iframe srcdoc="<script>parent.{TAKEN}</script>"></iframe>',
    "<!--<script>",
)
HOSTILE = " ".join(ATTACKS)
NAME = f"<img src=x onerror={TAKEN}>"
"""An attack without a slash, for the names of files."""
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), "")
# Opens all that can be opened; only then the page shows everything.
PROBE = """<script id="probe">
for (const each of document.querySelectorAll("details")) each.open = true;
</script>"""

pytestmark = pytest.mark.skipif(not BROWSER, reason="needs Chromium on the path")


class Shown(HTMLParser):
    """The document as the browser has it after all scripts ran."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.text = self.title = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["title"] and not self.title:
            self.title = data
        elif self.tags[-1:] != ["script"]:
            self.text += data


def shown(page: Path, tmp_path: Path) -> Shown:
    """``page`` in a browser, without its security policy: only escaping holds scripts back."""
    html = page.read_text(encoding="utf-8")
    bare = "\n".join(line for line in html.split("\n") if "Content-Security-Policy" not in line)
    opened = tmp_path / "opened.html"
    opened.write_text(bare.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", opened.as_uri()],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and "probe" in done.stdout, done.stderr
    return Shown(done.stdout)


def test_the_attacks_work(tmp_path: Path) -> None:
    """Each attack that can do something does it if nothing is escaped."""
    page = tmp_path / "page.html"
    body = "".join((*ATTACKS[:4], NAME))
    page.write_text(f"<html><head><title>own</title></head><body>{body}</body></html>")
    assert shown(page, tmp_path).title == "own!!!!!"


def test_a_report(tmp_path: Path) -> None:
    run = write_run(tmp_path / f"run {NAME}")
    changes = dict.fromkeys(("id", "source", "question", "response", "finish_reason"), HOSTILE)
    score = {"value": 0.5, "verifier": HOSTILE, "breakdown": {HOSTILE: HOSTILE}}
    records = [rollout("phase1", 1, i, **changes, answers=[HOSTILE], score=score) for i in (0, 1)]
    lines(run / "rollouts" / "phase1-00001.jsonl", records)
    with (run / "config.yaml").open("a") as file:
        file.write(f"note: {json.dumps(HOSTILE)}\n")
    page = shown(write_report([run], tmp_path / "report.html"), tmp_path)
    assert page.title == f"{run.name} · qwenlong" and not page.handlers
    assert page.tags.count("script") == 3  # the data, the page's own, the probe
    assert not {"img", "iframe"} & {*page.tags}
    assert page.text.count(HOSTILE) >= 2 * 9


def test_a_page_of_a_set(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, tiny_policy: Path
) -> None:
    record = {"question": HOSTILE, "answer": HOSTILE, "reasoning": HOSTILE, HOSTILE: [HOSTILE]}
    records = [{**record, "id": f"{i} {HOSTILE}", "documents": [HOSTILE, f"{i}"]} for i in range(4)]
    source = tmp_path / f"{NAME}.jsonl"
    lines(source, records)
    config = BuildConfig(str(tiny_policy), [SourceConfig("jsonl", path=str(source))])
    rules = Rules(Renderer(tokenizer), config.seed, "stop", False, None, "drop")
    folder = tmp_path / f"set {NAME}"
    build(config, rules, folder, lambda *_: None)
    page = shown(show_set(folder), tmp_path)
    assert not page.title.endswith("!") and not page.handlers
    assert page.tags.count("script") == 2
    assert not {"img", "iframe"} & {*page.tags}
    assert page.text.count(HOSTILE) >= 4 * 4


def test_findings(tmp_path: Path) -> None:
    """Rendered by the most permissive reader of Markdown, which passes raw HTML through."""
    runs = [
        arm_runs.write_run(tmp_path, arm, 0, wrong=HOSTILE, end=0.5) for arm in ("baseline", NAME)
    ]
    written = write_findings(runs, tmp_path / "findings.md")
    source = written.read_text(encoding="utf-8")
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(source)
    made = tmp_path / "findings.html"
    made.write_text(f"<html><head><title>own</title></head><body>{body}</body></html>")
    page = shown(made, tmp_path)
    assert page.title == "own" and not page.handlers
    assert page.tags.count("script") == 1 and "iframe" not in page.tags
    assert page.tags.count("img") == body.count("<img ")
    assert ATTACKS[0][:20] in page.text
