"""The copies of a set: its forms are read alike, and each subset finds its own files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from qwenlong.data import rows
from qwenlong.data.registry import PUBLISHED
from qwenlong.data.rows import Rejected
from qwenlong.types import Example, InputError
from tests.data.hub_rows import (
    ARTICLES,
    HOTPOT,
    LONGBENCH,
    MULTIHOP,
    NARRATIVE,
)
from tests.data.published import FOLDERS, folder, read_rows, whole, write


def test_the_originals_of_hotpot_and_2wiki_are_read_too(tmp_path) -> None:
    context = [[t, s] for t, s in zip(*HOTPOT[0]["context"].values(), strict=True)]
    facts = [["Tarn", 0], ["Orrow", 0]]
    old = {"_id": "5a8b", "question": "Who?", "answer": "Ada", "context": context}
    texts = {"supporting_facts": json.dumps(facts), "context": json.dumps(context)}
    for row in ({**old, "supporting_facts": facts}, {**old, **texts}):
        for name in ("hotpotqa", "wikimultihop"):
            examples, rejected = read_rows(name, tmp_path / f"{name}.json", [row])
            assert not rejected and examples[0].gold_documents == (1, 2)


def test_a_snapshot_folder_is_read_by_subset(tmp_path) -> None:
    for name in ("distractor/train", "distractor/validation", "fullwiki/validation"):
        row = {**HOTPOT[0], "question": name}
        write(tmp_path / f"{name}-00000-of-00001.parquet", [row])
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / ".cache").mkdir()
    write(tmp_path / ".cache" / "distractor-train.parquet", HOTPOT)
    for subset in ("distractor/train", "distractor/validation", "fullwiki/validation"):
        found = list(rows.read(PUBLISHED["hotpotqa"], tmp_path, subset))
        assert [e.question for e in found if isinstance(e, Example)] == [subset]
    for subset, told in [
        ("", "has distractor/train, distractor/validation, fullwiki/validation; name one of them"),
        ("fullwiki/test", "no file of subset fullwiki/test is there"),
        ("dev", "subset=dev: must be one of distractor/train"),
    ]:
        with pytest.raises(InputError, match=told):
            list(rows.read(PUBLISHED["hotpotqa"], tmp_path, subset))


@pytest.mark.parametrize(
    ("name", "files", "subset"),
    [
        ("docqa_rl", ["DocQA_RL_1.6K_train.parquet", "DocQA_RL_1.6K_test.parquet"], "test"),
        ("docmath", ["data/complong_testmini-0.parquet", "data/complong_test-0.parquet"], ""),
        ("qasper", ["qasper/train/0000.parquet", "qasper/test/0000.parquet"], "test"),
        ("musique", ["a_v1.0_train.jsonl", "musique_ans_v1.0_dev.jsonl"], "validation"),
        ("longbench", ["data/hotpotqa.jsonl", "data/hotpotqa_e.jsonl"], "hotpotqa_e"),
        ("mrcr", ["2needle/2needle_0.parquet", "4needle/4needle_0.parquet"], "4needle"),
    ],
)
def test_each_set_finds_its_own_files(name, files, subset, tmp_path) -> None:
    for place, file in enumerate(files):
        write(tmp_path / file, [{"place": place}])
    source: Any = PUBLISHED[name]
    got = source.rows(source, tmp_path, subset or "complong_test")
    assert [row for _, row in got] == [{"place": 1}]


def test_multifieldqa_of_longbenchs_folder_and_of_a_file_of_its_own(tmp_path) -> None:
    known = whole("longbench")[0]
    file = folder("longbench") / "multifieldqa_zh.half_dev.jsonl"
    assert tuple(rows.read(PUBLISHED["longbench"], file)) == known
    assert tuple(rows.read(PUBLISHED["longbench"], file.parent, "multifieldqa_zh")) == known
    shutil.copyfile(file, write(tmp_path / "data" / "multifieldqa_zh.jsonl", []))
    write(tmp_path / "data" / "hotpotqa.jsonl", LONGBENCH[:1])
    write(tmp_path / "data" / "gov_report.jsonl", [{**LONGBENCH[0], "dataset": "gov_report"}])
    for path in (tmp_path, tmp_path / "data"):
        assert tuple(rows.read(PUBLISHED["longbench"], path, "multifieldqa_zh")) == known
        assert len(list(rows.read(PUBLISHED["longbench"], path, "hotpotqa"))) == 1
        with pytest.raises(InputError, match="has multifieldqa_zh, hotpotqa; name one of them"):
            list(rows.read(PUBLISHED["longbench"], path))


def test_the_sample_of_hotpotqa_is_like_the_other_forms(tmp_path) -> None:
    """The same questions, each written in all three."""
    sample = json.loads(next(folder("hotpotqa").glob("*.json")).read_text(encoding="utf-8"))
    original, on_hub = [], []
    for row in sample:
        gold = [[row[f"title_{each}"], row[f"para_{each}"]] for each in "ab"]
        context = [*gold, *([title, sentences] for title, sentences, _ in row["distractors"])]
        told = zip(gold, row["supporting_facts"], strict=True)
        facts = [[title, number] for (title, _), numbers in told for number in numbers]
        same = {key: row[key] for key in ("question", "answer")}
        original.append({"_id": row["_id"], **same, "context": context, "supporting_facts": facts})
        columns = {
            "context": {"title": [t for t, _ in context], "sentences": [s for _, s in context]},
            "supporting_facts": dict(
                zip(("title", "sent_id"), zip(*facts, strict=True), strict=True)
            ),
        }
        on_hub.append({"id": row["_id"], **same, **columns, "type": "bridge", "level": "hard"})

    def alike(examples: Iterable[Example]) -> list[Any]:
        return [
            (each.id, each.question, each.answers, each.kind, each.group, each.reasoning,
             sorted(each.documents), sorted(each.documents[at] for at in each.gold_documents))
            for each in examples
        ]  # fmt: skip

    known = alike(whole("hotpotqa")[0])
    for name, content in (("old.json", original), ("distractor-train.parquet", on_hub)):
        examples, rejected = read_rows("hotpotqa", tmp_path / name, content)
        assert not rejected and alike(examples) == known


@pytest.mark.parametrize("name", ["xquad", "cmrc2018"])
def test_a_hub_copy_of_squads_form_is_like_the_repositorys(name, tmp_path) -> None:
    """The same questions as the hub has them: without titles, articles and languages."""
    source, _ = FOLDERS[name]
    for file in folder(name).glob("*.json"):
        content = [
            {"id": asked["id"], "context": part["context"], "question": asked["question"],
             "answers": {"text": [a["text"] for a in asked["answers"]], "answer_start": [0]}}
            for article in json.loads(file.read_text(encoding="utf-8"))["data"]
            for part in article["paragraphs"]
            for asked in part["qas"]
        ]  # fmt: skip
        place = file.stem if name == "xquad" else "data"
        write(tmp_path / place / "validation-00000-of-00001.parquet", content)
    found = [item for item in rows.read(source, tmp_path) if isinstance(item, Example)]
    named = [replace(item, metadata={**item.metadata, "title": ""}) for item in whole(name)[0]]
    assert found == named and len({item.id for item in found}) == len(found)
    subset, language = {"xquad": ("es", "es"), "cmrc2018": ("dev", "zh")}[name]
    place_of = {"xquad": "xquad.es", "cmrc2018": "data"}
    part = [item for item in found if item.metadata["language"] == language]
    assert list(rows.read(source, tmp_path, subset)) == part
    file = tmp_path / place_of[name] / "validation-00000-of-00001.parquet"
    assert list(rows.read(source, file)) == part
    with pytest.raises(InputError, match="name one of them"):
        list(rows.read(source, None))


def test_a_file_of_xquad_that_does_not_tell_its_language(tmp_path) -> None:
    asked = {"id": "5", "context": "Ada.", "question": "Who?", "answers": {"text": ["Ada"]}}
    for suffix in ("json", "jsonl", "parquet"):
        file = write(tmp_path / f"some.{suffix}", [asked])
        (found,) = rows.read(PUBLISHED["xquad"], file, "en")
        assert isinstance(found, Example) and (found.id, found.group) == ("5-en", "xquad:5")
        with pytest.raises(InputError, match="does not tell its language; name it, such as en"):
            list(rows.read(PUBLISHED["xquad"], file))


def test_a_large_json_list_is_read_object_by_object(tmp_path) -> None:
    content = [{"n": n, "text": "é" * (400_000 if n % 3 else 3)} for n in range(20)]
    file = write(tmp_path / "data.json", content)
    read = [item for item in rows.json_rows(file) if not isinstance(item, Rejected)]
    assert [row for _, row in read] == content
    file.write_text('\ufeff [ {"n": 1}, 3, {"n": 2} ]', encoding="utf-8")
    first, second, third = rows.json_rows(file)
    assert second == Rejected(f"{file}: row 2", "must be an object, is a number")
    assert (first, third) == ((f"{file}: row 1", {"n": 1}), (f"{file}: row 3", {"n": 2}))
    for text, told in [('[{"n": 1}, {"n": ', "behind row 1"), ('[{"n": 1} {', "behind row 1")]:
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=told):
            list(rows.json_rows(file))


def test_rows_stream_through_datasets(tmp_path) -> None:
    """The hub's part is played by a folder, which ``load_dataset`` takes by the same call."""
    write(tmp_path / "nqa" / "data" / "train-00000-of-00001.parquet", NARRATIVE)
    stand_in = replace(PUBLISHED["narrativeqa"], hub=str(tmp_path / "nqa"))
    streamed = list(rows.read(stand_in, None, "train"))
    assert streamed == list(rows.read(PUBLISHED["narrativeqa"], tmp_path / "nqa"))
    write(tmp_path / "rag" / "MultiHopRAG.json", MULTIHOP)
    write(tmp_path / "rag" / "corpus.json", ARTICLES)
    configs = [{"config_name": n, "data_files": f"{n}.json"} for n in ("MultiHopRAG", "corpus")]
    card = f"---\nconfigs: {json.dumps(configs)}\n---\n"
    (tmp_path / "rag" / "README.md").write_text(card, encoding="utf-8")
    stand_in = replace(PUBLISHED["multihoprag"], hub=str(tmp_path / "rag"))
    streamed = list(rows.read(stand_in, None))
    local = list(rows.read(PUBLISHED["multihoprag"], tmp_path / "rag"))
    assert streamed == local
    asked = [item.question for item in local if isinstance(item, Example)]
    assert asked == [row["query"] for row in MULTIHOP]


def test_a_hub_out_of_reach_is_told_in_one_line() -> None:
    code = (
        "from qwenlong.data import rows\n"
        "from qwenlong.data.registry import PUBLISHED\n"
        "from qwenlong.types import InputError\n"
        "for name, subset in (('musique', 'train'), ('longbench', 'hotpotqa')):\n"
        "    try:\n        list(rows.read(PUBLISHED[name], None, subset))\n"
        "    except InputError as error:\n        print(error)\n"
    )
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=offline, capture_output=True, text=True, check=True
    )
    lines = ran.stdout.splitlines()
    assert len(lines) == 2
    for line, name in zip(lines, ("dgslibisey/MuSiQue", "zai-org/LongBench"), strict=True):
        assert line.startswith(f"{name}: cannot be had from the Hugging Face hub (")
        assert f"hf download {name} --repo-type dataset --local-dir DIR" in line
        assert line.endswith("then set path to DIR")


def test_a_path_that_holds_nothing_is_told(tmp_path) -> None:
    with pytest.raises(InputError, match=r"no \.parquet, \.jsonl, \.json file is there"):
        list(rows.read(PUBLISHED["mrcr"], tmp_path))
    with pytest.raises(InputError, match="there is no such file or folder"):
        list(rows.read(PUBLISHED["mrcr"], tmp_path / "gone"))
    (tmp_path / "test.tsv").write_text("Prompt\tAnswer\n")
    with pytest.raises(InputError, match=r"test\.tsv: must be a \.parquet, \.jsonl, \.json file"):
        list(rows.read(PUBLISHED["frames"], tmp_path / "test.tsv"))
    with pytest.raises(InputError, match="name one of them"):
        list(rows.read(PUBLISHED["hotpotqa"], None))
