"""OTT-QA: every text of the raw files is in the examples, and groups have nothing in common."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from qwenlong.types import Example, InputError
from tests.data.published import folder, one, sorted_out, whole


def raw(name: str) -> Any:
    return json.loads((folder("ottqa") / name).read_text(encoding="utf-8"))


def test_every_question_converts_in_order() -> None:
    examples, rejected = whole("ottqa")
    questions = raw("questions.json")
    assert len(questions) == 897 and not rejected
    assert [example.id for example in examples] == [each["question_id"] for each in questions]
    assert len({example.metadata["table_id"] for example in examples}) == 329


def test_every_text_of_the_raw_files_is_there() -> None:
    for example, question in zip(whole("ottqa")[0], raw("questions.json"), strict=True):
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
        for _, _, link, where in question["answer-node"]:
            assert where == "table" or 1 + list(passages).index(link) in example.gold_documents


def test_spot_checks() -> None:
    example = one("ottqa", "2b6359edb1b352c3")
    lines = example.documents[0].split("\n")
    assert lines[0] == "Nonso Anozie (Filmography -- Television)"
    assert lines[2] == (
        "Year: 2007 | Title: Prime Suspect 7 : The Final Act | Role: Robert | Notes: Episode :"
        " Part 1"
    )
    assert example.documents[1].startswith("Prime Suspect\nPrime Suspect is a British police")
    assert (example.answers, example.kind) == (("Lynda La Plante",), "extractive")
    assert example.gold_documents == (0, 1)
    assert example.reasoning == (
        'The table has Title: Prime Suspect 7 : The Final Act. The passage "Prime Suspect" says:'
        " Prime Suspect is a British police procedural television drama series devised by Lynda"
        " La Plante ."
    )
    host = one("ottqa", "62e5bc48aab7533e")
    assert host.answers == ("1551",) and host.gold_documents == (0, 16)
    assert "It was founded in 1551 ." in host.documents[16]
    assert len(host.documents) == 1 + 18
    league = one("ottqa", "219bcddfb60bf1cc")
    assert league.answers == ("National League",)
    assert "Name: Charles Banya | To: Maidstone United | Fee: Released" in league.documents[0]


def test_groups_share_no_document_and_no_page() -> None:
    pages: dict[str, str] = {}
    things: dict[str, str] = {}
    for example in whole("ottqa")[0]:
        table_id = example.metadata["table_id"]
        url = raw(f"tables_tok/{table_id}.json")["url"]
        links = [unquote(link) for link in raw(f"request_tok/{table_id}.json")]
        page = "/wiki/" + unquote(url.rpartition("/wiki/")[2])
        for each in {page, *links}:
            assert pages.setdefault(each, example.group) == example.group
        bodies = [text.split("\n", 1)[1] for text in example.documents[1:]]
        for each in (*example.documents, *bodies):
            assert things.setdefault(each, example.group) == example.group
    assert len({example.group for example in whole("ottqa")[0]}) == 145


def test_a_checkout_is_read_like_the_folder(tmp_path: Path) -> None:
    """In upstream's own places the same questions come out."""
    question = raw("questions.json")[0]
    (tmp_path / "released_data").mkdir()
    (tmp_path / "released_data/dev.traced.json").write_text(json.dumps([question]))
    for name in ("tables_tok", "request_tok"):
        (tmp_path / "data" / f"traindev_{name}").mkdir(parents=True)
        file = f"{question['table_id']}.json"
        shutil.copyfile(
            folder("ottqa") / name / file, tmp_path / "data" / f"traindev_{name}" / file
        )
    (example,), rejected = sorted_out("ottqa", tmp_path, "dev")
    assert not rejected and example.documents == one("ottqa", example.id).documents
    with pytest.raises(InputError, match=r"must be a folder with questions\.json"):
        sorted_out("ottqa", tmp_path, "train")
    with pytest.raises(InputError, match="subset=test: must be one of dev, train"):
        sorted_out("ottqa", tmp_path, "test")


def test_malformed_files(tmp_path: Path) -> None:
    first, second = raw("questions.json")[0], raw("questions.json")[100]
    for question in (first, second):
        for name in ("tables_tok", "request_tok"):
            (tmp_path / name).mkdir(exist_ok=True)
            file = f"{name}/{question['table_id']}.json"
            (tmp_path / file).write_bytes((folder("ottqa") / file).read_bytes())
    questions, table = tmp_path / "questions.json", f"{first['table_id']}.json"

    def good(content: Any) -> tuple[Example, ...]:
        questions.write_text(json.dumps(content), encoding="utf-8")
        examples, rejected = sorted_out("ottqa", tmp_path)
        reasons.extend(f"{each.where} {each.why}" for each in rejected)
        return examples

    reasons: list[str] = []
    elsewhere = {**first, "answer-node": [["x", [99, 0], None, "table"]]}
    nothing = {**first, "answer-text": " "}
    assert len(good([{"question": "?"}, 5, nothing, elsewhere, second])) == 1
    assert "row 1 table_id is missing" in reasons[0]
    assert "row 2 must be an object, is a number" in reasons[1]
    assert "row 3 answer-text is blank" in reasons[2]
    assert "row 4 not of ottqa's form: list index out of range" in reasons[3]
    for content, why in {
        b"[]": f"{table}: must be a JSON object, is a list",
        b'{"/wiki/X": 1}': "/wiki/X=1: a passage must be a text",
        b'{\n"a": "\xe9"}': f"{table}: not UTF-8 (byte 9)",
        b'{\n"a": }': f"{table}:2: not JSON",
    }.items():
        (tmp_path / "request_tok" / table).write_bytes(content)
        reasons.clear()
        assert len(good([first, second])) == 1
        assert f"{questions}: row 1" in reasons[0] and why in reasons[0]
    (tmp_path / "tables_tok" / table).unlink()
    assert len(good([first, second])) == 1
    assert "there is no such file" in reasons[-1]
    questions.write_text("[\n{]", encoding="utf-8")
    with pytest.raises(InputError, match=r"questions\.json:2: not JSON"):
        sorted_out("ottqa", tmp_path)
