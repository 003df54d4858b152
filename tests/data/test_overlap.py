"""What comes twice in a set, and what two sets share."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenlong.data import overlap
from qwenlong.data.overlap import Duplicate, Repeats, contamination
from qwenlong.data.registry import PUBLISHED
from qwenlong.data.rows import read
from qwenlong.types import Example

HOTPOT = Path(__file__).parents[2].parent / "shared" / "data" / "multihop_hotpot100"
LEXICON = [f"{a}{b}" for a in "bcdfglmnprst" for b in ("an", "el", "ir", "os", "um", "ax", "en")]


def text_of(seed: object, count: int = 120) -> str:
    rng = Random(f"text {seed}")
    return " ".join(rng.choice(LEXICON) for _ in range(count))


def example_of(identity: str, question: str, *documents: str, answer: str = "Ann") -> Example:
    return Example(identity, "mine", question, documents, (answer,))


def deduplicated(
    examples: Iterable[Example], near: float | None = 0.8
) -> Iterator[Example | Duplicate]:
    repeats = Repeats(near)
    for example in examples:
        yield repeats.earlier(example) or example


def verdicts(*examples: Example) -> list[tuple[str, str, bool] | None]:
    return [
        (item.id, item.of, item.exact) if isinstance(item, Duplicate) else None
        for item in deduplicated(examples)
    ]


def test_the_same_question_over_the_same_documents_comes_once() -> None:
    one, two = text_of(1), text_of(2)
    assert verdicts(
        example_of("a", "Who is it?", one, two),
        example_of("b", "who  is IT", two.upper(), one),
        example_of("c", "Who is it?", one),
        example_of("d", "Who was it?", one, two),
    ) == [None, ("b", "a", True), None, None]


def test_near_duplicates_are_those_with_the_same_answer() -> None:
    text = text_of(1, 400)
    question = "In which year did the company of the two brothers sell its last ship to the king?"
    other = text.replace(text.split()[200], "whale", 1)
    assert verdicts(
        example_of("a", question, text),
        example_of("b", question.replace("the king", "the old king"), other),
        example_of("c", question.replace("last", "first"), text, answer="Bob"),
        example_of("d", question, text_of(2, 400)),
        example_of("e", "Who is it?", text),
    ) == [None, ("b", "a", False), None, None, None]
    near = [example_of("a", question, text), example_of("b", question, other)]
    assert list(deduplicated(near, near=None)) == near


def test_two_sets_without_a_word_in_common_are_clean() -> None:
    first = [example_of(f"a{n}", f"Who is number {n}?", text_of(n)) for n in range(20)]
    second = [example_of(f"b{n}", f"Where is number {n}?", text_of(-n - 1)) for n in range(20)]
    report = contamination(first, second)
    assert report.clean and report.found == () and report.document_share == 0
    assert (report.first, report.second, report.sampled) == (20, 20, 1)


def test_each_sort_of_contamination_is_counted_and_shown() -> None:
    long = "what is the name of the harbour that the old whaler left in the winter"
    first = [
        example_of("a0", "Who is it?", text_of(0)),
        example_of("a1", f"Tell me, {long} of 1851?", text_of(1)),
    ]
    second = [
        example_of("b0", "WHO is it", text_of(10)),
        example_of("b1", f"And {long} before?", text_of(11)),
        example_of("b2", "Where?", "Fine. " + text_of(12), text_of(0).title()),
        example_of("b3", "When?", text_of(13) + " " + text_of(1)[:200]),
        example_of("b4", "Why?", text_of(14)),
    ]
    report = contamination(first, second)
    assert not report.clean
    assert (report.same_question, report.question_overlap) == (1, 1)
    assert (report.same_document, report.document_overlap) == (1, 2)
    assert 0 < report.document_share < 0.5
    shown = {(found.what, found.first, found.second) for found in report.found}
    assert shown == {
        ("question", "a0", "b0"),
        ("question_ngram", "a1", "b1"),
        ("document", "a0", "b2"),
        ("document_ngram", "a0", "b2"),
        ("document_ngram", "a1", "b3"),
    }
    overlap_text = next(found.text for found in report.found if found.second == "b3")
    assert overlap_text in text_of(1) and len(overlap_text.split()) == 13


def test_templates_of_synthetic_questions_are_no_contamination() -> None:
    template = (
        "Begin with key {} and follow the chain of keys to the question at its end. Answer it."
    )

    def made(identity: str, key: str, seed: int) -> Example:
        return replace(example_of(identity, template.format(key), text_of(seed)), source="keychain")

    report = contamination([made("a", "x1", 0)], [made("b", "x2", 1), made("c", "X1", 2)])
    assert (report.question_overlap, report.same_question, report.templates) == (0, 1, 2)
    real = example_of("d", template.format("x3"), text_of(3))
    assert contamination([real], [real]).question_overlap == 1


def test_a_hidden_question_is_compared_as_what_it_was() -> None:
    asked = example_of("a", f"Who is it, {text_of(5, 14)}?", text_of(0))
    hidden = replace(
        example_of("b", "Follow key 1.", text_of(1)), metadata={"hidden_question": asked.question}
    )
    other = replace(hidden, id="c", metadata={"hidden_question": "Who was it?"})
    report = contamination([asked], [hidden, other])
    assert (report.same_question, report.question_overlap) == (1, 1)
    assert {found.second for found in report.found} == {"b"}


@given(st.integers(0, 40), st.integers(0, 30))
def test_thirteen_words_in_a_row_are_found_and_twelve_are_not(at: int, shared: int) -> None:
    words = text_of("shared", shared)
    first = [example_of("a", "Who?", f"{text_of('x', at)} alpha {words} beta {text_of('y', 20)}")]
    second = [example_of("b", "Where?", f"gamma {words} delta")]
    assert (contamination(first, second).document_overlap == 1) == (shared >= 13)


def test_a_set_beyond_the_bound_is_sampled_and_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "MOST_GRAMS", 2_000)
    first = [example_of(f"a{n}", f"Who is {n}?", text_of(n, 300)) for n in range(100)]
    report = contamination(first, [example_of("b", "Where?", text_of(37, 300))])
    assert report.sampled >= 16 and report.document_overlap == 1
    assert 0.9 <= report.document_share <= 1
    assert [found.first for found in report.found if found.what == "document_ngram"] == ["a37"]


def test_chinese_is_compared_by_signs() -> None:
    first = [example_of("a", "北京是哪个国家的首都？", "北京市是中华人民共和国的首都和直辖市。")]
    second = [example_of("b", "北京 是哪个国家的首都", "据说,北京市是中华人民共和国的首都。")]
    report = contamination(first, second)
    assert (report.same_question, report.document_overlap) == (1, 1)


def test_nothing_at_all_is_clean() -> None:
    assert contamination([], []).clean
    assert contamination([], [example_of("b", "Who?", text_of(0))]).clean
    assert list(deduplicated([])) == []
    assert verdicts(example_of("a", "?", ""), example_of("b", "!", "…")) == [None, ("b", "a", True)]


def test_memory_stays_flat() -> None:
    """An example leaves some 2 KB, however long its document."""

    def peak(count: int) -> int:
        texts = [text_of(number, 400) for number in range(3)]
        many = (
            example_of(f"a{n}", f"Who is {n}?", f"{n} {texts[n % 3]} " * 8) for n in range(count)
        )
        gc.collect()
        tracemalloc.start()
        assert sum(isinstance(item, Example) for item in deduplicated(many)) > 0
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)  # fills the cache of words
    assert peak(36) < peak(12) + 24 * 8_000


@pytest.mark.skipif(not HOTPOT.is_dir(), reason=f"{HOTPOT} is not there")
def test_real_questions_are_not_each_other_and_are_themselves() -> None:
    examples = [item for item in read(PUBLISHED["hotpotqa"], HOTPOT) if isinstance(item, Example)]
    assert all(isinstance(item, Example) for item in deduplicated(examples))
    halves = contamination(examples[:50], examples[50:])
    assert halves.same_question == 0 and halves.document_share < 0.05
    whole = contamination(examples, examples)
    assert whole.same_question == whole.document_overlap == len(examples)
    assert whole.document_share == 1 and len(whole.found) <= 20
