"""Every set of shared/data is converted, with nothing lost; test_solutions scores its answers."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from itertools import chain

import pytest

from qwenlong.data.rows import Source
from qwenlong.rewards.registry import score
from qwenlong.types import InputError
from tests.data.published import DATA, FOLDERS, folder, sorted_out, whole

QUESTIONS = {
    "ottqa": 897,
    "hotpotqa": 100,
    "tatqa": 1668,
    "convfinqa": 421,
    "finqa": 883,
    "bamboo": 200,
    "xquad": 4 * 1190,
    "cmrc2018": 3219,
    "longbench": 100,
    "fairytaleqa": 8548,
}
"""As the README of shared/data has them; CUAD has clauses, not questions."""
GROUPS = {
    "hotpotqa": 100,
    "tatqa": 278 - 5,  # pages of one report
    "bamboo": 25 + 32 - 1,  # of one meeting, all questions are without options
    "cuad": 60,
    "xquad": 48,
    "cmrc2018": 848,
    "longbench": 71,
    "fairytaleqa": 232,
}
"""Documents: papers and meetings, contracts, articles, paragraphs, texts, stories."""
KINDS = {
    "ottqa": {"extractive": 897},
    "hotpotqa": {"extractive": 92, "yes_no": 8},
    "tatqa": {"numeric": 718 + 32 + 343, "extractive": 701 - 343, "list": 217},
    "convfinqa": {"numeric": 418, "yes_no": 1},
    "finqa": {"numeric": 873, "yes_no": 10},
    "bamboo": {"choice": 179},
    "cuad": {"yes_no": 33 * 60, "extractive": 563, "list": 237, "date": 117},
    "xquad": {"extractive": 4760},
    "cmrc2018": {"extractive": 3219},
    "longbench": {"summary": 80, "numeric": 17, "date": 3},
    "fairytaleqa": {"summary": 5680, "extractive": 2868},
}
REASONS = {
    "convfinqa": {"which asks for one of two": 2},
    "bamboo": {"options must have the letters": 20, "is none of the options": 1},
    "cuad": {"do not stand in the contract": 81, "is no date": 20, "an unfilled form": 7},
}


@pytest.mark.parametrize("name", FOLDERS)
def test_no_question_is_lost(name: str) -> None:
    examples, rejected = whole(name)
    if name in QUESTIONS:
        assert len(examples) + len(rejected) == QUESTIONS[name]
    assert Counter(example.kind for example in examples) == KINDS[name]
    for each in rejected:
        assert each.where.startswith(str(DATA)) and re.search(r":\d+|: row \d+", each.where)
    reasons = REASONS.get(name, {})
    counts = {part: sum(part in each.why for each in rejected) for part in reasons}
    assert counts == reasons
    assert sum(reasons.values()) == len(rejected)


@pytest.mark.parametrize("name", FOLDERS)
def test_every_example_is_whole(name: str) -> None:
    examples, _ = whole(name)
    assert len({example.id for example in examples}) == len(examples)
    owner: dict[str, str] = {}
    for example in examples:
        assert example.source == name == FOLDERS[name][0].name
        assert example.question.strip() and all(map(str.strip, example.documents))
        assert all(map(str.strip, example.answers)) and example.answers
        gold = example.gold_documents
        assert list(gold) == sorted(set(gold)) and set(gold) <= set(range(len(example.documents)))
        assert example.group.startswith(f"{name}:")
        assert example.metadata["language"] in ("en", "zh", "es", "ar")
        if name != "hotpotqa":  # its distractors come back
            # Headings of reports do, too.
            for document in (each for each in example.documents if len(each) > 120):
                assert owner.setdefault(document, example.group) == example.group
    if name in GROUPS:
        assert len({example.group for example in examples}) == GROUPS[name]


@pytest.mark.parametrize("name", ["xquad", "cmrc2018", "cuad", "hotpotqa", "ottqa"])
def test_answers_stand_in_the_gold_documents(name: str) -> None:
    def plain(text: str) -> str:
        return re.sub(r"[\W_]+", "", text).lower()

    texts: dict[str, str] = {}
    for example in whole(name)[0]:
        if example.kind in ("yes_no", "date") or example.metadata.get("form") == "answer":
            continue
        gold = "\n".join(example.documents[at] for at in example.gold_documents)
        text = texts.setdefault(gold, plain(gold))
        if name == "cmrc2018":  # a few annotators wrote their own words
            assert any(plain(answer) in text for answer in example.answers)
        elif name != "hotpotqa":
            assert all(plain(answer) in text for answer in example.answers), example.id
    if name == "hotpotqa":
        words = [
            plain(example.answers[0]) in plain("".join(example.documents))
            for example in whole(name)[0]
            if example.kind == "extractive"
        ]
        assert sum(words) >= 90  # some answers are put together


def test_all_of_tatqa_is_there() -> None:
    path = folder("tatqa") / "tatqa_dataset_dev.json"
    pages = json.loads(path.read_text(encoding="utf-8"))
    examples = {example.id: example for example in whole("tatqa")[0]}
    for page in pages:
        texts = [part["text"].strip() for part in page["paragraphs"]]
        for question in page["questions"]:
            table, *paragraphs = examples[question["uid"]].documents
            assert paragraphs == texts
            assert all(
                cell.strip() in table or cell == "-" for cell in chain(*page["table"]["table"])
            )
            gold = examples[question["uid"]].gold_documents
            assert (0 in gold) == ("table" in question["answer_from"])
            assert {str(at) for at in gold if at} == set(question["rel_paragraphs"])


def test_every_quotation_of_cuad_is_asked_for_or_rejected() -> None:
    with (folder("cuad") / "master_clauses.subset.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    spans = {
        (row["contract_file"][:-4], clause): ast.literal_eval(cell)
        for row in table
        for clause, cell in row.items()
        if cell.startswith("[") and not clause.endswith("Answer")
    }
    assert sum(map(len, spans.values())) == 1665
    asked = {
        (example.metadata["contract"], example.metadata["clause"]): example
        for example in whole("cuad")[0]
        if example.metadata["form"] == "spans"
    }
    for key, example in asked.items():
        assert set(example.answers) == {" ".join(span.split()) for span in spans[key]}
    quoted = [each.why for each in whole("cuad")[1] if "do not stand in" in each.why]
    assert sum(int(why.split()[0]) for why in quoted) == 1665 - 1568
    left_out = sum(bool(cell) for cell in spans.values()) - len(asked)
    assert left_out == 81 + 7


@pytest.mark.parametrize("name", ["finqa", "convfinqa"])
def test_a_percentage_of_three_digits_is_right_for_a_fraction(name: str) -> None:
    tried = 0
    for example in whole(name)[0]:
        if example.kind != "numeric" or "percent" not in example.question:
            continue
        number, percent = float(example.answers[0]), example.metadata.get("scale") == "percent"
        if percent or 0 < abs(number) < 1:
            tried += 1
            said = f"{float(f'{number if percent else number * 100:.3g}'):f}%"
            assert score(example, f"Answer: {said}", thinking=False).value == 1.0, example.id
            opposite = said.removeprefix("-") if number < 0 else f"-{said}"
            assert score(example, f"Answer: {opposite}", thinking=False).value == 0.0
    assert tried > 150


@pytest.mark.parametrize("name", ["cuad", "fairytaleqa"])
def test_examples_share_the_text_of_their_documents(name: str) -> None:
    examples = whole(name)[0]
    held = {id(text): len(text) for example in examples for text in example.documents}
    needed = {text: len(text) for example in examples for text in example.documents}
    assert sum(held.values()) <= 1.01 * sum(needed.values())


def test_documents_are_those_of_the_readme() -> None:
    pages = {example.metadata["table_id"] for example in whole("tatqa")[0]}
    assert len(pages) == 278
    stories = {example.metadata["story"] for example in whole("fairytaleqa")[0]}
    assert len(stories) == 232
    explicit = [example.metadata["explicit"] for example in whole("fairytaleqa")[0]]
    assert sum(explicit) == 6412
    types = Counter(example.metadata["answer_type"] for example in whole("tatqa")[0])
    assert types == {"arithmetic": 718, "span": 701, "multi-span": 217, "count": 32}
    paragraphs = {example.documents for example in whole("xquad")[0]}
    assert len(paragraphs) == 4 * 240
    parts = Counter(example.metadata["part"] for example in whole("bamboo")[0])
    assert parts == {"paperqa_4k": 100 - 9, "meetingqa_4k": 100 - 12}


def test_subsets() -> None:
    sizes = {
        ("xquad", "zh"): 1190,
        ("bamboo", "meetingqa_4k"): 100,
        ("tatqa", "dev"): 1668,
        ("cmrc2018", "dev"): 3219,
    }
    for (name, subset), size in sizes.items():
        examples, rejected = sorted_out(name, folder(name), subset)
        assert len(examples) + len(rejected) == size
    with pytest.raises(InputError, match="subset=de: must be one of en, zh, es, ar"):
        sorted_out("xquad", folder("xquad"), "de")
    with pytest.raises(InputError, match=r"needs tatqa_dataset_train\.json"):
        sorted_out("tatqa", folder("tatqa"), "train")


@pytest.mark.parametrize("source", [source for source, _ in FOLDERS.values()])
def test_every_source_says_where_it_is_from(source: Source) -> None:
    assert source.licence and source.layout
    assert re.search(r"arXiv \d{4}\.\d{4,5}$", source.citation)
