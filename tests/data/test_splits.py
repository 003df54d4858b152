"""Training and held-out examples have no document in common, wherever and however they are read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from qwenlong.commands.data import examples_at
from qwenlong.config import BuildConfig, DataConfig, SourceConfig
from qwenlong.config.reading import load_config
from qwenlong.data.build import build
from qwenlong.data.overlap import contamination
from qwenlong.data.pipeline import load
from qwenlong.data.prompts import Renderer
from qwenlong.data.registry import PUBLISHED
from qwenlong.data.rows import read
from qwenlong.data.rules import Rules
from qwenlong.data.splits import Side, sides
from qwenlong.data.synthesis.corpus import MOST_CHARACTERS, corpus_of
from qwenlong.types import Example, InputError
from tests.data.published import folder


@pytest.fixture
def rules(tokenizer: PreTrainedTokenizerBase) -> Rules:
    return Rules(Renderer(tokenizer), seed=0, on_error="skip")


def ledgers(path: Path, count: int = 100, first: int = 0) -> Path:
    """Questions without a group, five over each ledger."""
    rows = [
        {
            "question": f"What is item {i} of ledger {i // 5}?",
            "document": f"Ledger {i // 5} says much of harbour {i // 5} and of its five mayors.",
            "answer": f"v{i}",
        }
        for i in range(first, first + count)
    ]
    return written(path, rows)


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def jsonl(path: Path, **keys: Any) -> SourceConfig:
    return SourceConfig("jsonl", str(path), **keys)


def both(
    train: Sequence[SourceConfig], held_out: Sequence[SourceConfig], rules: Rules
) -> tuple[list[Example], list[Example], list[str]]:
    data = DataConfig(train=list(train), held_out=list(held_out))
    trained, notes = load(data, "train", rules)
    tested, more = load(data, "held_out", rules)
    return [p.example for p in trained], [p.example for p in tested], notes + more


def test_questions_over_one_document_stay_together_without_a_group(
    rules: Rules, tmp_path: Path
) -> None:
    mine = jsonl(ledgers(tmp_path / "mine.jsonl"))
    train, held_out, notes = both([mine], [mine], rules)
    assert (len(train), len(held_out)) == (80, 20)
    assert contamination(train, held_out).clean
    assert notes == ["data.held_out.0 (jsonl): 20 of 100 held out, the rest is for training"]


def test_documents_are_joined_through_others(rules: Rules, tmp_path: Path) -> None:
    def row(number: int, *documents: str) -> dict[str, Any]:
        return {"question": f"Which is {number}?", "documents": documents, "answer": f"n{number}"}

    chain = [row(n, f"The text of {n}.", f"THE text -- of {n + 1}") for n in range(30)]
    alone = [row(n, f"The text of {n}.") for n in range(100, 120)]
    mine = jsonl(written(tmp_path / "mine.jsonl", chain + alone))
    train, held_out, _ = both([mine], [mine], rules)
    assert len(held_out) == 10 and all(int(each.answers[0][1:]) >= 100 for each in held_out)
    assert contamination(train, held_out).clean
    both_ends = written(tmp_path / "mine.jsonl", [*chain, row(30, "The text of 30.")])
    with pytest.raises(InputError, match=r"0 of 31 held out.*; the others share their documents"):
        both([jsonl(both_ends)], [jsonl(both_ends)], rules)


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys", [{}, {"subset": "dev"}, {"path": "tatqa_dataset_dev.json"}], ids=str
)
def test_a_set_is_parted_however_it_is_named(keys: dict[str, str], rules: Rules) -> None:
    path = folder("tatqa")
    whole = SourceConfig("tatqa", str(path))
    named = SourceConfig("tatqa", str(path / keys.get("path", "")), keys.get("subset"))
    train, held_out, _ = both([whole], [named], rules)
    found = contamination(train, held_out)
    assert found.same_document == 0 and (len(train), len(held_out)) == (1338, 330)


def test_a_copy_of_a_file_is_parted(rules: Rules, tmp_path: Path) -> None:
    mine, copy = ledgers(tmp_path / "mine.jsonl"), ledgers(tmp_path / "b" / "copy.jsonl")
    train, held_out, _ = both([jsonl(mine)], [jsonl(copy)], rules)
    assert (len(train), len(held_out)) == (80, 20) and contamination(train, held_out).clean


def test_training_does_without_what_another_set_holds_out(rules: Rules, tmp_path: Path) -> None:
    mine = ledgers(tmp_path / "mine.jsonl")
    # The same names of lines, and one document in common, of five questions.
    other = ledgers(tmp_path / "b" / "mine.jsonl", 50, first=95)
    train, held_out, notes = both([jsonl(mine)], [jsonl(other)], rules)
    assert (len(train), len(held_out)) == (95, 50) and contamination(train, held_out).clean
    assert notes == [
        "data.train.0 (jsonl): 5 of 100 left out: shares a document or its group with the"
        " held-out split"
    ]
    data = DataConfig(sft=[jsonl(mine)], held_out=[jsonl(other)])
    assert len(load(data, "sft", rules)[0]) == 95


def test_finqa_and_convfinqa_have_their_pages_in_common(rules: Rules) -> None:
    sources = PUBLISHED["finqa"], PUBLISHED["convfinqa"]
    specs = {source.name: SourceConfig(source.name, str(folder(source.name))) for source in sources}
    train, held_out = sides(specs, specs, 0.2, len, 0)
    pages: dict[Side, set[str]] = {}
    for source in sources:
        for side in (train[source.name], held_out[source.name]):
            found = [x for x in read(source, folder(source.name)) if isinstance(x, Example)]
            pages[side] = {x.group.partition(":")[2] for x in found if side.has(x)}
    first, first_out, second, second_out = pages.values()
    assert (len(first | first_out), len(second | second_out)) == (299, 217)
    assert second < first and second_out < first_out and not first & first_out


def test_a_broken_row_is_counted_once(rules: Rules, tmp_path: Path) -> None:
    path = ledgers(tmp_path / "mine.jsonl")
    path.write_text(path.read_text() + "{\n")
    _, _, notes = both([jsonl(path)], [jsonl(path)], rules)
    (told,) = [note for note in notes if "not JSON" in note]
    assert told.startswith("data.train.0 (jsonl): 1 of 81 left out: not JSON")


def test_nothing_is_read_where_there_is_nothing_to_part() -> None:
    missing, made = SourceConfig("jsonl", "none.jsonl"), SourceConfig("recital", examples=3)
    assert sides({"a": missing}, {}, 0.2, len, 0) == ({"a": Side("train")}, {})
    train, held_out = sides({"a": made}, {"b": made}, 0.2, len, 0)
    assert train["a"] == Side("train") and held_out["b"].held_out is None
    with pytest.raises(InputError, match=r"^a: none\.jsonl: there is no such file"):
        sides({"a": missing}, {"b": made}, 0.2, len, 0)


def test_a_weight_is_of_built_sets_alone(tmp_path: Path) -> None:
    stage = "{kind: rl, context: 200, response: 48, steps: 3, batch: 32}"
    (tmp_path / "mine.yaml").write_text(
        "policy: {path: tiny, window: 256}\n"
        "data:\n"
        "  train: [{source: jsonl, path: mine.jsonl, weight: 2}]\n"
        "  held_out: [{source: jsonl, path: other.jsonl}]\n"
        f"stages: {{one: {stage}}}\n"
    )
    with pytest.raises(InputError, match=r"^data\.train\.0\.weight=2.*only built sets have"):
        load_config(tmp_path / "mine.yaml")


def made(
    out: Path, rules: Rules, *sources: SourceConfig, **keys: Any
) -> tuple[list[dict[str, Any]], list[list[Example]]]:
    """What became of the sources of a built set, and its splits."""
    config = BuildConfig("tiny", list(sources), **keys)
    manifest = build(config, rules, out, lambda split, source, done: None)
    files = [out / f"{split}.parquet" for split in manifest["splits"]]
    told = [source["splits"] for source in manifest["sources"]]
    return told, [list(examples_at(file)) for file in files]


def test_the_sources_of_a_built_set_are_parted_together(rules: Rules, tmp_path: Path) -> None:
    one, two = ledgers(tmp_path / "one.jsonl"), ledgers(tmp_path / "two.jsonl", 100, first=50)
    sources = jsonl(one), SourceConfig("documents", str(two))
    _, (train, held_out) = made(tmp_path / "out", rules, *sources, held_out=0.2)
    assert (len(train), len(held_out)) == (160, 40) and contamination(train, held_out).clean


def test_the_sides_of_a_built_set_are_as_many_as_asked_for(rules: Rules, tmp_path: Path) -> None:
    mine = ledgers(tmp_path / "mine.jsonl")
    mine.write_text(mine.read_text() + "{\n")
    told, parts = made(tmp_path / "one", rules, jsonl(mine, examples=50), held_out=0.2)
    assert list(map(len, parts)) == [40, 10]
    told, parts = made(tmp_path / "two", rules, jsonl(mine), examples=200, held_out=0.2)
    assert list(map(len, parts)) == [80, 20]
    (splits,) = told
    assert "160 asked for, 80 are there" in splits["train"]["notes"]
    assert "40 asked for, 20 are there" in splits["held_out"]["notes"]
    assert sum(splits["train"]["left_out"].values()) == 1 and not splits["held_out"]["left_out"]


def test_a_set_built_of_two_sources_has_no_repeats(rules: Rules, tmp_path: Path) -> None:
    one, two = ledgers(tmp_path / "one.jsonl", 50), ledgers(tmp_path / "two.jsonl", 50, first=25)
    rules = replace(rules, deduplicate=True)
    told, (train,) = made(tmp_path / "out", rules, jsonl(one), jsonl(two))
    assert len(train) == 75 and told[1]["train"]["left_out"] == {"repeats an earlier example": 25}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Five texts, one of them twice, and a file that is none."""
    path = tmp_path / "corpus"
    path.mkdir()
    for number in range(5):
        lines = [f"Vessel {n} of fleet {number} came in by night with crew." for n in range(200)]
        (path / f"text{number}.txt").write_text("\n".join(lines))
    (path / "a_copy.md").write_text((path / "text4.txt").read_text().replace(" ", "  "))
    (path / "broken.txt").write_bytes(b"Se\xf1or")
    return path


def fleets(examples: Sequence[Example]) -> set[str]:
    texts = [text for example in examples for text in example.documents]
    return {fleet for text in texts for fleet in re.findall(r"of (fleet \d)", text)}


@pytest.mark.parametrize("source", ["needles", "jsonl"])
def test_a_corpus_is_parted_by_its_texts_for_tasks_and_for_lengthening(
    source: str, corpus: Path, rules: Rules, tmp_path: Path
) -> None:
    mine = ledgers(tmp_path / "mine.jsonl", 50)
    spec = SourceConfig("needles", corpus=str(corpus), max_tokens=600, examples=20)
    if source == "jsonl":
        spec = jsonl(mine, lengthen=900, distractors="text", corpus=str(corpus))
    told, (train, held_out) = made(tmp_path / "out", rules, spec, held_out=0.2)
    assert len(fleets(train)) == 4 and len(fleets(held_out)) == 1
    assert not fleets(train) & fleets(held_out)
    (reason,) = told[0]["train"]["left_out"]
    assert "not UTF-8" in reason and not told[0]["held_out"]["left_out"]
    with pytest.raises(InputError, match=r"broken\.txt: not UTF-8.*on_error=skip"):
        made(tmp_path / "stop", replace(rules, on_error="stop"), spec)


def test_a_running_text_is_parted_by_place(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(f"Paragraph {n}." for n in range(50)))
    texts = [
        [text.text for text in corpus_of(path, split)[0].texts] for split in ("train", "held_out")
    ]
    assert texts == [[f"Paragraph {n}." for n in part] for part in (range(40), range(40, 50))]
    path.write_text("One paragraph alone.")
    with pytest.raises(InputError, match=r"book\.txt: a single short text"):
        corpus_of(path, "train")


@pytest.mark.slow
def test_a_corpus_of_which_a_sample_is_used_says_so(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    paragraph = f"{'The fleet came in by night with its crew. ' * 40}\n\n"
    path.write_text(paragraph * (MOST_CHARACTERS // len(paragraph) + 200))
    notes: list[str] = []
    corpus_of(path, "train", notes.append)
    assert len(notes) == 1 and "a sample of 33,5" in notes[0]
