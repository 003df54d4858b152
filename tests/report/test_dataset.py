"""The page of a set that is built here."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from transformers import PreTrainedTokenizerBase
from typer.testing import CliRunner

from qwenlong.cli import app
from qwenlong.commands.data import show_set
from qwenlong.config import BuildConfig, SourceConfig
from qwenlong.data.build import build
from qwenlong.data.prompts import Renderer
from qwenlong.data.rules import Rules
from qwenlong.report import dataset
from qwenlong.report.dataset import Counts, chosen, depths_of, reading
from qwenlong.report.histograms import length_edges
from qwenlong.report.runs import cut_middle
from qwenlong.types import Example, InputError

HOSTILE = "</pre></script><script>document.title='taken'</script><img src=x onerror=alert(1)> & '\""
LONG = "long " * 3000
VOID = {"meta", "input", "br", "img", "link"}


class Page(HTMLParser):
    """Text by tag and class, all tags, and the examples' data attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.texts: list[tuple[str, str]] = []
        self.examples: list[dict[str, str | None]] = []
        self.references: list[str] = []
        self.path: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        of = dict(attrs)
        named = str(of.get("class") or tag)
        if tag == "details" and "rollout" in named:
            self.examples.append({key[5:]: of[key] for key in of if key.startswith("data-")})
        for key in ("src", "href", "xlink:href", "srcset", "action", "data"):
            if key in of and not str(of[key]).startswith("#"):
                self.references.append(str(of[key]))
        if tag not in VOID:
            self.path.append(named)

    def handle_endtag(self, tag: str) -> None:
        self.path.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append((self.path[-1] if self.path else "", data))

    def of(self, named: str) -> str:
        return "".join(text for at, text in self.texts if at == named)


def write_questions(path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"id": f"plain-{i}", "question": f"Who was the {i}th?", "answer": f"Queen {i}"}
        | {"documents": [f"The {i}th was Queen {i}.", f"Nobody else came in year {i}."]}
        for i in range(20)
    ]
    records[0] |= {"question": HOSTILE, "documents": [HOSTILE, LONG], "answer": HOSTILE}
    records[0] |= {"reasoning": HOSTILE, HOSTILE: [HOSTILE]}
    records += [{**records[1], "id": "again"}]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: PreTrainedTokenizerBase,
    tiny_policy: Path,
    examples: list[Example],
) -> Path:
    """Two synthetic sources over a small corpus and one file, all with held-out examples."""
    home = tmp_path_factory.mktemp("sets")
    texts = [text for example in examples for text in example.documents]
    (home / "corpus.txt").write_text("\n\n".join(texts), encoding="utf-8")
    write_questions(home / "a <b> & c.jsonl")
    corpus = str(home / "corpus.txt")
    config = BuildConfig(
        tokenizer=str(tiny_policy),
        sources=[
            SourceConfig("needles", corpus=corpus, examples=40, min_tokens=600, max_tokens=1500),
            SourceConfig("ordering", corpus=corpus, examples=10, max_tokens=800),
            SourceConfig("jsonl", path=str(home / "a <b> & c.jsonl")),
        ],
        held_out=0.2,
        context=1200,
        over_long="keep_gold",
        on_error="skip",
        seed=1234567,
    )
    rules = Rules(Renderer(tokenizer), config.seed, "skip", True, config.context, "keep_gold")
    build(config, rules, home / "a <i> set", lambda *_: None)
    return home / "a <i> set"


@pytest.fixture(scope="module")
def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    path = show_set(folder)
    assert path == folder / "show.html"
    return path.read_text(encoding="utf-8")


def rows(table: str, html: str) -> list[list[str]]:
    """The cells of all tables of a class, a list for each row, without small print."""
    found = []
    for body in re.findall(rf'<table class="{table}">.*?<tbody>(.*?)</tbody>', html, re.DOTALL):
        for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL):
            plain = re.sub(r"<small.*?</small>", "", row, flags=re.DOTALL)
            found.append(re.findall(r"<t[hd][^>]*>\s*(.*?)\s*</t[hd]>", plain, re.DOTALL))
    return found


def test_the_page_has_every_count(html: str, manifest: dict[str, Any]) -> None:
    page = Page(html)
    facts = page.of("dd")
    for tally in manifest["splits"].values():
        assert f"{tally['longest']:,}" in facts
    assert f"{sum(tally['tokens'] for tally in manifest['splits'].values()):,}" in facts
    assert "1,200" in facts and "keep_gold" in facts and "1234567" in facts

    removed: Counter[tuple[str, ...]] = Counter()
    for shown, entry in zip(rows("sources", html), manifest["sources"], strict=True):
        tallies = entry["splits"].values()
        counted = [tally["taken"] for tally in tallies]
        counted += [
            sum(sum(tally[what].values()) for tally in tallies) for what in ("left_out", "cut")
        ]
        assert [shown[0], *shown[2:]] == [entry["source"], *map(str, counted)]
        for split, tally in entry["splits"].items():
            for what in ("left_out", "cut"):
                for why, n in tally[what].items():
                    removed[entry["source"], split.replace("_", " "), str(n), why] += 1
    shown_removed = Counter((row[0], row[1], row[3], row[4]) for row in rows("removed", html))
    assert removed == shown_removed
    assert {"repeats an earlier example"} < {why for *_, why in removed}
    assert "again of plain-1" in page.of("small")


def test_kinds_by_source_add_up(html: str, folder: Path, manifest: dict[str, Any]) -> None:
    tables = rows("accuracy", html)
    sums = [row for row in tables if row[0] == "all"]
    for row, tally in zip(sums, manifest["splits"].values(), strict=True):
        assert row[1:] == [*(str(n) for n in tally["kinds"].values()), str(tally["examples"])]
    for split in manifest["splits"]:
        stored = parquet.read_table(folder / f"{split}.parquet").to_pylist()
        pairs = Counter((row["source"], row["kind"]) for row in stored)
        cells = [cell for row in tables if row[0] != "all" for cell in row[1:-1]]
        assert Counter(str(n) for n in pairs.values()) <= Counter(cells)


def test_what_came_from_data_stays_text(html: str) -> None:
    page = Page(html)
    assert page.tags["script"] == 1 and page.tags["img"] == 0 and page.tags["b"] == 0
    assert page.path == []
    assert page.of("h1") == "a <i> set"
    assert HOSTILE in page.of("asked") and HOSTILE in page.of("pre") and HOSTILE in page.of("meta")
    assert any(text == f"\n{HOSTILE}" for at, text in page.texts if at == "pre")
    assert "a <b> & c" in page.of("th") and "a <b> & c" in page.of("where")
    assert "innerHTML" not in page.of("script")


def test_nothing_is_fetched(html: str) -> None:
    assert "default-src 'none'" in html
    assert Page(html).references == []
    assert not re.search(r"url\((?!#)|@import", html)


def test_examples_are_spread_and_can_be_filtered(html: str, manifest: dict[str, Any]) -> None:
    page = Page(html)
    assert 0 < len(page.examples) <= dataset.EXAMPLES_SHOWN
    assert f"{len(page.examples)} of " in html
    for split, tally in manifest["splits"].items():
        here = [each for each in page.examples if each["split"] == split]
        assert {each["source"] for each in here} == set(tally["sources"])
        assert {each["kind"] for each in here} == set(tally["kinds"])
    options = re.findall(r'<option value="([^"]+)"', html)
    assert {"train", "held_out", "needles", "a &lt;b&gt; &amp; c"} <= set(options)


def test_long_documents_lose_their_middle_and_the_page_says_so(html: str) -> None:
    page = Page(html)
    assert "characters are left out here" in page.of("pre")
    assert LONG not in page.of("pre")


def test_the_command_writes_where_it_is_told(folder: Path, tmp_path: Path, html: str) -> None:
    out = tmp_path / "new" / "page.html"
    result = CliRunner().invoke(app, ["data", "show", str(folder), "--out", str(out)])
    assert result.exit_code == 0 and out.name in result.stdout
    assert out.read_text(encoding="utf-8") == html


def test_a_folder_that_is_no_whole_set_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no built set"):
        show_set(tmp_path)
    (tmp_path / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    (tmp_path / "train.parquet").write_bytes((folder / "held_out.parquet").read_bytes())
    with pytest.raises(InputError, match=r"train\.parquet: is not the file"):
        show_set(tmp_path)
    assert not (tmp_path / "show.html").exists()


def test_gold_is_marked_and_distant_documents_are_left_out() -> None:
    documents = [f"document {i}" for i in range(100)]
    row: dict[str, Any] = {
        "id": "1",
        "source": "s",
        "question": "?",
        "documents": documents,
        "answers": ["a"],
    }
    row |= {"kind": "extractive", "reasoning": "", "gold_documents": [50], "group": ""}
    shown = reading(row | {"difficulty": None, "metadata": {}, "tokens": 9}, "train")
    kept = [each for each in shown["documents"] if "text" in each]
    gaps = [each for each in shown["documents"] if "text" not in each]
    assert [each["number"] for each in kept if each["gold"]] == [51]
    assert len(kept) == dataset.DOCUMENTS_SHOWN and len(gaps) == 2
    passed = sum(gap["last"] - gap["first"] + 1 for gap in gaps)
    assert passed == 60 and shown["written"] == 100 and shown["depths"] == "0.50"
    assert {kept[0]["number"], kept[-1]["number"]} == {1, 100}


def test_depth_is_a_share_of_the_other_documents() -> None:
    assert depths_of(["aaaa", "gold", "bb", "gold", "bb"], [1, 3]) == [0.5, 0.75]
    assert depths_of(["gold", "a"], [0]) == [0] and depths_of(["a", "gold"], [1]) == [1]
    assert depths_of(["gold"], [0]) == [] and depths_of(["a"], []) == []


def test_every_source_of_every_split_is_shown_before_more_of_its_kinds() -> None:
    counts = {
        (split, f"s{i}"): Counts(Counter({"list": 3, "numeric": 2}))
        for split in ("train", "held_out")
        for i in range(4)
    }
    wanted = chosen(counts, most=8)
    assert {bucket[:2] for bucket, places in wanted.items() if places} == set(counts)
    all_of_them = chosen(counts, most=1000)
    assert all(
        places == set(range(3 if b[2] == "list" else 2)) for b, places in all_of_them.items()
    )


@given(st.lists(st.integers(1, 2**18), min_size=1, max_size=30))
def test_every_length_has_a_bin(lengths: list[int]) -> None:
    edges, _ = length_edges(min(lengths), max(lengths))
    assert edges == sorted(set(edges)) and 2 <= len(edges) <= 80
    assert edges[0] < min(lengths) and edges[-1] >= max(lengths)


def test_powers_of_two_end_their_bins() -> None:
    edges, log = length_edges(500, 131_072)
    assert log and edges[-1] == 131_072 and 8192 in edges


def test_cut_texts_say_how_much_is_missing() -> None:
    draw = Random(0)
    for length in (10, 100, 101, 5000):
        text = "".join(draw.choice("abc\n") for _ in range(length))
        cut = cut_middle(text, 100)
        note = re.search(r"\[… ([\d,]+) characters", cut)
        if length <= 100:
            assert cut == text
        else:
            assert note
            assert len(text) - int(note[1].replace(",", "")) <= 100
            assert text.startswith(cut[:60]) and text.endswith(cut[-30:])
