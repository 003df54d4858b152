"""The corpus under synthetic tasks: cutting, sampling, filling to the token."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from qwenlong.data.synthesis import TASKS
from qwenlong.data.synthesis.corpus import (
    LONGEST_TEXT,
    Text,
    inserted,
    of_documents,
    of_running_text,
    sentence_ends,
    word_ends,
)
from qwenlong.data.synthesis.haystack import bury, fill, filler_of, without
from qwenlong.data.synthesis.lexicon import birds, keys, places, uuids, values
from qwenlong.types import CountTokens
from tests.data.solvers import DATA, cmrc2018, moby_dick, ottqa, words

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not on this machine")

# The pattern by which Qwen2 and Qwen3 split text before they merge bytes.
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = st.text(st.sampled_from("ab .!?。\n“”Mr"), min_size=1, max_size=200)


def test_sentences_end_where_they_do() -> None:
    text = "Mr. Smith saw J. Doe. “Who?” he asked. It was 3.5 m. Then: gone!"
    ends = sentence_ends(text)
    assert [text[a:b] for a, b in zip((0, *ends), ends, strict=False)] == [
        "Mr. Smith saw J. Doe. ", "“Who?” he asked. ", "It was 3.5 m. ", "Then: gone!",
    ]  # fmt: skip
    assert sentence_ends("他来了。“走吧！”她说。") == (4, 9, 12)


@given(TEXTS)
def test_ends_rise_to_the_end(text: str) -> None:
    ends = sentence_ends(text)
    assert list(ends) == sorted(set(ends)) and ends[-1] == len(text) and ends[0] > 0
    assert all(0 < end <= len(text) for end in word_ends(text))


@given(TEXTS, st.lists(st.integers(0, 200), max_size=4))
def test_sentences_are_put_in_without_a_loss(text: str, places: list[int]) -> None:
    added = [(min(at, len(text)), f"[{n}]") for n, at in enumerate(places)]
    whole = inserted(text, added, " ")
    for _, sentence in added:
        assert whole.count(sentence) == 1
        whole = whole.replace(sentence, "", 1)
    assert (
        whole.split() == text.split()
        or whole.replace(" ", "") == text.replace(" ", "")
        or ("".join(whole.split()) == "".join(text.split()))
    )


def test_a_sentence_behind_an_open_end_has_its_own_line() -> None:
    assert inserted("Goods,Sacks\nsalt,3", [(18, "So it is.")], " ").endswith("salt,3\nSo it is.")
    assert inserted("in the year 1", [(13, "1688 it was.")], "") == "in the year 1\n1688 it was."
    assert inserted("One.\nTwo.", [(5, "And.")], " ") == "One.\nAnd.\nTwo."


def test_running_text_becomes_paragraphs() -> None:
    corpus = of_running_text(["One", "line.\n", "\n", " \n", "Two.\n"], "en")
    assert [text.text for text in corpus.texts] == ["One line.", "Two."] and corpus.running
    assert of_running_text(["一行", "又一行。"], "zh").texts[0].text == "一行又一行。"


@settings(max_examples=50)
@given(st.text(st.sampled_from("a b. C"), max_size=3 * LONGEST_TEXT), st.sampled_from(["", "T"]))
def test_long_documents_are_cut_and_nothing_is_lost(text: str, title: str) -> None:
    texts = of_documents([Text(title, text, "en")]).texts
    assert all(0 < len(part.text) <= LONGEST_TEXT for part in texts)
    assert "".join("".join(part.text for part in texts).split()) == "".join(text.split())
    assert len({part.title for part in texts}) == (len(texts) if title else min(1, len(texts)))


def test_a_corpus_without_sentences_is_cut_too() -> None:
    parts = of_documents([Text("", "x" * 5000)]).texts
    assert [len(part.text) for part in parts] == [2000, 2000, 1000]


def test_a_large_corpus_is_sampled_evenly_in_its_order() -> None:
    documents = (Text(str(n), "word " * 20) for n in range(10_000))
    kept = [int(text.title) for text in of_documents(documents, most=99 * 1000).texts]
    assert kept == sorted(kept) and len(kept) == 1000
    thirds = [sum(n // 3334 == third for n in kept) for third in range(3)]
    assert min(thirds) > 270


@given(st.integers(0, 2**32), st.sampled_from(["en", "zh"]))
def test_no_name_contains_another(seed: int, language: str) -> None:
    rng = Random(seed)
    drawn = [
        keys(rng, 25, language), birds(rng, 3, language), places(rng, 32, language),
        values(rng, 25), uuids(rng, 30),
    ]  # fmt: skip
    for names in drawn:
        assert not any(a in b for a in names for b in names if a is not b)


@needs_data
@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(50, 3000))
def test_filler_is_of_the_length_and_repeats_nothing(seed: int, room: int) -> None:
    filler = filler_of(MOBY, words, "en")
    pieces = fill(filler, Random(seed), room, without(["whale"]), None)
    text = "\n\n".join(piece.text for piece in pieces)
    assert 0.97 * room <= words(text) <= room
    assert "whale" not in text.casefold()
    bodies = [piece.body for piece in pieces if len(piece.body) > 100]
    assert len(set(bodies)) == len(bodies)


@needs_data
@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(400, 3000))
def test_facts_are_buried_in_any_length(seed: int, tokens: int) -> None:
    filler = filler_of(CMRC, len, "zh")
    facts = [f"“{name}”于1688年建成。" for name in keys(Random(seed), 5, "zh")]
    depths = [0.0, 0.3, 0.3, 1.0, 1.0]
    buried = bury(filler, Random(seed), facts, depths, tokens, without([]), lambda n: f"[{n}]")
    text = "\n\n".join(buried.documents)
    assert (0.97 if tokens >= 1000 else 0.9) * tokens <= len(text) <= tokens
    for fact, place, offset in zip(facts, buried.places, buried.offsets, strict=True):
        assert fact in buried.documents[place] and text.startswith(fact, offset)
    assert [document.partition("\n")[0] for document in buried.documents] == [
        f"[{n}]" for n in range(1, len(buried.documents) + 1)
    ]


CMRC = cmrc2018() if DATA.is_dir() else of_running_text(())
MOBY = moby_dick() if DATA.is_dir() else of_running_text(())


def bpe(split: pre_tokenizers.PreTokenizer, texts: list[str]) -> CountTokens:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = split
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


@needs_data
def test_lengths_hold_for_byte_level_bpe() -> None:
    """Of both patterns in use, GPT-2's (the tiny policy's) and Qwen's."""
    corpora = [(MOBY, "en"), (ottqa(), "en"), (CMRC, "zh")]
    texts = ["\n\n".join(text.text for text in corpus.texts[:100]) for corpus, _ in corpora]
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    qwen = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN), "isolated"), bare])
    for split in (level, qwen):
        count = bpe(split, texts)
        for corpus, language in corpora:
            for make in TASKS.values():
                for example in make(corpus, 1, 4096, count, 0, language):
                    assert 0.97 * 4096 <= count("\n\n".join(example.documents)) <= 4096
