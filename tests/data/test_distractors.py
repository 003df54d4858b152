"""Who may lengthen an example: by group, by text, by answer; and in which order."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenlong.data.length.distractors import (
    answer_strings,
    avoids,
    documents_of,
    drawn,
    pool_of,
)
from qwenlong.data.words import folded, words
from qwenlong.rewards.text.normalise import normalise
from qwenlong.types import Example


def example_of(*answers: str, kind: str = "extractive", **metadata: object) -> Example:
    question = "Which harbour did the whaler leave?"
    return Example("q", "mine", question, ("Own text.",), answers, kind, metadata=metadata)


def holds(text: str, example: Example) -> bool:
    pool = pool_of([(text, "other")], lambda texts: [1] * len(texts))
    return avoids(example)(pool, 0)


@pytest.mark.parametrize(
    ("answer", "text", "held"),
    [
        ("The Hague", "in THE\n HAGUE, that day", True),
        ("Roanoke, Virginia", "of Roanoke , Virginia .", True),
        ("a ring", "the golden ring", True),
        ("A", "a ring", True),
        ("1,234", "sold 1234 casks", True),
        ("$1,234.5", "about 1234.5 dollars", True),
        ("Ｐａｒｉｓ", "a Paris of the north", True),
        ("Café", "at the CAFE\u0301", True),
        ("7", "in 1987, 17 of 70", False),
        ("7", "7 of them", True),
        ("us", "because of the bus", False),
        ("US", "to the U.S. and the us", True),
        ("东京", "他在东京出生", True),
        ("红", "红色的船", True),
        ("محمد", "قال مُحَمَّد", True),
        ("!", "what!", False),
        ("12.5", "12 and 5", False),
        ("5", "had FIVE boats", True),
        ("five boats", "had 5 boats", True),
        ("21", "Twenty-one of them", True),
        ("twenty-one", "21 of them", True),
        ("6", "sixty of them", False),
        ("6", "twenty-six of them", True),  # rather too much than too little
        ("15", "他有十五条船", True),
        ("二十一", "there are 21", True),
        ("one hundred", "all 100", True),
        ("1", "one of them", False),  # stands everywhere, and is not promised
        ("12,345", "12 345 casks", True),
        ("12345", "12.345 Fässer", True),
        ("12 May 2010", "on May 12, 2010", True),
        ("May 12, 2010", "on the 12th of May, 2010", True),
        ("12 May 2010", "2010-05-12", True),
        ("2010年5月12日", "on 12.5.2010", True),
        ("12 May 2010", "2010年5月12日", True),
        ("3 September 2010", "Sept. 3, 2010", True),
        ("12 May", "May 12th", True),
        ("12 May 2010", "on May 13, 2010", False),
        ("32 May 2010", "on May 32, 2010", False),
    ],
)
def test_answers_are_found_however_they_are_written(answer: str, text: str, held: bool) -> None:
    assert holds(text, example_of(answer)) is held


@given(st.text(min_size=1, max_size=12), st.text(max_size=20), st.text(max_size=20))
def test_what_normalises_to_an_answer_is_never_let_through(answer: str, a: str, b: str) -> None:
    """An answer that stands in a text between blanks is found, whatever it is made of."""
    if folded(answer):
        assert holds(f"{a} {answer} {b} .x", example_of(answer))
        if normalise(answer) and folded(normalise(answer)) == folded(answer):
            assert holds(f"{a} {normalise(answer)} {b} .x", example_of(answer))


@pytest.mark.parametrize(
    ("example", "strings"),
    [
        (example_of("yes", kind="yes_no"), ()),
        (example_of("{}", kind="format"), ()),
        (example_of("B", kind="choice", options=["A. Ann", "B. Bob"]), ("Bob",)),
        (example_of("b", kind="choice", options={"A": "Ann", "B": "Bob"}), ("Bob",)),
        (example_of("(B) Bob", kind="choice"), ("Bob",)),
        (example_of("B", kind="choice"), ("",)),
        (example_of("a", "b", kind="list", aliases={"a": ["c"]}), ("a", "b", "c")),
    ],
)
def test_answer_strings_by_kind(example: Example, strings: tuple[str, ...]) -> None:
    assert answer_strings(example) == strings


def test_orders() -> None:
    texts = ["the whaler", "nothing", "a harbour the whaler would leave", "empty", "void"]
    pool = pool_of([(text, "") for text in texts], lambda texts: [1] * len(texts))
    example = example_of("Nantucket")
    hard = list(drawn(pool, example, "hard", Random(0)))
    assert hard[:2] == [2, 0] and sorted(hard) == [0, 1, 2, 3, 4]
    assert len({tuple(drawn(pool, example, "hard", Random(n))) for n in range(20)}) > 1
    running = list(drawn(pool, example, "text", Random(3)))
    turned = running.index(0)
    assert running[turned:] + running[:turned] == [0, 1, 2, 3, 4]
    assert sorted(drawn(pool, example, "random", Random(0))) == [0, 1, 2, 3, 4]


def test_chinese_questions_find_their_documents() -> None:
    texts = ["天气很好", "东京是日本的首都", "北京是中国的首都"]
    pool = pool_of([(text, "") for text in texts], lambda texts: [1] * len(texts))
    example = Example("q", "m", "日本的首都是哪里？", ("x",), ("大阪",))
    assert next(drawn(pool, example, "hard", Random(0))) == 1


def test_a_question_of_unknown_words_still_draws() -> None:
    pool = pool_of([("one", ""), ("two", "")], lambda texts: [1] * len(texts))
    example = Example("q", "m", "???", ("x",), ("y",))
    assert sorted(drawn(pool, example, "hard", Random(0))) == [0, 1]


def test_pools_know_each_text_once() -> None:
    first = Example("a", "m", "?", ("one", "two"), ("x",), group="g")
    second = Example("b", "m", "?", ("two", " "), ("x",))
    pool = pool_of(documents_of([first, second]), lambda texts: list(map(len, texts)))
    assert pool.texts == ("one", "two") and pool.tokens == (3, 3)
    assert pool.groups == (frozenset({"g", "? ?"}), frozenset({"g", "b", "? ?"}))


def test_a_document_of_the_same_question_is_never_taken() -> None:
    others = [("What is IT", "of the first"), ("What else?", "of the second")]
    examples = [
        Example(f"{n}", "m", question, (text,), ("x",), group=f"g{n}")
        for n, (question, text) in enumerate(others)
    ]
    pool = pool_of(documents_of(examples), lambda texts: [1] * len(texts))
    asked = Example("q", "m", "What is it?", ("own",), ("y",))
    assert list(drawn(pool, asked, "random", Random(0))) == [1]
    assert answer_strings(example_of("a", kind="list", aliases={"a": 3, "b": "cd"})) == (
        "a", "3", "cd",
    )  # fmt: skip


def test_words() -> None:
    assert words("The U.S. sold 1,234.50 of «Ｃａｆé»—東京 2 km.") == (
        "the u s sold 1234.50 of café 東 京 2 km".split()
    )
