"""Text and numbers in Markdown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from experiments.findings.markdown import (
    TEXT_SHOWN,
    averaged,
    by_seed,
    code,
    count,
    joined,
    number,
    seeds,
)

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


@given(st.text(alphabet="`|\\\\<>&*_[]()!\n\u202e\x00 ab#-", max_size=40))
def test_a_code_span_holds_anything(text: str) -> None:
    shown = MARKDOWN.parse(f"| a | b |\n| --- | --- |\n| {code(text)} | after |")
    cells = [token for token in shown if token.type == "inline"][2:]
    assert len(cells) == 2 and cells[1].content == "after"
    kinds = [child.type for child in cells[0].children or ()]
    assert kinds == ["code_inline"] or not text.split()
    if text.split():
        span = (cells[0].children or [])[0]
        kept = " ".join(text.split()).replace("|", "¦")
        assert span.content.strip() == kept.replace("\u202e", "�").replace("\x00", "�")


def test_a_long_text_loses_its_middle() -> None:
    text = code("a" * 500 + "end")
    assert len(text) < TEXT_SHOWN + 10 and " … " in text and text.endswith("end`")


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (-0.1234, ".3f", "−0.123"),
        (0.1, "+.3f", "+0.100"),
        (-0.0001, "+.3f", "0.000"),
        (0.0, ".1e", "0"),
        (2e-13, ".1e", "2.0e-13"),
        (12345.6, ",.0f", "12,346"),
    ],
)
def test_numbers(value: float, form: str, text: str) -> None:
    assert number(value, form) == text


def test_numbers_over_seeds() -> None:
    assert averaged({}, ".2f") == "–"
    assert averaged({3: 0.5}, "+.2f") == "+0.50"
    assert averaged({0: 1.0, 1: 3.0}, "+.2f") == "+2.00\u00a0±\u00a01.41"
    assert by_seed({2: 0.1, 0: -0.2}, "+.1f") == "−0.2, +0.1"
    assert (seeds([1]), seeds({2, 0, 1})) == ("seed 1", "seeds 0, 1 and 2")
    assert (count(1, "run"), count(1200, "run")) == ("1 run", "1,200 runs")
    assert joined(["a", "b"]) == "a and b"
