"""Tables as text lose no cell; groups are what shares something, through others, too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenlong.data.rows import RowError
from qwenlong.data.sources import tables
from qwenlong.data.sources.fields import as_text, joined_groups, titled_pages
from qwenlong.data.sources.reports import plain_number

CELLS = st.sampled_from(["", "Sales", "2019", "$ 1,452.4", "(12)", "a b", "%", "–"])


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n))))
def test_every_cell_is_in_the_text(rows: list[list[str]]) -> None:
    if not rows:
        with pytest.raises(ValueError, match="a table must have rows of one length"):
            tables.text(rows)
        return
    text = tables.text(rows)
    assert all(cell in text for row in rows for cell in row)


def test_heads() -> None:
    assert tables.text([["", "2019", "2018"], ["Sales", "5", ""], ["Other:", "", ""]]) == (
        "Sales | 2019: 5 | 2018: -\nOther:"
    )
    assert tables.text([["", "2019", ""], ["", "Note", "£m"], ["Sales", "3", "5"]]) == (
        "2019\nSales | Note: 3 | £m: 5"
    )
    assert tables.text([["", "Year", ""], ["(in £)", "2019", "2018"], ["Sales", "3", "5"]]) == (
        "Year\n(in £): Sales | 2019: 3 | 2018: 5"
    )
    # A row of figures is none that names columns, though one is left without a name.
    assert tables.text([["", "2019", ""], ["Sales", "3", "5%"]]) == "2019\nSales | 3 | 5%"
    assert tables.text([["a", "-"], ["b", "c"]], head=1) == "a\nb | c"
    with pytest.raises(ValueError, match=r"one length, not \[1, 2\]"):
        tables.text([["a"], ["b", "c"]])


def test_figures_are_written_as_people_do() -> None:
    given_and_written = {
        688.0: "688",
        "0.935": "0.935",
        "1e-05": "0.00001",
        -0.0: "0",
        1e7: "10000000",
        4: "4",
    }
    for number, written in given_and_written.items():
        assert plain_number(number) == written
    for wrong in ("n/a", "", None, True, float("nan"), [1]):
        with pytest.raises(RowError, match="is no number"):
            plain_number(wrong)


def test_texts_are_texts() -> None:
    assert as_text(" a ", "question") == "a"
    for wrong, why in {
        " ": "is blank",
        "\ud800": "half of a surrogate",
        5: "must be a text, is a number",
    }.items():
        with pytest.raises(RowError, match=f"question {why}|question has {why}"):
            as_text(wrong, "question")


def test_sentences_stand_as_they_stood() -> None:
    for sentences in (['A said: "', 'Go."', " B went."], ["A. ", "B went."], ["A.", "B went."]):
        whole = 'A said: "Go." B went.' if len(sentences) == 3 else "A. B went."
        assert titled_pages({"context": [["T", sentences]]}) == (["T"], (f"T\n{whole}",))


SHARED = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2), st.lists(st.integers(0, 9).map(str), max_size=3)
)


@given(SHARED)
def test_what_shares_something_is_of_one_group(shared: dict[str, list[str]]) -> None:
    groups = joined_groups(shared)
    assert groups.keys() == shared.keys()
    assert groups == joined_groups(dict(reversed(shared.items())))
    for name, things in shared.items():
        assert groups[name] <= name and groups[groups[name]] == groups[name]
        for other, others in shared.items():
            assert groups[name] == groups[other] or not set(things) & set(others)


def test_sharing_counts_through_others() -> None:
    shared = {f"t{i}": [f"page {i}"] for i in range(20)}
    shared |= {f"s{i}": [f"link {i}", f"link {i + 1}"] for i in range(10)}
    groups = joined_groups(shared)
    assert {groups[f"s{i}"] for i in range(10)} == {"s0"}
    assert all(groups[f"t{i}"] == f"t{i}" for i in range(20))
