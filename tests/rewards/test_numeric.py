"""What holds of every number, and what cannot be a case of cases/numeric.jsonl."""

from __future__ import annotations

import contextlib
import re
import time
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.rewards.kinds.numeric import NAME, check, score
from qwenlong.rewards.numbers.quantities import read
from qwenlong.types import Example, Score

SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
DECIMALS = st.decimals(
    min_value=Decimal(-(10**9)), max_value=Decimal(10**9), places=3, allow_nan=False
)


def example(*golds: str, question: str = "What is it?", **metadata: Any) -> Example:
    return Example("7", "test", question, (), golds, kind="numeric", metadata=metadata)


def said(answer: str, *golds: str, **metadata: Any) -> Score:
    response = f"<think>Well.</think>\n\nTherefore, the answer is {answer}."
    return score(example(*golds, **metadata), response)


def western(number: Decimal) -> str:
    return f"{number:,}"


def european(number: Decimal) -> str:
    return western(number).translate(str.maketrans(",.", ".,"))


@given(DECIMALS)
def test_every_way_of_writing_a_number_is_read_the_same(number: Decimal) -> None:
    gold, minus = str(number), "-" if number < 0 else ""
    size = western(abs(number))
    ways = [
        western(number),
        western(number).replace(",", " "),
        western(number).replace(",", "'"),
        western(number).replace("-", "\u2212"),
        f"{minus}${size}",
        f"${minus}{size}$",
        f"about {minus}{size}",
        f"\\boxed{{{gold}}}",
        f"{minus}{size} dollars",
        gold.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
        gold.translate(str.maketrans("0123456789", "०१२३४५६७८९")),
        gold.translate(str.maketrans("0123456789.-", "０１２３４５６７８９．－")),
        f"x = 1 + 1 = {gold}",
    ]
    if abs(number) >= 10**6:
        ways.append(european(number))
    if number < 0:
        ways += [f"(${size})", f"minus {size}", f"a decrease of {size}"]
    for way in ways:
        verdict = said(way, gold)
        assert verdict.value == 1.0, (way, dict(verdict.breakdown))


@given(DECIMALS.filter(lambda number: number != 0), st.integers(1, 9))
def test_a_wrong_sign_or_scale_is_never_paid(number: Decimal, power: int) -> None:
    gold = str(number)
    assert said(str(-number), gold).value == 0.0
    assert said(western(-number), gold).value == 0.0
    for answer in (number.scaleb(power), number.scaleb(-power)):
        assert said(f"{answer:f}", gold).value == 0.0
        assert said(f"{answer:,f}", gold).value == 0.0
    assert said(f"{gold}%", gold).value == 0.0
    for scale in SCALES:
        assert said(f"{gold} {scale}", gold).value == 0.0
        assert said(gold, gold, scale=scale).value == 0.0
        others = [other for other in SCALES if other != scale]
        assert not any(said(f"{gold} {other}", gold, scale=scale).value for other in others)


@given(DECIMALS, st.sampled_from(sorted(SCALES)))
def test_scales_say_the_same_as_zeros(number: Decimal, scale: str) -> None:
    gold = str(number)
    assert said(f"{gold} {scale}", gold, scale=scale).value == 1.0
    assert said(f"{gold} {scale}", f"{gold} {scale}").value == 1.0
    full = number.scaleb(SCALES[scale])
    assert said(f"{full:,.0f}", gold, scale=scale).value == 1.0
    assert said(f"{full:.0f}", f"{gold} {scale}").value == 1.0


@given(DECIMALS, st.integers(-2, 2))
def test_the_last_place_decides(number: Decimal, steps: int) -> None:
    other = number + steps * Decimal("0.001")
    assert said(str(other), str(number)).value == float(steps == 0)
    near = number + steps * Decimal("0.0002")
    assert said(str(near), str(number)).value == float((near > 0) == (number > 0))


@given(DECIMALS, DECIMALS)
def test_two_numbers_are_right_only_if_both_are(one: Decimal, other: Decimal) -> None:
    if abs(one - other) > Decimal("0.001"):
        for joint in (" or ", " and ", ", ", "; ", " to ", " (or ", " = "):
            assert said(f"{one}{joint}{other}", str(one)).value == 0.0
            assert said(f"{other}{joint}{one}", str(one)).value == 0.0


@given(st.fractions(min_value=-50, max_value=50, max_denominator=999))
def test_reading_is_exact(number: Fraction) -> None:
    written = f"{number.numerator}/{number.denominator}"
    assert [claim.value for claim in read(written).claims] == [number]


@given(st.integers(1, 999), st.integers(2, 999), st.integers(2, 9))
def test_a_division_left_undone_is_no_result(above: int, below: int, factor: int) -> None:
    number = Fraction(above, below)
    if number.denominator > 1:
        lowest = f"{number.numerator}/{number.denominator}"
        gold = f"{float(number):.9f}"
        assert said(lowest, gold).value == 1.0
        assert said(f"{above * factor}/{below * factor}", gold).value == 0.0
        assert said(f"{above * factor}/{below * factor} = {gold}", gold).value == 1.0
        assert said(f"{above * factor}/{below * factor}", f"{above}/{below}").value == 1.0


PIECES = st.sampled_from(
    "32.4 1,234 -5 ( ) $ % million 万 亿 三 百 点 not or = ≈ \\frac{ { } } \\boxed{ ^ ** × 10^ e9"
    " 1e99 2019 in of a / . , ' ٣ ३ ５ ½ ³ \ud800 \x00 \u200f \u0301 per cent bps ₹"
    " 원 억 \n Answer:".split(" ")
)
ANY = (
    st.text(max_size=60)
    | st.lists(PIECES, max_size=14).map("".join)
    | st.lists(PIECES).map(" ".join)
)


@settings(max_examples=600)
@given(
    ANY, st.sampled_from(["32.4", "-5 million", "12.5%", "1.234,5", "3/4", "三万"]), st.booleans()
)
def test_never_raises_and_says_the_same_twice(text: str, gold: str, thinking: bool) -> None:
    for response in (text, f"</think>Answer: {text}", f"</think>\\boxed{{{text}}}"):
        verdict = score(example(gold), response, thinking)
        assert verdict.value in (0.0, 1.0)
        assert verdict == score(example(gold), response, thinking)
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
        "1", "1,", ",123", " 123", "1.", "1 ", "1/", "1e", "-", "- ", "(", ")", "$", "$1", "%",
        "=", "=1", "≈1", "million ", "1 million ", "万", "三", "一二", "点", "1亿", "\\frac{1}",
        "\\frac{", "\\text{", "\\boxed{", "{", "}", "^", "10^", "×10^2", "*", "**", "½", "³",
        "٣", "３", "\u0301", "\u0301\u0316", "\ud800", "\x00", "\u200f", "[1]", "(1-1)", "not ",
        "or ", "in ", "five ", "twenty-", "hundred ", "2019 ", "May ", "ﷺ", "억", "삼", "हज़ार ",
        "<", "per ", "a",
    ],
)  # fmt: skip
def test_long_answers_are_quick(piece: str) -> None:
    prefixes = ("Therefore, the answer is ", "\\boxed{", "Answer: 5 ", "x\n\n")
    for prefix, size in product(prefixes, (380, 200_000)):
        response = "</think>" + prefix + piece * (size // len(piece)) + "}"
        start = time.thread_time()
        score(example("32.4"), response)
        assert time.thread_time() - start < 0.5


def test_huge_numbers_cost_nothing() -> None:
    start = time.thread_time()
    for answer in ("1e999999999", "9" * 390, "1e400", "1e-400", "10^999999", "1 billion " * 30):
        assert said(answer, "1").value == 0.0
    assert time.thread_time() - start < 0.5


@pytest.mark.parametrize(
    ("golds", "metadata", "message"),
    [
        (("yes",), {}, "answers=['yes']: must be a number such as -1,234.5"),
        (("1", "no"), {}, "answers=['no']: must be a number"),
        (("5 or 6",), {}, "it offers a choice of numbers"),
        (("5, 6",), {}, "it is no single number"),
        (("not 5",), {}, "a number is not the answer"),
        (("1.2.3",), {}, "'1.2.3' cannot be read safely"),
        (("5" * 500,), {}, "must be a number"),
        ((), {}, "answers=[]: must be one number or more"),
        (("5",), {"scale": "dozenish"}, "metadata scale='dozenish': must be a word"),
        (("5%",), {"scale": "million"}, "must agree"),
        (("5",), {"decimal": ";"}, "metadata decimal=';': must be '.' or ','"),
        (
            ("5",),
            {"rel_tolerance": 2},
            "metadata rel_tolerance='2': must be a number from 0 to 0.1",
        ),
        (("5",), {"rel_tolerance": "much"}, "must be a number from 0 to 0.1"),
        (("5",), {"rel_tolerance": "1/0"}, "must be a number from 0 to 0.1"),
        (("1.234 millones",), {}, "cannot be read safely"),
    ],
)
def test_check_names_what_cannot_be_right(
    golds: tuple[str, ...], metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check(example(*golds, **metadata))


def test_breakdown_says_what_is_wrong() -> None:
    def why(answer: str, gold: str, **metadata: Any) -> str:
        return said(answer, gold, **metadata).breakdown["why"]

    assert why("-5", "5") == "wrong: '5' has the wrong sign"
    assert why("50", "5") == "wrong: '50' has the wrong scale"
    assert why("6", "5") == "wrong: '6' is another number than '5'"
    assert why("€5", "$5") == "wrong: it has another unit or currency than the gold answer"
    assert why("5 or 6", "5") == "wrong: it offers a choice of numbers"
    assert why("5", "5") == "right: it claims the gold answer's number"
    assert said("5", "5", scale="million").breakdown["compared_with"] == "5 million"
    assert "never closed" in score(example("5"), "Answer: 5").breakdown["why"]
