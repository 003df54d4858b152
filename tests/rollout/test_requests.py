"""Prompts shared out among actors, and the seeds that make their rollouts repeatable."""

from __future__ import annotations

from random import Random

from qwenlong.rollout.requests import balanced, requests_of
from qwenlong.types import Example, Prompt


def prompts(*names: str) -> list[Prompt]:
    return [Prompt(Example(name, "mine", "Who?", ("Ann.",), ("Ann",)), (1,)) for name in names]


def seeds_of(prompts: list[Prompt], *salt: object) -> list[int]:
    return [request.seed for request in requests_of(prompts, *salt)]


def test_shares_part_the_prompts_and_weigh_about_the_same() -> None:
    rng = Random(0)
    for parts in (1, 2, 3, 7):
        lengths = [rng.randint(1, 1000) for _ in range(rng.randint(parts, 60))]
        shares = balanced(lengths, parts)
        assert sorted(i for share in shares for i in share) == list(range(len(lengths)))
        assert all(share == sorted(share) for share in shares)
        loads = [sum(lengths[i] for i in share) for share in shares]
        assert max(loads) - min(loads) <= max(lengths)


def test_more_actors_than_prompts_leaves_some_without() -> None:
    assert balanced([5, 9], 4) == [[1], [0], [], []]
    assert balanced([], 2) == [[], []]


def test_one_long_prompt_weighs_as_much_as_many_short() -> None:
    assert balanced([10, 10, 10, 31, 1], 2) == [[3], [0, 1, 2, 4]]


def test_seeds_are_repeatable_distinct_and_of_what_they_are_for() -> None:
    asked = prompts("a", "b", "a")
    seeds = seeds_of(asked, 0, "phase1", 3)
    assert seeds == seeds_of(asked, 0, "phase1", 3)
    others = [
        *seeds_of(asked, 0, "phase1", 4),
        *seeds_of(asked, 0, "phase2", 3),
        *seeds_of(asked, 1, "phase1", 3),
    ]
    # The same example twice in a batch is sampled twice, not copied.
    assert len({*seeds, *others}) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)
