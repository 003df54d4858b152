"""Broken copies of published files: what cannot be read is named with its place, the rest stays."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwenlong.types import InputError
from tests.data.published import folder, sorted_out

Change = Callable[[Any], Any]


def lists_in(name: str) -> str:
    return {
        "tatqa": "tatqa_dataset_dev.json",
        "convfinqa": "convfinqa_dev.json",
        "hotpotqa": "hotpot_dev_distractor_sample100.json",
        "xquad": "xquad.en.json",
        "cmrc2018": "cmrc2018_dev.json",
    }[name]


def lines_in(name: str) -> str:
    return {
        "finqa": "finqa_valid.jsonl",
        "bamboo": "paperqa_4k.jsonl",
        "longbench": "multifieldqa_zh.half_dev.jsonl",
    }[name]


def without(key: str) -> Change:
    return lambda row: {name: value for name, value in row.items() if name != key}


def with_(key: str, value: Any) -> Change:
    return lambda row: {**row, key: value}


def first_question(change: Change) -> Change:
    """Of a page of TAT-QA."""
    return lambda row: {**row, "questions": [change(row["questions"][0]), *row["questions"][1:]]}


def first_of_article(change: Change) -> Change:
    """Of a paragraph of SQuAD's form."""

    def changed(article: Any) -> Any:
        first, *paragraphs = article["paragraphs"]
        questions = [change(first["qas"][0]), *first["qas"][1:]]
        return {**article, "paragraphs": [{**first, "qas": questions}, *paragraphs]}

    return changed


LISTS: list[tuple[str, Change, str]] = [
    ("tatqa", without("paragraphs"), "paragraphs is missing"),
    ("tatqa", without("questions"), "questions is missing, which tatqa has"),
    ("tatqa", with_("table", {"uid": "x", "table": [["a"], ["b", "c"]]}), "rows of one length"),
    ("tatqa", first_question(with_("scale", "dozen")), "scale='dozen' must be one of"),
    ("tatqa", first_question(with_("answer_type", "essay")), "answer_type='essay' is none"),
    ("tatqa", first_question(with_("answer", [])), "answer is empty"),
    ("tatqa", first_question(with_("answer", 5)), "answer must be a list, is a number"),
    ("tatqa", first_question(with_("rel_paragraphs", ["9"])), "has '9', and there is no such"),
    ("tatqa", first_question(without("uid")), "uid is missing, which tatqa has"),
    ("convfinqa", without("programs"), "programs is missing"),
    ("convfinqa", with_("id", "page 3"), "id='page 3' must be like"),
    ("convfinqa", with_("answer", "n/a"), "'n/a' is no number"),
    ("convfinqa", with_("table", ""), "table is blank"),
    ("convfinqa", with_("text", None), "not of convfinqa's form"),
    ("hotpotqa", without("para_a"), "para_a is missing"),
    ("hotpotqa", with_("supporting_facts", [[0], ["1"]]), "must number sentences, has '1'"),
    ("hotpotqa", with_("answer", None), "answer is not given"),
    ("hotpotqa", with_("question", " "), "question is blank"),
    ("hotpotqa", with_("distractors", [["a"]]), "not of hotpotqa's form: not enough values"),
    ("xquad", without("paragraphs"), "paragraphs is missing, which SQuAD has"),
    ("xquad", with_("paragraphs", ["x"]), "not of SQuAD's form: string indices"),
    ("xquad", with_("paragraphs", [{"context": "x", "qas": ["y"]}]), "not of SQuAD's form: 'str'"),
    ("xquad", first_of_article(with_("answers", None)), "answers must be a list"),
    ("xquad", first_of_article(with_("answers", [{"text": "Oslo"}])), "none stands in"),
    ("xquad", first_of_article(without("question")), "question must be a text, is null"),
    ("cmrc2018", first_of_article(with_("answers", [])), "text is empty"),
]
LINES: list[tuple[str, Change, str]] = [
    ("finqa", without("id"), "id is missing"),
    ("finqa", with_("conversations", []), "conversations is empty"),
    ("finqa", with_("conversations", [{"from": "human", "value": "Hi"}]), "must be a text|not of"),
    ("bamboo", with_("answer", "E"), "answer 'E' is none of the options A, B, C, D"),
    ("bamboo", with_("options", ["A. x", "B. ", "C. y", "D. z"]), "an option is blank"),
    ("bamboo", with_("options", "A. x"), "options must be a list, is a text"),
    ("bamboo", without("content"), "content is missing"),
    ("longbench", with_("dataset", "gov_report"), "dataset='gov_report': must be one of"),
    ("longbench", with_("answers", [1]), "answers must hold texts only, holds a number"),
]


@pytest.mark.parametrize(("name", "change", "why"), LISTS)
def test_a_broken_row_of_a_list(name: str, change: Change, why: str, tmp_path: Path) -> None:
    whole = json.loads((folder(name) / lists_in(name)).read_text(encoding="utf-8"))
    first, second, third = (whole["data"] if isinstance(whole, dict) else whole)[:3]

    def read(records: list[Any]) -> Any:
        content = {"data": records} if isinstance(whole, dict) else records
        file = tmp_path / lists_in(name)
        file.write_text(json.dumps(content), encoding="utf-8")
        return sorted_out(name, file)

    sound, _ = read([first, third])
    assert sound
    examples, rejected = read([first, change(second), third])
    assert rejected and why in rejected[0].why
    assert rejected[0].where.startswith(f"{tmp_path / lists_in(name)}: row 2")
    assert {each.id for each in sound} <= {each.id for each in examples}
    examples, rejected = read([first, "nothing", third])
    assert [each.why for each in rejected] == ["must be an object, is a text"]
    assert examples == sound


@pytest.mark.parametrize(("name", "change", "why"), LINES)
def test_a_broken_line(name: str, change: Change, why: str, tmp_path: Path) -> None:
    lines = (folder(name) / lines_in(name)).read_bytes().split(b"\n")
    first, second, third = lines[0], lines[2], lines[3]
    broken = json.dumps(change(json.loads(second, strict=False))).encode()
    file = tmp_path / lines_in(name)
    file.write_bytes(b"\n".join([first, broken, b'{"a": }', b"\xff\xfe", b"", b"[]", third]))
    examples, rejected = sorted_out(name, file)
    assert len(examples) == 2
    assert [each.where for each in rejected] == [f"{file}:{number}" for number in (2, 3, 4, 6)]
    assert any(part in rejected[0].why for part in why.split("|")), rejected[0].why
    assert "not JSON: Expecting value" in rejected[1].why
    assert "not UTF-8 (byte 1 of the line)" in rejected[2].why
    assert "must be an object, is a list" in rejected[3].why


@pytest.mark.parametrize("name", ["tatqa", "convfinqa", "xquad", "cmrc2018"])
def test_a_list_that_is_none(name: str, tmp_path: Path) -> None:
    file = tmp_path / lists_in(name)
    for content, why in {
        b'[\n{"a": ]': r":2: not JSON",
        b"[\xff]": r"not UTF-8 \(byte 2\)",
        b"5": "not of the form that is expected",
    }.items():
        file.write_bytes(content)
        with pytest.raises(InputError, match=why):
            sorted_out(name, tmp_path)
    with pytest.raises(InputError, match=r"needs|no such file|file is there"):
        sorted_out(name, tmp_path / "nowhere")


CUAD = "master_clauses.subset.csv"
ALCO = "ALCOSTORESINC_12_14_2005-EX-10.26-AGENCY AGREEMENT"


def copy_of_cuad(path: Path, change: Change) -> None:
    """One contract, its row changed."""
    (path / "contracts").mkdir()
    with (folder("cuad") / CUAD).open(encoding="utf-8", newline="") as file:
        (row,) = [each for each in csv.DictReader(file) if each["contract_file"] == f"{ALCO}.txt"]
    changed = change(row)
    with (path / CUAD).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, changed)
        writer.writeheader()
        writer.writerow(changed)
    shutil.copyfile(
        folder("cuad") / "contracts" / f"{ALCO}.txt", path / "contracts" / f"{ALCO}.txt"
    )


@pytest.mark.parametrize(
    ("change", "why", "count"),
    [
        (without("Insurance"), "Insurance is missing, which cuad has", 1),
        (without("Insurance-Answer"), "Insurance-Answer is missing, which cuad has", 1),
        (with_("Insurance", "cover"), "Insurance must be a list of quotations, is 'cover'", 1),
        (with_("Insurance", "['five ships']"), "1 of 1 quotations of Insurance do not stand", 1),
        (with_("Insurance-Answer", "Perhaps"), "Insurance-Answer='Perhaps' must be Yes or No", 1),
        (with_("Agreement Date-Answer", "soon"), "Agreement Date-Answer='soon' is no date", 1),
        (with_("contract_file", "other.txt"), "other.txt: cannot be read: No such file", 46),
    ],
)
def test_a_broken_row_of_cuad(change: Change, why: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    copy_of_cuad(tmp_path / "sound", lambda row: row)
    sound, known = sorted_out("cuad", tmp_path / "sound")
    (tmp_path / "broken").mkdir()
    copy_of_cuad(tmp_path / "broken", change)
    examples, rejected = sorted_out("cuad", tmp_path / "broken")
    (found,) = [each for each in rejected if why in each.why]
    assert found.where.startswith(f"{tmp_path / 'broken' / CUAD}:2")
    assert len(known) == 1 and len(sound) - len(examples) <= count


def test_upstreams_own_names_of_cuad(tmp_path: Path) -> None:
    copy_of_cuad(tmp_path, without("contract_file"))
    (tmp_path / CUAD).rename(tmp_path / "master_clauses.csv")
    (tmp_path / "contracts").rename(tmp_path / "full_contract_txt")
    examples, _ = sorted_out("cuad", tmp_path)
    assert {example.group for example in examples} == {f"cuad:{ALCO}"}
    (tmp_path / "full_contract_txt" / f"{ALCO}.txt").write_bytes(b"\xff")
    assert "not UTF-8 (byte 1)" in sorted_out("cuad", tmp_path)[1][0].why
    with pytest.raises(InputError, match=r"must be a folder with one master_clauses\*\.csv"):
        sorted_out("cuad", tmp_path / "nowhere")


def test_broken_files_of_fairytaleqa(tmp_path: Path) -> None:
    """Upstream's folders; of four stories three are broken in one way each."""
    stories = ("Snow-man", "a-fish-story", "buckwheat", "races")
    for kind, ending in (("questions", "questions"), ("section-stories", "story")):
        (tmp_path / "data-by-train-split" / kind / "train").mkdir(parents=True)
        for story in stories:
            file = f"{story}-{ending}.csv"
            target = tmp_path / "data-by-train-split" / kind / "train" / file
            shutil.copyfile(folder("fairytaleqa") / kind / file, target)
    sound, rejected = sorted_out("fairytaleqa", tmp_path)
    assert not rejected and len({example.group for example in sound}) == 4
    texts = tmp_path / "data-by-train-split" / "section-stories" / "train"
    (texts / "a-fish-story-story.csv").write_bytes(b"section,text\n1,\xe9t\xe9\n")
    (texts / "buckwheat-story.csv").write_text("section,body\n1,Once\n")
    (texts / "races-story.csv").unlink()
    questions = tmp_path / "data-by-train-split" / "questions" / "train"
    snow = questions / "Snow-man-questions.csv"
    lines = snow.read_text(encoding="utf-8").split("\n")
    lines[1] = lines[1].replace(",1,action", ",99,action")
    lines[2] = lines[2].replace("explicit", "guessed")
    lines[3] = "3,local"
    snow.write_text("\n".join(lines), encoding="utf-8")
    examples, rejected = sorted_out("fairytaleqa", tmp_path, "train")
    why = [each.why for each in rejected]
    assert "cor_section=99: the story has no section 99" in why[0]
    assert "ex-or-im1='guessed' must be explicit or implicit" in why[1]
    assert why[2] == "not the 14 columns" and rejected[2].where == f"{snow}:4"
    assert "a-fish-story-story.csv: not UTF-8" in why[3]
    assert "buckwheat-story.csv:2: text is missing" in why[4]
    assert "races-story.csv: there is no such file" in why[5]
    kept = [each for each in sound if each.group == "fairytaleqa:Snow-man"][3:]
    assert list(examples) == kept and len(rejected) == 6
    with pytest.raises(InputError, match="must be a folder with questions/"):
        sorted_out("fairytaleqa", tmp_path / "nowhere")
