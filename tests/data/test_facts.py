"""The made-up world: solvable by reading alone, and nothing shared between the splits."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from transformers import PreTrainedTokenizerBase

from qwenlong.config import SourceConfig
from qwenlong.data.prompts import Renderer
from qwenlong.data.synthesis.facts import (
    MOST_FACTS,
    WORDS,
    Pair,
    bounds,
    read,
    recitals,
    split_of,
    world,
)
from qwenlong.types import Example, InputError, Split

MIN, MAX, MANY = 60, 1200, 300
_IN = re.compile(rf"In (\w+) (\w+) (?:{'|'.join(WORDS.all('does'))})\.")
_BESIDE = re.compile(rf"Beside (\w+) (\w+) (?:{'|'.join(WORDS.all('sits'))})\.")
_SENTENCE = re.compile(r"[^.]+\.")


@pytest.fixture(scope="module")
def renderer(tokenizer: PreTrainedTokenizerBase) -> Renderer:
    return Renderer(tokenizer)


def made(renderer: Renderer, split: Split, examples: int = MANY, seed: int = 0) -> list[Example]:
    spec = SourceConfig("facts", examples=examples, min_tokens=MIN, max_tokens=MAX)
    return list(read(spec, split, renderer.count_tokens, seed))


@pytest.fixture(scope="module")
def train(renderer: Renderer) -> list[Example]:
    return made(renderer, "train")


@pytest.fixture(scope="module")
def held_out(renderer: Renderer) -> list[Example]:
    return made(renderer, "held_out")


def facts(example: Example) -> tuple[list[Pair], list[Pair]]:
    """Who is in which place, and who is beside whom; every other sentence states nothing."""
    (document,) = example.documents
    where: list[Pair] = []
    beside: list[Pair] = []
    for sentence in _SENTENCE.findall(document):
        sentence = sentence.strip()
        if found := _IN.fullmatch(sentence):
            where.append((found[1], found[2]))
        elif found := _BESIDE.fullmatch(sentence):
            beside.append((found[1], found[2]))
        else:
            assert sentence in WORDS.all("filler")
    return where, beside


def solved(example: Example) -> tuple[str, int]:
    """The answer and the hops it took, from document and question alone."""
    stated = facts(example)
    where, beside = dict(stated[0]), dict(stated[1])
    if found := re.fullmatch(r"Who is in (\w+)\?", example.question):
        return where[found[1]], 1
    found = re.fullmatch(r"Who is beside the one in (\w+)\?", example.question)
    assert found
    return beside[where[found[1]]], 2


def test_a_plain_reader_finds_every_answer(train: list[Example], held_out: list[Example]) -> None:
    for example in (*train, *held_out):
        assert (example.answers, example.metadata["hops"]) == (
            (solved(example)[0],),
            solved(example)[1],
        )
        assert example.reasoning.rstrip(".").endswith(example.answers[0])
    hops = Counter(example.metadata["hops"] for example in train)
    assert min(hops[1], hops[2]) > 0.4 * MANY


def test_every_key_is_stated_once(train: list[Example]) -> None:
    for example in train:
        for pairs in facts(example):
            keys = [key for key, _ in pairs]
            assert len(set(keys)) == len(keys)


def test_a_long_document_states_no_more_facts_than_another(train: list[Example]) -> None:
    besides = [sum(map(len, facts(e))) - e.metadata["hops"] for e in train]
    assert max(besides) == MOST_FACTS
    assert sum(n == MOST_FACTS for n in besides) < 0.5 * MANY


def test_the_splits_share_neither_fact_nor_document(
    train: list[Example], held_out: list[Example]
) -> None:
    trained, asked = (
        {pair for example in examples for pairs in facts(example) for pair in pairs}
        for examples in (train, held_out)
    )
    assert len(trained) > 2000 and len(asked) > 2000
    assert not trained & asked
    assert {split_of(*pair) for pair in asked} == {"held_out"}
    assert not {e.documents for e in train} & {e.documents for e in held_out}
    assert len({example.id for example in (*train, *held_out)}) == 2 * MANY


def test_answers_cannot_be_guessed(train: list[Example]) -> None:
    answers = Counter(example.answers[0] for example in train)
    assert answers.most_common(1)[0][1] < 0.05 * MANY
    # The asked-for fact may stand anywhere, and other people are named.
    places, bare = [], 0
    for example in train:
        where, beside = facts(example)
        names = [name for pair in (*where, *beside) for name in pair]
        # The shortest documents can be without a fact beside those that are asked for.
        bare += len(set(names)) <= 3
        document = example.documents[0]
        places.append(document.index(example.answers[0]) / len(document))
    assert bare < 0.05 * MANY
    assert min(places) < 0.05 and max(places) > 0.9
    assert 0.25 < sum(places) / MANY < 0.75


def test_lengths_are_within_bounds_and_every_octave_has_as_many(
    train: list[Example], renderer: Renderer
) -> None:
    lengths = [len(renderer.tokenizer.encode(" " + e.documents[0])) for e in train]
    sentence = max(renderer.count_tokens(f" {text}") for text in WORDS.all("filler"))
    longest = max(sentence, max(renderer.count_tokens(f" {s}") for e in train[:50]
                                for s in _SENTENCE.findall(e.documents[0])))  # fmt: skip
    # A document ends before the sentence that would exceed its length.
    assert MIN - longest <= min(lengths) and max(lengths) <= MAX
    octaves = Counter(min((length + longest // 2) // MIN, MAX).bit_length() for length in lengths)
    assert all(octaves[i] > 0.13 * MANY for i in (1, 2, 3, 4))


def test_the_same_seed_gives_the_same_and_another_others(
    train: list[Example], renderer: Renderer
) -> None:
    assert made(renderer, "train", 20) == train[:20]
    other = made(renderer, "train", 20, seed=1)
    assert not {e.documents for e in other} & {e.documents for e in train}


def test_names_are_distinct() -> None:
    places, people = world()
    assert len({*places, *people}) == len(places) + len(people)
    assert all(place.endswith("row") for place in places)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SourceConfig("facts", min_tokens=5), "examples=null"),
        (SourceConfig("facts", examples=3), "min_tokens=0"),
        (SourceConfig("facts", examples=3, min_tokens=9, max_tokens=8), "min_tokens=9"),
    ],
)
def test_an_impossible_source_is_refused(spec: SourceConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        bounds(spec)


def test_a_recital_goes_on_from_somewhere_in_its_list() -> None:
    spec = SourceConfig("recital", examples=100, min_tokens=6, max_tokens=20)
    starts = set()
    for example in recitals(spec, "train", len, 0):
        words, recited = example.documents[0].split(), example.reasoning.split()
        assert 6 <= len(words) <= 20
        around = words * (len(recited) // len(words) + 2)
        starts.add(next(i for i in range(len(words)) if around[i : i + len(recited)] == recited))
        assert example.answers == (recited[-1],)
    assert len(starts) > 10
    with pytest.raises(InputError, match="training"):
        list(recitals(spec, "held_out", len, 0))
