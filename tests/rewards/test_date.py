"""What holds of every date, and what cannot be a case of cases/date.jsonl."""

from __future__ import annotations

import contextlib
import datetime
import re
import time
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.rewards.kinds.date import NAME, check, score
from qwenlong.rewards.numbers.dates import Date, read
from qwenlong.types import Example, Score

DAYS = st.dates(datetime.date(1500, 1, 1), datetime.date(2500, 12, 30))


def example(*golds: str, **metadata: Any) -> Example:
    return Example("7", "test", "When?", (), golds, kind="date", metadata=metadata)


def said(answer: str, *golds: str, **metadata: Any) -> Score:
    response = f"<think>Well.</think>\n\nTherefore, the answer is {answer}."
    return score(example(*golds, **metadata), response)


def ways(when: datetime.date) -> list[str]:
    return [
        when.isoformat(),
        f"{when:%B} {when.day}, {when.year}",
        f"{when:%A}, {when.day} {when:%b} {when.year}",
        f"{when.day:02}.{when.month:02}.{when.year}",
        f"{when.year}年{when.month}月{when.day}日",
        f"{when.year}년 {when.month}월 {when.day}일",
        f"the {when.day}. of {when:%B}, {when.year}",
        f"{when.year}/{when.month}/{when.day}",
    ]


@given(DAYS)
def test_every_way_of_writing_a_date_is_the_same_date(when: datetime.date) -> None:
    for gold in ways(when):
        for answer in ways(when):
            assert said(answer, gold).value == 1.0, (answer, gold)
        assert said(gold, f"{when:%B} {when.year}").value == 1.0
        assert said(gold, str(when.year)).value == 1.0
        assert said(f"{when:%B} {when.year}", gold).value == 0.0
        assert said(str(when.year), gold).value == 0.0


@given(DAYS, st.integers(1, 1000))
def test_another_day_is_never_paid(when: datetime.date, days: int) -> None:
    other = when + datetime.timedelta(days) if when.year < 2490 else when - datetime.timedelta(days)
    for answer in ways(other):
        assert said(answer, when.isoformat()).value == 0.0
    assert said(f"{other.isoformat()} or {when.isoformat()}", when.isoformat()).value == 0.0
    assert said(f"{other:%A}, {when.isoformat()}", when.isoformat()).value == float(not days % 7)


@given(DAYS)
def test_either_way_round(when: datetime.date) -> None:
    slashes = f"{when.month}/{when.day}/{when.year}"
    assert said(slashes, when.isoformat(), day_first=False).value == 1.0
    certain = when.day > 12 or when.day == when.month
    assert said(slashes, when.isoformat()).value == float(certain)
    assert said(when.isoformat(), slashes).value == float(certain)
    assert said(slashes, slashes).value == 1.0
    assert said(slashes, str(when.year)).value == 1.0


PIECES = st.sampled_from(
    "2021 03 4 / - . : , ' March may 年 月 日 년 Q1 quarter of de 令和 元 not or before th ٣ ３ 三"
    " BC AD [ ] ( ) T10:00 ** \\boxed{ } \ud800 \x00 \u200f \u0301 monday FY \n Answer:".split(" ")
)
ANY = (
    st.text(max_size=60)
    | st.lists(PIECES, max_size=14).map("".join)
    | st.lists(PIECES).map(" ".join)
)


@settings(max_examples=600)
@given(ANY, st.sampled_from(["2021-03-04", "3/4/2021", "March 2021", "2021", "Q1 2021", "44 BC"]))
def test_never_raises_and_says_the_same_twice(text: str, gold: str) -> None:
    for response in (text, f"</think>Answer: {text}", f"</think>\\boxed{{{text}}}"):
        verdict = score(example(gold), response)
        assert verdict.value in (0.0, 1.0)
        assert verdict == score(example(gold), response)
        assert verdict.verifier == NAME
        assert {"extracted", "rule", "compared_with", "why"} <= verdict.breakdown.keys()


@settings(max_examples=300)
@given(ANY)
def test_a_gold_answer_is_read_or_refused(gold: str) -> None:
    with contextlib.suppress(ValueError):
        check(example(gold))
        assert said(gold, gold).value in (0.0, 1.0)


@pytest.mark.parametrize(
    "piece",
    [
        "1", "1/", "1-", "1.", "2021", "2021-", "2021-03-04", "2021 ", "March ", "March 4 ", "4 ",
        "may", "mar", "4 of ", "年", "2021年", "1月", "三", "元", "令和", "q", "q1 ", "first ",
        "twenty-first ", "10:00", "t", " ", "(", "[1]", "before ", "monday", "\u0301", "\ud800",
        "\x00", "\u200f", "ﷺ", "٣", "３", "كانون ", "आ", "\\text{", "{", "}", "*", "$", "1 ce",
        "ad 1", "'20",
    ],
)  # fmt: skip
def test_long_answers_are_quick(piece: str) -> None:
    prefixes = ("Therefore, the answer is ", "\\boxed{", "Answer: 4 ", "x\n\n")
    for prefix, size in product(prefixes, (280, 200_000)):
        response = "</think>" + prefix + piece * (size // len(piece)) + "}"
        start = time.thread_time()
        score(example("2021-03-04"), response)
        assert time.thread_time() - start < 0.5


@pytest.mark.parametrize(
    ("golds", "metadata", "message"),
    [
        (("soon",), {}, "answers=['soon']: must be a date such as 2021-03-04"),
        (("2021-03-04", "perpetual"), {}, "answers=['perpetual']: must be a date"),
        (("[]/[]/2004",), {}, "must be a date"),
        (("2021-02-30",), {}, "'2021-02-30' is no date"),
        (("2018 or 2019",), {}, "it is no single date"),
        (("not 2021",), {}, "a number is not the answer"),
        (("March 4, 2021 " * 40,), {}, "must be a date"),
        ((), {}, "answers=[]: must be one date or more"),
        (("2021",), {"day_first": "yes"}, "metadata day_first='yes': must be true or false"),
    ],
)
def test_check_names_what_cannot_be_right(
    golds: tuple[str, ...], metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check(example(*golds, **metadata))


def test_reading_keeps_both_ways_round() -> None:
    assert read("3/4/2021").claims == ((Date(2021, 4, 3), Date(2021, 3, 4)),)
    assert read("3/4/2021", day_first=True).claims == ((Date(2021, 4, 3),),)
    assert read("Thursday, 3/4/2021").claims == ((Date(2021, 3, 4),),)
    assert read("Monday, 3/4/2021").problem == "it was no monday"


def test_breakdown_says_what_is_wrong() -> None:
    def why(answer: str, gold: str) -> str:
        return said(answer, gold).breakdown["why"]

    assert why("2021-03-05", "2021-03-04") == "wrong: it is another date than the gold answer"
    assert why("2021", "2021-03-04") == "wrong: it is less precise than the gold answer"
    assert why("3/4/2021", "2021-03-04") == "wrong: day and month may be either way round"
    assert why("before 2021", "2021") == "wrong: it says before or after, not when"
    assert why("2021", "2021") == "right: it is the gold answer's date"
    assert "never closed" in score(example("2021"), "Answer: 2021").breakdown["why"]
