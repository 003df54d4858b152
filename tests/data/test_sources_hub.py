"""Rows of the sets on the hub become examples; broken ones are named and left out."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwenlong.rewards import registry
from qwenlong.types import Example
from tests.data.hub_rows import (
    MUSIQUE,
    SETS,
    Row,
    people,
    said,
)
from tests.data.published import read_rows


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "json"])
@pytest.mark.parametrize("name", SETS)
def test_rows_become_examples_that_their_verifier_reads(name, suffix, tmp_path) -> None:
    source, content, kinds = SETS[name]
    examples, rejected = read_rows(name, tmp_path / f"train.{suffix}", content)
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
    again, _ = read_rows(name, tmp_path / f"train.{suffix}", content)
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
    examples, rejected = read_rows(name, tmp_path / "train.jsonl", [broken, *content])
    assert [item.where for item in rejected] == [f"{tmp_path / 'train.jsonl'}:1"]
    assert why in rejected[0].why
    assert len(examples) == len(SETS[name][2]) + (4 if "q0" in why else 0)


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9), st.floats(), st.sampled_from(["", "x", "yes"])
)
ANY = st.recursive(ODD, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
    st.sampled_from(["title", "answer", "url"]), inner, max_size=2
), max_leaves=3)  # fmt: skip


@settings(max_examples=150, derandomize=True, suppress_health_check=list(HealthCheck))
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
    examples, rejected = read_rows(name, tmp_path / "train.jsonl", [row])
    assert examples or rejected
    for example in examples:
        parts = [example.id, example.question, *example.documents, *example.answers]
        assert all(isinstance(part, str) and part for part in parts)


def test_what_stands_in_the_examples(tmp_path) -> None:
    def one(name: str, place: int = 0) -> Example:
        return read_rows(name, tmp_path / name / "train.jsonl", SETS[name][1])[0][place]

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
    answered, other = read_rows("musique", tmp_path / "musique_full_v1.0_dev.jsonl", content)[0]
    assert (other.kind, other.answers) == ("yes_no", ("unanswerable",))
    assert other.id != answered.id and other.group == answered.group
    assert registry.score(other, "It cannot be answered.", thinking=False).value == 1.0
