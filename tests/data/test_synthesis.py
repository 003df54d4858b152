"""Synthetic tasks over real corpora: solvable from documents and question, and paid for that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from qwenlong.data.synthesis import TASKS, keychain
from qwenlong.data.synthesis.corpus import Corpus
from qwenlong.rewards.registry import score, verifier
from qwenlong.types import CountTokens, Example, InputError
from tests.data.solvers import CORPORA, DATA, KEY, SOLVERS, squad_form, words

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not on this machine")

UNIQUE = ("needles", "keychain", "multihop", "cited")


# Running text is what test_shape and test_solutions hide all tasks in.
@pytest.fixture(
    scope="module",
    params=[pytest.param("Moby Dick", marks=pytest.mark.slow), "OTT-QA", "CMRC 2018"],
)
def filled(request: pytest.FixtureRequest) -> tuple[Corpus, str, CountTokens]:
    load, language, count = CORPORA[request.param]
    return load(), language, count


def made(
    kind: str, filled: tuple[Corpus, str, CountTokens], examples: int, tokens: int, **named: Any
) -> list[Example]:
    corpus, language, count = filled
    seed = named.pop("seed", 0)
    return list(TASKS[kind](corpus, examples, tokens, count, seed, language, **named))


def answered(stated: str) -> str:
    return f"<think>\nIt stands there.\n</think>\n\nTherefore, the answer is {stated}."


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize(
    ("examples", "tokens"), [(25, 1024), pytest.param(3, 65_536, marks=pytest.mark.slow)]
)
def test_a_reader_of_the_documents_finds_the_stated_answer(
    kind: str, examples: int, tokens: int, filled: tuple[Corpus, str, CountTokens]
) -> None:
    for example in made(kind, filled, examples, tokens):
        assert SOLVERS[kind](example.documents, example.question) == example.metadata["stated"]
        length = filled[2]("\n\n".join(example.documents))
        assert 0.97 * tokens <= length <= tokens


@pytest.mark.parametrize("kind", TASKS)
def test_the_verifier_pays_for_the_stated_answer_and_for_no_other(
    kind: str, filled: tuple[Corpus, str, CountTokens]
) -> None:
    examples = made(kind, filled, 16, 1024)
    for example, other in zip(examples, examples[1:] + examples[:1], strict=True):
        verifier(example)
        assert score(example, answered(example.metadata["stated"])).value == 1.0
        if other.answers != example.answers:
            assert score(example, answered(other.metadata["stated"])).value < 1.0


@pytest.mark.parametrize("kind", TASKS)
def test_what_an_example_says_of_itself_is_so(
    kind: str, filled: tuple[Corpus, str, CountTokens]
) -> None:
    for example in made(kind, filled, 15, 2048):
        text = "\n\n".join(example.documents)
        gold = "\n\n".join(example.documents[at] for at in example.gold_documents)
        assert example.group == example.id and example.source == kind
        assert len(example.reasoning) > 20
        assert json.loads(json.dumps(example.metadata)) == example.metadata
        assert example.gold_documents == tuple(sorted(set(example.gold_documents)))
        assert all(0 <= depth <= 1 for depth in example.metadata["depths"])
        if kind in UNIQUE:
            for answer in example.answers:
                assert text.count(answer) == gold.count(answer) == 1
                assert answer in example.reasoning
        if kind == "cited":
            cited = example.metadata["gold_citations"]
            for at, number in zip(example.gold_documents, cited, strict=True):
                label = example.documents[at].partition("\n")[0]
                assert re.findall(r"\d+", label) == [str(number)] == [str(at + 1)]
            # What is lengthened or cut gets new numbers: the reasoning must not name a number.
            assert not re.search(r"(?:[Pp]assage |段落|\[)\d", example.reasoning)
        if kind == "tables":
            result = eval(example.metadata["program"])
            form = "{:.2f}" if example.metadata["task"] == "ratio" else "{}"
            assert form.format(result) == example.answers[0]


def test_every_task_of_a_kind_has_its_turn(filled: tuple[Corpus, str, CountTokens]) -> None:
    tasks = {kind: {e.metadata["task"] for e in made(kind, filled, 15, 4096)} for kind in TASKS}
    assert tasks["needles"] == {"single", "multi_key", "multi_value"}
    assert tasks["tables"] == {"sum", "difference", "ratio", "argmax", "count"}
    assert tasks["ordering"] == {"years", "mentions"}
    assert tasks["multihop"] == {"links_1", "links_2", "links_3"}
    assert tasks["cited"] == {"passages_1", "passages_2"}
    phrased = {e.question.split("“")[0][:12] for e in made("tables", filled, 40, 1024)}
    assert len(phrased) > 2


@pytest.mark.parametrize("kind", TASKS)
def test_the_seed_decides_every_byte(kind: str, filled: tuple[Corpus, str, CountTokens]) -> None:
    first = repr(made(kind, filled, 3, 3000))
    assert repr(made(kind, filled, 4, 3000)[:3]) == first
    assert repr(made(kind, filled, 3, 3000, seed=1)) != first


def test_ids_are_of_their_corpus_length_and_seed() -> None:
    ids = [
        next(TASKS["needles"](squad_form(f"multiling_xquad/xquad.{language}.json", language), 1,
                               tokens, len, seed, language)).id
        for language in ("en", "zh") for tokens in (1024, 2048) for seed in (0, 1)
    ]  # fmt: skip
    assert len(set(ids)) == 8


@pytest.mark.slow
def test_depths_are_even_or_as_given(filled: tuple[Corpus, str, CountTokens]) -> None:
    depths = [e.metadata["depths"][0] for e in made("needles", filled, 300, 1024)[::3]]
    quarters = [sum(int(4 * depth) == quarter for depth in depths) for quarter in range(4)]
    assert min(quarters) > 12 and sum(quarters) >= 98
    for depth in (0.0, 0.5, 1.0):
        for kind in ("needles", "tables"):
            found = [
                place
                for example in made(kind, filled, 2, 16_384, depth=depth)
                for place in example.metadata["depths"]
            ]
            assert all(abs(place - depth) < 0.08 for place in found), (kind, found)


def test_links_of_the_corpus_are_followed_where_it_has_them() -> None:
    load, language, count = CORPORA["OTT-QA"]
    examples = list(TASKS["multihop"](load(), 30, 4096, count, 0, language))
    links = sum(len(example.metadata["titles"]) - 1 for example in examples)
    assert sum(example.metadata["links_of_the_corpus"] for example in examples) > links / 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_real_question_can_be_hidden_at_the_end_of_a_chain(language: str) -> None:
    examples = list(islice(xquad(language), 40))
    for example, *others in zip(examples, examples[9:], examples[19:], strict=False):
        asked = [other.question for other in others if other.question != example.question]
        hidden = keychain.hide(example, asked, 3)
        assert hidden == keychain.hide(example, asked, 3)
        assert hidden.group == example.id != hidden.id
        assert hidden.answers == example.answers and hidden.kind == example.kind
        assert example.question not in hidden.question
        text = "\n".join(hidden.documents)
        leads = dict(re.findall(rf"({KEY.pattern})[^.。?？:：]*?({KEY.pattern})[.。]", text))
        key = KEY.findall(hidden.question)[0]
        while key in leads:
            key = leads[key]
        end = re.search(rf"{key}(?: holds| ends|藏着|是终点)[^:：]*[:：] ?“", text)
        assert end and text.startswith(example.question, end.end())
        assert score(hidden, answered(example.answers[0])).value == 1.0
        linked = {at for at, document in enumerate(hidden.documents) if KEY.search(document)}
        assert 0 in hidden.gold_documents and linked.issuperset(hidden.gold_documents[1:])
        for before, after in zip(example.documents, hidden.documents, strict=True):
            sentences = [said for said in re.split(r"(?<=[.。?？]) ?", before) if said]
            assert all(said in after for said in sentences)


def xquad(language: str) -> Iterator[Example]:
    path = DATA / f"multiling_xquad/xquad.{language}.json"
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        texts = tuple(paragraph["context"] for paragraph in article["paragraphs"])
        for question in article["paragraphs"][0]["qas"]:
            answers = (question["answers"][0]["text"],)
            yield Example(
                question["id"], "xquad", question["question"], texts, answers, gold_documents=(0,)
            )


def test_what_cannot_be_made_is_told(filled: tuple[Corpus, str, CountTokens]) -> None:
    with pytest.raises(InputError, match=r"language='xx': must be one of en, zh"):
        made("needles", (filled[0], "xx", words), 1, 1024)
    with pytest.raises(InputError, match=r"depth=1\.5: must be from 0"):
        made("cited", filled, 1, 1024, depth=1.5)
    with pytest.raises(InputError, match=r"tokens=40: must be at least \d+"):
        made("keychain", (filled[0], filled[1], len), 1, 40)
    with pytest.raises(InputError, match="the corpus fills only"):
        made("tables", filled, 1, 2 * 10**6)
    other = "zh" if filled[1] == "en" else "en"
    with pytest.raises(InputError, match=f"language='{other}': the corpus has {filled[1]}"):
        made("counting", (filled[0], other, filled[2]), 1, 1024)
