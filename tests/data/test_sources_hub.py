"""Sets of the hub, written as they stand there and read as a user reads them."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from qwenlong.data import hub, rows
from qwenlong.data.hub import Part, Snapshot
from qwenlong.data.rows import Rejected
from qwenlong.data.sources import (
    docmath,
    docqa_rl,
    frames,
    hotpotqa,
    longbench,
    mrcr,
    multihoprag,
    musique,
    narrativeqa,
    qasper,
)
from qwenlong.rewards import registry
from qwenlong.types import Example, InputError
from tests.data.hub_rows import (
    ARTICLES,
    HOTPOT,
    MULTIHOP,
    MUSIQUE,
    NARRATIVE,
    SETS,
    Row,
    people,
    said,
)

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def _write(path: Path, content: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(content), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    else:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in content)
        path.write_text("".join(lines), encoding="utf-8")
    return path


def _read(name: str, path: Path, content: list[Row]) -> tuple[list[Example], list[Rejected]]:
    """Writes the rows as the hub has them and reads them as a user does."""
    file = _write(path, content)
    if name == "multihoprag":
        _write(path.parent / f"corpus{path.suffix}", ARTICLES)
    found = list(hub.read(SETS[name][0], file))
    examples = [item for item in found if isinstance(item, Example)]
    return examples, [item for item in found if isinstance(item, Rejected)]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "json"])
@pytest.mark.parametrize("name", SETS)
def test_rows_become_examples_that_their_verifier_reads(name, suffix, tmp_path) -> None:
    source, content, kinds = SETS[name]
    examples, rejected = _read(name, tmp_path / f"train.{suffix}", content)
    assert not rejected
    assert [example.kind for example in examples] == kinds
    for example in examples:
        assert example.source == source.name == name
        assert example.id and example.question and all(example.documents)
        assert example.group.startswith(f"{name}:")
        assert all(0 <= place < len(example.documents) for place in example.gold_documents)
        json.dumps(dict(example.metadata))
        joint = "; " if example.kind in ("list", "order") else None
        told = joint.join(example.answers) if joint else example.answers[0]
        response = told if example.kind == "summary" else f"Therefore, the answer is {told}."
        registry.verifier(example)
        assert registry.score(example, response, thinking=False).value == 1.0, example
    again, _ = _read(name, tmp_path / f"train.{suffix}", content)
    assert again == examples
    assert len({example.id for example in examples}) == len(examples)


def _gone(*keys: str | int) -> Callable[[Row], None]:
    def change(row: Any) -> None:
        for key in keys[:-1]:
            row = row[key]
        del row[keys[-1]]

    return change


def _set(value: Any, *keys: str | int) -> Callable[[Row], None]:
    def change(row: Any) -> None:
        for key in keys[:-1]:
            row = row[key]
        row[keys[-1]] = value

    return change


GOLD = ("reward_model", "ground_truth")
BROKEN = [
    ("docqa_rl", _gone("reward_model"), "reward_model is missing"),
    ("docqa_rl", _set("Read it. Who?", "prompt", 0, "content"), "no <text>document</text>"),
    ("docqa_rl", _set(7, *GOLD), "ground_truth must be a text, is a number"),
    ("docqa_rl", _set("", *GOLD), "ground_truth is blank"),
    ("docqa_rl", _set("doc-x", "ability"), "ability='doc-x': must be doc-math, doc-mc or doc-qa"),
    ("docmath", _gone("paragraphs"), "paragraphs is missing, which docmath has"),
    ("docmath", _set("x", "paragraphs"), "paragraphs must be a list of texts"),
    ("docmath", _set(None, "ground_truth"), "ground_truth is not given"),
    ("docmath", _set([5], "table_evidence"), "evidence 5 is beyond the 3 paragraphs"),
    ("frames", _gone("wiki_items"), "has links to its pages and not their texts"),
    ("frames", _set("x", "wiki_items"), "wiki_items must be a list of objects, is a text"),
    ("frames", _set(" ", "Answer"), "Answer is blank"),
    ("hotpotqa", _gone("context"), "context is missing"),
    ("hotpotqa", _set(["Tarn", "Hull"], "supporting_facts", "title"), "page 'Hull' is not"),
    ("hotpotqa", _set(None, "answer"), "answer is not given"),
    ("hotpotqa", _set("x", "context", "sentences"), "context must be a list of objects"),
    ("wikimultihop", _gone("supporting_facts"), "supporting_facts is missing"),
    ("wikimultihop", _set([["a", "b"]], "evidences"), "evidences must hold triples"),
    ("wikimultihop", _set("?!", "answer"), "answer='?!' has neither letters nor digits"),
    ("musique", _gone("paragraphs"), "paragraphs is missing"),
    ("musique", _set("yes", "answerable"), "answerable must be true or false"),
    ("musique", _set("1960", "answer_aliases"), "answer_aliases must be a list of texts"),
    ("musique", _set("", "answer"), "answer is blank"),
    ("narrativeqa", _gone("document", "text"), "text is missing, which narrativeqa has"),
    ("narrativeqa", _set("Why?", "question"), "question must be an object, is a text"),
    ("narrativeqa", _set([], "answers"), "answers is empty"),
    ("qasper", _gone("full_text"), "full_text is missing"),
    ("qasper", _set("x", "qas"), "qas must be a list of objects, is a text"),
    ("qasper", _set(people(said()), "qas", "answers", 0), "question q0: an answer is empty"),
    ("longbench", _gone("answers"), "answers is missing"),
    ("longbench", _set("Ada", "answers"), "answers must be a list of texts, is a text"),
    ("longbench", _set([""], "answers"), "answers is empty"),
    ("longbench", _set("gov_report", "dataset"), "dataset='gov_report': must be one of"),
    ("longbench_v2", _gone("choice_C"), "choice_C is missing"),
    ("longbench_v2", _set(3, "context"), "context must be a text, is a number"),
    ("longbench_v2", _set("E", "answer"), "answer='E': must be one of A, B, C, D"),
    ("multihoprag", _gone("query"), "query is missing"),
    ("multihoprag", _set("x", "evidence_list"), "evidence_list must be a list of objects"),
    ("multihoprag", _set("https://y", "evidence_list", 0, "url"), "https://y is not in the corpus"),
    ("multihoprag", _set("", "answer"), "answer is blank"),
    ("mrcr", _gone("random_string_to_prepend"), "random_string_to_prepend is missing"),
    ("mrcr", _set("[not json", "prompt"), "prompt is a text that is not JSON"),
    ("mrcr", _set("x7Q", "answer"), "answer does not begin with 'x7Q' and go on"),
    ("golongrl", _gone("ability"), "ability is missing"),
    ("golongrl", _gone("extra_info", "question"), "extra_info.question is missing"),
    ("golongrl", _set({"doc_ids": [], "golden_label": ""}, *GOLD), "ground_truth is empty"),
    ("golongrl", _set("Ada", *GOLD), "ground_truth must be an object, is a text"),
]


@pytest.mark.parametrize(("name", "change", "why"), BROKEN)
def test_a_broken_row_is_rejected_by_name_and_the_rest_is_read(name, change, why, tmp_path) -> None:
    content = SETS[name][1]
    broken = copy.deepcopy(content[0])
    change(broken)
    examples, rejected = _read(name, tmp_path / "train.jsonl", [broken, *content])
    assert [item.where for item in rejected] == [f"{tmp_path / 'train.jsonl'}:1"]
    assert why in rejected[0].why
    assert len(examples) == len(SETS[name][2]) + (4 if "q0" in why else 0)


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9), st.floats(), st.sampled_from(["", "x", "yes"])
)
ANY = st.recursive(ODD, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
    st.sampled_from(["title", "answer", "url"]), inner, max_size=2
), max_leaves=3)  # fmt: skip


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(st.sampled_from(sorted(SETS)), st.data())
def test_whatever_stands_in_a_row_no_reader_breaks(tmp_path, name, data) -> None:
    row: Any = copy.deepcopy(SETS[name][1][0])
    broken = row
    for _ in range(data.draw(st.integers(0, 4))):
        keys = sorted(broken) if isinstance(broken, dict) else range(len(broken))
        inner = [key for key in keys if isinstance(broken[key], dict | list) and broken[key]]
        if not inner:
            break
        broken = broken[data.draw(st.sampled_from(inner))]
    keys = sorted(broken) if isinstance(broken, dict) else range(len(broken))
    broken[data.draw(st.sampled_from(keys))] = data.draw(ANY)
    examples, rejected = _read(name, tmp_path / "train.jsonl", [row])
    assert examples or rejected
    for example in examples:
        parts = [example.id, example.question, *example.documents, *example.answers]
        assert all(isinstance(part, str) and part for part in parts)


def test_what_stands_in_the_examples(tmp_path) -> None:
    def one(name: str, place: int = 0) -> Example:
        return _read(name, tmp_path / name / "train.jsonl", SETS[name][1])[0][place]

    assert one("docqa_rl").documents == ("The mill of Orrow made 32.4 tons.",)
    assert one("docqa_rl", 1).question == "Who mills?"
    assert one("docqa_rl", 1).metadata["options"] == {"A": "Bo", "B": "Ada"}
    assert one("docmath").answers == ("-31",) and one("docmath").gold_documents == (1, 2)
    assert one("hotpotqa").gold_documents == (1, 2)
    assert one("hotpotqa").reasoning == 'The passage "Tarn" says: Tarn is a town.'
    assert one("wikimultihop").reasoning == "Orrow, founder: Ada. Ada, father: Bo Tarn."
    assert one("musique").answers == ("1960", "in 1960")
    told = 'Orrow, owner: Ada ("Orrow"). When was Ada born? 1960 ("Ada").'
    assert one("musique").reasoning == told
    assert one("qasper").answers == ("oak", "Oak")
    assert one("qasper").documents[0].endswith("Method\nWe use oak.\nAnd ash.")
    assert one("longbench").documents == ("Passage 1:\nA\nAda.", "Passage 2:\nB\nBo.")
    assert len(one("longbench", 5).documents) == 2
    null = one("multihoprag", 2)
    assert null.answers == ("unanswerable",) and null.documents[0].startswith("Ash\nThe Orrow Post")
    assert not null.gold_documents and not null.metadata["answerable"]
    assert one("mrcr").documents[0].startswith("User: write a poem about mills\n\nAssistant: The")
    assert one("golongrl", 1).question == "Who mills?"
    assert one("golongrl").documents == ("Read this.\n\nAda mills, Bo bakes.",)


def test_a_question_that_its_paragraphs_do_not_answer(tmp_path) -> None:
    content = [MUSIQUE[0], {**MUSIQUE[0], "answerable": False}]
    answered, other = _read("musique", tmp_path / "musique_full_v1.0_dev.jsonl", content)[0]
    assert (other.kind, other.answers) == ("yes_no", ("unanswerable",))
    assert other.id != answered.id and other.group == answered.group
    assert registry.score(other, "It cannot be answered.", thinking=False).value == 1.0


def test_the_originals_of_hotpot_and_2wiki_are_read_too(tmp_path) -> None:
    context = [[t, s] for t, s in zip(*HOTPOT[0]["context"].values(), strict=True)]
    facts = [["Tarn", 0], ["Orrow", 0]]
    old = {"_id": "5a8b", "question": "Who?", "answer": "Ada", "context": context}
    texts = {"supporting_facts": json.dumps(facts), "context": json.dumps(context)}
    for row in ({**old, "supporting_facts": facts}, {**old, **texts}):
        for name in ("hotpotqa", "wikimultihop"):
            examples, rejected = _read(name, tmp_path / f"{name}.json", [row])
            assert not rejected and examples[0].gold_documents == (1, 2)


def test_a_snapshot_folder_is_read_by_subset(tmp_path) -> None:
    for name in ("distractor/train", "distractor/validation", "fullwiki/validation"):
        row = {**HOTPOT[0], "question": name}
        _write(tmp_path / f"{name}-00000-of-00001.parquet", [row])
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / ".cache").mkdir()
    _write(tmp_path / ".cache" / "distractor-train.parquet", HOTPOT)
    for subset in ("distractor/train", "distractor/validation", "fullwiki/validation"):
        found = list(hub.read(hotpotqa.SOURCE, tmp_path, subset))
        assert [e.question for e in found if isinstance(e, Example)] == [subset]
        assert found == list(rows.read(hotpotqa.SOURCE, tmp_path, subset))
    for subset, told in [
        ("", "has distractor/train, distractor/validation, fullwiki/validation; name one of them"),
        ("fullwiki/test", "no file of subset fullwiki/test is there"),
        ("dev", "subset=dev: must be one of distractor/train"),
    ]:
        with pytest.raises(InputError, match=told):
            list(hub.read(hotpotqa.SOURCE, tmp_path, subset))


@pytest.mark.parametrize(
    ("source", "files", "subset"),
    [
        (docqa_rl.SOURCE, ["DocQA_RL_1.6K_train.parquet", "DocQA_RL_1.6K_test.parquet"], "test"),
        (docmath.SOURCE, ["data/complong_testmini-0.parquet", "data/complong_test-0.parquet"], ""),
        (qasper.SOURCE, ["qasper/train/0000.parquet", "qasper/test/0000.parquet"], "test"),
        (musique.SOURCE, ["a_v1.0_train.jsonl", "musique_ans_v1.0_dev.jsonl"], "validation"),
        (longbench.SOURCE, ["data/hotpotqa.jsonl", "data/hotpotqa_e.jsonl"], "hotpotqa_e"),
        (mrcr.SOURCE, ["2needle/2needle_0.parquet", "4needle/4needle_0.parquet"], "4needle"),
    ],
)
def test_each_set_finds_its_own_files(source, files, subset, tmp_path) -> None:
    for place, name in enumerate(files):
        _write(tmp_path / name, [{"place": place}])
    got = source.rows(tmp_path, subset or "complong_test")
    assert [row for _, row in got] == [{"place": 1}]


def test_longbenchs_real_rows_are_read() -> None:
    folder = SHARED / "zh_longbench_multifieldqa"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    found = list(hub.read(longbench.SOURCE, folder))
    assert len(found) == 100 and all(isinstance(item, Example) for item in found)
    examples = [item for item in found if isinstance(item, Example)]
    assert len({example.group for example in examples}) == 71
    for example in examples:
        registry.verifier(example)


def test_a_large_json_list_is_read_object_by_object(tmp_path) -> None:
    content = [{"n": n, "text": "é" * (400_000 if n % 3 else 3)} for n in range(20)]
    file = _write(tmp_path / "data.json", content)
    read = [item for item in hub.json_rows(file) if not isinstance(item, Rejected)]
    assert [row for _, row in read] == content
    file.write_text('\ufeff [ {"n": 1}, 3, {"n": 2} ]', encoding="utf-8")
    first, second, third = hub.json_rows(file)
    assert second == Rejected(f"{file}: row 2", "must be an object, is a int")
    assert (first, third) == ((f"{file}: row 1", {"n": 1}), (f"{file}: row 3", {"n": 2}))
    for text, told in [('[{"n": 1}, {"n": ', "behind row 1"), ('[{"n": 1} {', "behind row 1")]:
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=told):
            list(hub.json_rows(file))


def test_rows_stream_through_datasets(tmp_path) -> None:
    """The hub's part is played by a folder, which ``load_dataset`` takes by the same call."""
    _write(tmp_path / "nqa" / "data" / "train-00000-of-00001.parquet", NARRATIVE)
    stand_in = Snapshot(str(tmp_path / "nqa"), {"train": Part("train")})
    streamed = list(hub.read(replace(narrativeqa.SOURCE, rows=stand_in), None))
    assert streamed == list(hub.read(narrativeqa.SOURCE, tmp_path / "nqa"))
    _write(tmp_path / "rag" / "MultiHopRAG.json", MULTIHOP)
    _write(tmp_path / "rag" / "corpus.json", ARTICLES)
    configs = [{"config_name": n, "data_files": f"{n}.json"} for n in ("MultiHopRAG", "corpus")]
    card = f"---\nconfigs: {json.dumps(configs)}\n---\n"
    (tmp_path / "rag" / "README.md").write_text(card, encoding="utf-8")
    both = replace(multihoprag.ROWS, hub=str(tmp_path / "rag"))
    streamed = list(hub.read(replace(multihoprag.SOURCE, rows=both), None))
    local = list(hub.read(multihoprag.SOURCE, tmp_path / "rag"))
    assert streamed == local
    asked = [item.question for item in local if isinstance(item, Example)]
    assert asked == [row["query"] for row in MULTIHOP]


def test_a_hub_out_of_reach_is_told_in_one_line() -> None:
    code = (
        "from qwenlong.data import hub\n"
        "from qwenlong.data.sources import longbench, musique\n"
        "from qwenlong.types import InputError\n"
        "for source, subset in ((musique.SOURCE, 'train'), (longbench.SOURCE, 'hotpotqa')):\n"
        "    try:\n        list(hub.read(source, None, subset))\n"
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
        list(hub.read(mrcr.SOURCE, tmp_path))
    with pytest.raises(InputError, match="there is no such file or folder"):
        list(hub.read(mrcr.SOURCE, tmp_path / "gone"))
    (tmp_path / "test.tsv").write_text("Prompt\tAnswer\n")
    with pytest.raises(InputError, match=r"test\.tsv: must be a \.parquet, \.jsonl, \.json file"):
        list(hub.read(frames.SOURCE, tmp_path / "test.tsv"))
    with pytest.raises(InputError, match="name one of them"):
        list(hub.read(hotpotqa.SOURCE, None))
