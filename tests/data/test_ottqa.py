"""OTT-QA: all of it converts, and its splits have nothing in common."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qwenlong.config import SourceConfig
from qwenlong.data.ottqa import held_out_tables, read
from qwenlong.types import Example, InputError, Split

FOLDER = Path(__file__).parents[2].parent / "shared/data/multihop_ottqa"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not on this machine")


def read_all(split: Split, folder: Path = FOLDER, examples: int | None = None) -> list[Example]:
    spec = SourceConfig(source="ottqa", path=str(folder), examples=examples)
    return list(read(spec, split, len, 0))


def raw(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def splits() -> tuple[list[Example], list[Example]]:
    return read_all("train"), read_all("held_out")


@needs_data
def test_every_question_converts(splits: tuple[list[Example], list[Example]]) -> None:
    train, held_out = splits
    questions = raw("questions.json")
    assert len(questions) == 897
    assert len(train) + len(held_out) == 897
    assert {example.id for example in train + held_out} == {q["question_id"] for q in questions}
    assert len({example.metadata["table_id"] for example in train + held_out}) == 329
    order = [q["question_id"] for q in questions]
    for split in splits:
        places = [order.index(example.id) for example in split]
        assert places == sorted(places)


@needs_data
def test_every_text_of_the_raw_files_is_there(
    splits: tuple[list[Example], list[Example]],
) -> None:
    asked = {q["question_id"]: q for q in raw("questions.json")}
    for example in [*splits[0], *splits[1]]:
        question = asked[example.id]
        assert example.question == question["question"]
        assert example.answers == (question["answer-text"],)
        table = raw(f"tables_tok/{question['table_id']}.json")
        passages = raw(f"request_tok/{question['table_id']}.json")
        rows, *linked = example.documents
        assert [text.split("\n", 1)[1] for text in linked] == list(passages.values())
        for text in (table["title"], table["section_title"], table["intro"]):
            assert text.strip() in rows
        for row in table["data"]:
            assert all(cell.strip() in rows for cell, _ in row)
        assert question["answer-text"].lower() in "\n".join(example.documents).lower()
        assert question["answer-text"].lower() in example.reasoning.lower()


@needs_data
def test_spot_check() -> None:
    example = next(e for e in read_all("train") if e.id == "2b6359edb1b352c3")
    lines = example.documents[0].split("\n")
    assert lines[0] == "Nonso Anozie (Filmography -- Television)"
    assert lines[2] == (
        "Year: 2007 | Title: Prime Suspect 7 : The Final Act | Role: Robert | Notes: Episode :"
        " Part 1"
    )
    assert example.documents[1].startswith("Prime Suspect\nPrime Suspect is a British police")
    assert example.answers == ("Lynda La Plante",)
    assert example.kind == "extractive"
    assert example.reasoning == (
        'The table has Title: Prime Suspect 7 : The Final Act. The passage "Prime Suspect" says:'
        " Prime Suspect is a British police procedural television drama series devised by Lynda"
        " La Plante ."
    )


@needs_data
def test_splits_share_no_document(splits: tuple[list[Example], list[Example]]) -> None:
    def tables(split: list[Example]) -> set[str]:
        return {example.metadata["table_id"] for example in split}

    def documents(split: list[Example]) -> set[str]:
        return {document for example in split for document in example.documents}

    def bodies(split: list[Example]) -> set[str]:
        return {text.split("\n", 1)[1] for example in split for text in example.documents[1:]}

    train, held_out = splits
    assert (len(tables(train)), len(tables(held_out))) == (264, 65)
    assert not tables(train) & tables(held_out)
    assert not documents(train) & documents(held_out)
    assert not bodies(train) & bodies(held_out)


@needs_data
def test_takes_at_most_the_examples_asked_for(
    splits: tuple[list[Example], list[Example]],
) -> None:
    assert read_all("train", examples=5) == splits[0][:5]
    assert read_all("held_out", examples=5) == splits[1][:5]


def test_tables_that_share_something_stay_together() -> None:
    shared = {f"t{i}": frozenset({f"page {i}"}) for i in range(20)}
    shared |= {f"s{i}": frozenset({f"link {i}", f"link {i + 1}"}) for i in range(10)}
    held_out = held_out_tables(shared)
    assert len(held_out) == 6
    assert not any(table_id.startswith("s") for table_id in held_out)
    assert held_out == held_out_tables(dict(reversed(shared.items())))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"path=.*/nowhere: .*github.com/wenhuchen/OTT-QA"):
        read_all("train", tmp_path / "nowhere")
    with pytest.raises(InputError, match="path=None: source ottqa needs a folder"):
        list(read(SourceConfig(source="ottqa"), "train", len, 0))
    with pytest.raises(InputError, match=r"questions\.json: there is no such file"):
        read_all("train", tmp_path)


@needs_data
def test_malformed_files(tmp_path: Path) -> None:
    questions = raw("questions.json")[:1]
    table_id = questions[0]["table_id"]
    for name in ("tables_tok", "request_tok"):
        (tmp_path / name).mkdir()
        shutil.copyfile(FOLDER / name / f"{table_id}.json", tmp_path / name / f"{table_id}.json")

    def refused(content: str, message: str, name: str = "questions.json") -> None:
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read_all("train", tmp_path)

    refused("[\n{]", r"questions\.json:2: not JSON")
    refused("[]", "must be a list of questions")
    refused('[{"question": "?"}]', "question 0: question_id, table_id, .* is missing")
    refused(json.dumps([{**questions[0], "answer-text": " "}]), "has no answer")
    elsewhere = {**questions[0], "answer-node": [["x", [99, 0], None, "table"]]}
    refused(json.dumps([elsewhere]), "does not fit table")
    (tmp_path / "questions.json").write_text(json.dumps(questions), encoding="utf-8")
    assert len(read_all("train", tmp_path)) == 1
    with pytest.raises(InputError, match="no table is left for held_out"):
        read_all("held_out", tmp_path)
    refused("[]", "must be a JSON object", f"request_tok/{table_id}.json")
    refused('{"/wiki/X": 1}', "a passage must be a text", f"request_tok/{table_id}.json")
    refused("{}", "title, .* is missing", f"tables_tok/{table_id}.json")
