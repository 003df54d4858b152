"""Where tokens lie in a packed row, and how groups are packed under a budget of tokens."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.learner.attention.layout import Block, Layout
from qwenlong.learner.micro_batches import RowSlice, Slices, layout_of, packed
from qwenlong.types import Row
from tests.arrays import row

LAYOUT = Layout(((3, (2, 0, 1)), (1, ()), (2, (0, 1))))
"""Tokens 0 1 2 | 3 4 | | 5 and 6 and 7 8 | | 9."""

CASES = settings(derandomize=True, max_examples=100, database=None)
GROUPS = st.lists(
    st.tuples(st.integers(1, 12), st.lists(st.integers(0, 9), min_size=1, max_size=6)),
    min_size=1,
    max_size=6,
)
"""Tokens of each prompt and its responses."""


def row_of(prompt: int, responses: list[int], name: int = 0) -> Row:
    """Every token and number of the row tells whose it is."""
    return row(
        [name] * prompt,
        [[100 * name + i] * n for i, n in enumerate(responses)],
        [[-float(i)] * n for i, n in enumerate(responses)],
        [100.0 * name + i for i in range(len(responses))],
    )


def rows_of(groups: list[tuple[int, list[int]]]) -> list[Row]:
    return [row_of(*group, name=name) for name, group in enumerate(groups)]


def tokens_of(micro_batch: Slices) -> int:
    return layout_of(micro_batch).tokens


# The layout.


def test_positions_go_on_from_each_prompt_by_hand() -> None:
    assert LAYOUT.tokens == 10
    assert LAYOUT.starts() == [(0, [3, 5, 5]), (6, []), (7, [9, 9])]
    assert LAYOUT.positions().tolist() == [[0, 1, 2, 3, 4, 3, 0, 0, 1, 2]]


def test_a_first_token_is_predicted_by_its_prompts_last_by_hand() -> None:
    assert LAYOUT.predictors().tolist() == [2, 3, 2, 8]
    assert Layout(((5, (0, 0)),)).predictors().tolist() == []
    assert LAYOUT.predictors().dtype == torch.long


def test_owners_by_hand() -> None:
    group, response = LAYOUT.owners()
    assert group.tolist() == [0, 0, 0, 0, 0, 0, 1, 2, 2, 2]
    assert response.tolist() == [0, 0, 0, 1, 1, 3, 0, 0, 0, 2]


def test_parts_by_hand() -> None:
    """Prompts see themselves; all responses their prompt at once; each response itself."""
    assert LAYOUT.blocks() == [
        Block(slice(0, 3), slice(0, 3), causal=True),
        Block(slice(3, 6), slice(0, 3), causal=False),
        Block(slice(3, 5), slice(3, 5), causal=True),
        Block(slice(5, 6), slice(5, 6), causal=True),
        Block(slice(6, 7), slice(6, 7), causal=True),
        Block(slice(7, 9), slice(7, 9), causal=True),
        Block(slice(9, 10), slice(7, 9), causal=False),
        Block(slice(9, 10), slice(9, 10), causal=True),
    ]


@CASES
@given(GROUPS)
def test_parts_are_what_owners_may_see(groups: list[tuple[int, list[int]]]) -> None:
    """Every pair of query and key that a response's own row would have, and each one once.

    In the last layer for responses and the last token of each prompt, no query else.
    """
    layout = Layout(tuple((prompt, tuple(responses)) for prompt, responses in groups))
    seen, seen_last = pairs_of(layout, False), pairs_of(layout, True)
    group, response = layout.owners()
    positions = layout.positions()[0]
    related = (response[None] == 0) | (response[None] == response[:, None])
    sees = (group[None] == group[:, None]) & related & (positions[None] <= positions[:, None])
    assert torch.equal(seen, sees.int())
    read = response > 0
    for (prompt, _), (start, _) in zip(layout.groups, layout.starts(), strict=True):
        read[start + prompt - 1] = True
    assert torch.equal(seen_last, sees.int() * read[:, None])


def pairs_of(layout: Layout, last_layer: bool) -> torch.Tensor:
    """How often a query sees a key [T, T] over the layout's parts."""
    seen = torch.zeros(layout.tokens, layout.tokens, dtype=torch.int)
    for part in layout.blocks(last_layer):
        block = torch.ones(
            part.queries.stop - part.queries.start, part.keys.stop - part.keys.start
        ).int()
        seen[part.queries, part.keys] += block.tril() if part.causal else block
    return seen


# The packing.


@CASES
@given(GROUPS, st.integers(21, 60))
def test_packing_has_every_response_once_and_keeps_to_the_budget(
    groups: list[tuple[int, list[int]]], budget: int
) -> None:
    rows = rows_of(groups)
    micro_batches = packed(rows, budget)
    assert all(0 < tokens_of(each) <= budget for each in micro_batches)
    pieces = sorted(
        (piece.row.prompt_ids[0], piece.first, piece.last)
        for each in micro_batches
        for piece in each
    )
    for name, each in enumerate(rows):
        own = [(first, last) for of, first, last in pieces if of == name]
        assert own[0][0] == 0 and own[-1][1] == len(each.responses)
        assert all(last == first for (_, last), (first, _) in pairwise(own))
    assert packed(rows, budget) == micro_batches


@CASES
@given(GROUPS, st.integers(21, 60))
def test_a_prompt_is_repeated_only_where_its_group_is_larger_than_the_budget(
    groups: list[tuple[int, list[int]]], budget: int
) -> None:
    pieces = [piece for each in packed(rows_of(groups), budget) for piece in each]
    for name, (prompt, responses) in enumerate(groups):
        own = [piece for piece in pieces if piece.row.prompt_ids[0] == name]
        if prompt + sum(responses) <= budget:
            assert len(own) == 1
        for one, two in pairwise(sorted(own, key=lambda piece: piece.first)):
            # Another response would have gone over the budget.
            assert one.tokens + len(two.responses[0]) > budget
        assert sum(piece.tokens for piece in own) == len(own) * prompt + sum(responses)


def test_a_split_group_keeps_its_responses_numbers_by_hand() -> None:
    (whole,) = rows = [row_of(4, [3, 0, 2, 5, 1], name=7)]
    micro_batches = packed(rows, 10)
    assert micro_batches == [(RowSlice(whole, 3, 5),), (RowSlice(whole, 0, 3),)]
    (piece,) = micro_batches[0]
    assert [each.tolist() for each in piece.responses] == [[703] * 5, [704]]
    assert piece.advantages == (703.0, 704.0)
    assert [each.tolist() for each in piece.logprobs] == [[-3.0] * 5, [-4.0]]
    assert piece.tokens == 10
    assert layout_of(micro_batches[1]) == Layout(((4, (3, 0, 2)),))


def test_groups_fill_micro_batches_the_longest_first_by_hand() -> None:
    rows = rows_of([(2, [3]), (4, [6]), (1, [1, 1]), (3, [4])])
    names = [[piece.row.prompt_ids[0] for piece in each] for each in packed(rows, 13)]
    assert names == [[1, 2], [3, 0]]
    assert packed([], 13) == []


def test_a_budget_below_a_prompt_and_one_response_is_refused() -> None:
    rows = rows_of([(4, [3]), (8, [2, 5, 1])])
    assert packed(rows, 13)
    with pytest.raises(
        ValueError, match=r"^learner.max_tokens=12: a prompt of 8 tokens .* of 5 need 13$"
    ) as error:
        packed(rows, 12)
    assert "\n" not in str(error.value)
