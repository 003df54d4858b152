"""Lengthened examples: exact lengths, gold where it was asked for, no second answer, same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from qwenlong.data.gold import gold_of
from qwenlong.data.length.distractors import Pool, documents_of, pool_of
from qwenlong.data.length.lengthen import lengthened
from qwenlong.data.prompts import Renderer
from qwenlong.data.words import folded
from qwenlong.types import Example, InputError


@pytest.fixture
def renderer(hotpot_renderer: Renderer) -> Renderer:
    return hotpot_renderer


@pytest.fixture
def pool(hotpot_pool: Pool) -> Pool:
    return hotpot_pool


def added(example: Example, documents: Sequence[str]) -> list[str]:
    return [text for text in documents if text not in set(example.documents)]


@pytest.mark.parametrize(
    ("tokens", "kind", "depth", "count"),
    [
        (4_096, "hard", None, 30),
        (8_192, "hard", 0.5, 10),
        (8_192, "random", 0.0, 10),
        pytest.param(32_768, "hard", None, 5, marks=pytest.mark.slow),
        pytest.param(131_072, "random", 0.25, 1, marks=pytest.mark.slow),
    ],
)
def test_every_length_is_met_and_nothing_else_answers(
    hotpot: tuple[Example, ...],
    pool: Pool,
    renderer: Renderer,
    tokens: int,
    kind: str,
    depth: float | None,
    count: int,
) -> None:
    for example in hotpot[:count]:
        prompt = lengthened(example, pool, renderer, tokens, 0, kind, depth)
        assert 0.98 * tokens <= len(prompt.ids) <= tokens
        longer = prompt.example
        assert renderer.prompt(longer).ids == prompt.ids
        # Gold documents are those of before, in their order, and every own document is there.
        gold = [longer.documents[place] for place in longer.gold_documents]
        assert gold == [example.documents[place] for place in gold_of(example)]
        assert set(example.documents) <= set(longer.documents)
        more = added(example, longer.documents)
        assert len(more) == len(set(more)) > 0
        note = longer.metadata["lengthened"]
        assert note["unique"] is (example.kind != "yes_no" and len(example.answers[0]) > 1)
        if note["unique"]:
            for text in more:
                for answer in example.answers:
                    assert f" {folded(answer)} " not in f" {folded(text)} "
                    assert len(answer) < 4 or answer.casefold() not in text.casefold()
        if depth is not None:
            assert all(abs(each - depth) <= 0.03 for each in note["depths"])


def test_the_same_seed_gives_the_same_prompt_and_another_another(
    hotpot: tuple[Example, ...], pool: Pool, renderer: Renderer
) -> None:
    again = pool_of(documents_of(hotpot), renderer.count_documents)
    for kind in ("hard", "random"):
        first = lengthened(hotpot[0], pool, renderer, 8_192, 7, kind)
        assert lengthened(hotpot[0], again, renderer, 8_192, 7, kind) == first
        assert lengthened(hotpot[0], pool, renderer, 8_192, 8, kind).ids != first.ids


def test_hard_distractors_are_more_like_the_question(
    hotpot: tuple[Example, ...], pool: Pool, renderer: Renderer
) -> None:
    def shared(kind: str) -> float:
        hits = total = 0
        for example in hotpot[:10]:
            asked = {word for word in folded(example.question).split() if len(word) > 4}
            prompt = lengthened(example, pool, renderer, 8_192, 0, kind)
            for text in added(example, prompt.example.documents):
                hits += len(asked & set(folded(text).split()))
                total += 1
        return hits / total

    assert shared("hard") > 1.5 * shared("random")


def test_a_small_pool_is_told_unless_there_is_running_text(
    hotpot: tuple[Example, ...], renderer: Renderer, book: Pool
) -> None:
    small = pool_of(documents_of(hotpot[:4]), renderer.count_documents)
    with pytest.raises(
        InputError, match=r"lengthen=32768: too few documents .* hold no answer \(\d+ tok"
    ):
        lengthened(hotpot[0], small, renderer, 32_768, 0)
    prompt = lengthened(hotpot[0], small, renderer, 32_768, 0, filler=lambda: book)
    assert 0.98 * 32_768 <= len(prompt.ids) <= 32_768
    # Running text runs on: its paragraphs stand in the book's order, but for one turn at its end.
    numbers = {text: number for number, text in enumerate(book.texts)}
    order = [numbers[text] for text in prompt.example.documents if text in numbers]
    assert len(order) > 50
    assert sum(a > b for a, b in pairwise(order)) <= 1


def test_running_text_holds_the_gold_documents_at_their_depth(
    hotpot: tuple[Example, ...], renderer: Renderer, book: Pool
) -> None:
    for depth in (0.0, 0.1, 0.5, 1.0):
        prompt = lengthened(hotpot[3], book, renderer, 8_192, 0, "text", depth)
        assert 0.98 * 8_192 <= len(prompt.ids) <= 8_192
        text = renderer.tokenizer.decode(prompt.ids)
        first = hotpot[3].documents[gold_of(hotpot[3])[0]]
        behind = text.index(hotpot[3].question)
        assert abs(text.index(first) / behind - depth) < 0.16  # own documents are of some length


def test_one_long_document_is_split_around_the_gold(renderer: Renderer) -> None:
    sentences = " ".join(f"The ship number {n} sailed on a calm sea." for n in range(3_000))
    pool = pool_of([(sentences, "log")], renderer.count_documents)
    example = Example("q", "mine", "Who is the captain?", ("The captain is Ann.",), ("Ann",))
    for depth in (0.2, 0.5, 0.9):
        prompt = lengthened(example, pool, renderer, 4_096, 0, "random", depth)
        assert 0.98 * 4_096 <= len(prompt.ids) <= 4_096
        assert abs(prompt.example.metadata["lengthened"]["depths"][0] - depth) < 0.015
        before, gold, after = prompt.example.documents
        assert gold == example.documents[0] and before.endswith(".") and after.endswith(".")
        assert sentences.startswith(f"{before} {after}")


@pytest.mark.parametrize("tokens", range(150, 190, 3))
def test_short_lengths_are_exact_too(renderer: Renderer, tokens: int) -> None:
    """Two per cent of 150 tokens are 3: a cut has to come close."""
    text = "Unbelievably, extraordinarily longwinded circumlocutions characterise him: " * 30
    pool = pool_of([(text, ""), ("船在海上航行。" * 50, "")], renderer.count_documents)
    example = Example("q", "mine", "Who is it?", ("It is Ann.",), ("Ann",))
    prompt = lengthened(example, pool, renderer, tokens, 1, "random")
    assert 0.98 * tokens <= len(prompt.ids) <= tokens


def test_nothing_of_its_group_of_its_text_or_with_its_answer_is_taken(renderer: Renderer) -> None:
    words = "one two three four five six seven eight nine ten"
    documents = [
        ("Same group: " + words, "g"),
        ("IT IS  ann smith!", "other"),
        ("Nobody but ANN\nSmith: " + words, "other"),
        ("Annette Smithson is another: " + words, "other"),
        (words, "other"),
        (words, "third"),
        ("Of the third and of g: " + words, "third"),
        ("Of the third and of g: " + words, "g"),
    ]
    pool = pool_of(documents, renderer.count_documents)
    assert len(pool.texts) == 6 and pool.groups[-1] == {"third", "g"}
    example = Example("q", "mine", "Who?", ("It is Ann Smith.",), ("Ann Smith",), group="g")
    plain = len(renderer.prompt(example).ids)
    prompt = lengthened(example, pool, renderer, plain + 30, 0, "random")
    for text in added(example, prompt.example.documents):
        assert text in "Annette Smithson is another: " + words or words.startswith(text)


@pytest.mark.parametrize(
    ("answers", "kind", "unique"),
    [
        (("Ann",), "extractive", True),
        (("5",), "numeric", False),
        (("红",), "extractive", False),
        (("Ann", "B"), "list", False),
        (("Ann", "!"), "list", False),
        (("yes",), "yes_no", False),
        (("B",), "choice", False),
    ],
)
def test_what_is_too_short_is_not_promised_to_be_unique(
    renderer: Renderer, answers: tuple[str, ...], kind: str, unique: bool
) -> None:
    pool = pool_of([("A calm sea. " * 400, "")], renderer.count_documents, False)
    example = Example("q", "mine", "Who?", ("It is Ann.",), answers, kind)
    longer = lengthened(example, pool, renderer, 600, 0, "random").example
    assert longer.metadata["lengthened"]["unique"] is unique


def test_numbered_citations_follow_their_passages(renderer: Renderer) -> None:
    example = Example(
        "q",
        "mine",
        "Who sailed?",
        ("Ann sailed.", "Bob stayed.", "It was Ann."),
        ("Ann",),
        kind="citation",
        metadata={"gold_citations": ["Passage 3", 1]},
    )
    texts = [(f"Number {n} was a day of calm. The sea was flat.", "") for n in range(200)]
    pool = pool_of(texts, renderer.count_documents)
    prompt = lengthened(example, pool, renderer, 2_000, 0)
    longer = prompt.example
    first, third = (longer.documents.index(text) for text in ("Ann sailed.", "It was Ann."))
    assert longer.metadata["gold_citations"] == [third + 1, first + 1]
    assert longer.gold_documents == (first, third)
    assert f"[{third + 1}] It was Ann." in renderer.tokenizer.decode(prompt.ids)


def test_what_cannot_be_is_refused(renderer: Renderer) -> None:
    pool = pool_of([("A calm sea. " * 400, "")], renderer.count_documents, False)
    example = Example("q", "mine", "Who?", ("It is Ann. " * 30,), ("Ann",))
    for arguments, message in (
        ((100, 0), "already has"),
        ((0, 0), "lengthen=0: must be at least 1"),
        ((900, 0, "random", 1.5), "depth=1.5: must be from 0"),
        ((900, 0, "hard"), "the pool has no index"),
    ):
        with pytest.raises(InputError, match=message):
            lengthened(example, pool, renderer, *arguments)
    with pytest.raises(InputError, match="has no document to lengthen"):
        lengthened(replace(example, documents=()), pool, renderer, 900, 0, "random")
    plain = renderer.prompt(example)
    assert lengthened(example, pool, renderer, len(plain.ids), 0).example is example
    with pytest.raises(InputError, match="no document with text"):
        pool_of([(" ", "")], renderer.count_documents)
