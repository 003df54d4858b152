"""The uniform sampler: everything once an epoch, and the same again from its state."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from qwenlong.curricula.history import History
from qwenlong.curricula.sampler import Sampler
from qwenlong.types import Example, Prompt

PROMPTS = [Prompt(Example(str(i), "mine", "Who?", ("Ann.",), ("Ann",)), (i,)) for i in range(13)]


def ids(prompts: list[Prompt]) -> list[int]:
    return [prompt.ids[0] for prompt in prompts]


@pytest.mark.parametrize("n", [1, 4, 13, 40])
def test_every_epoch_has_everything_once(n: int) -> None:
    sampler = Sampler(PROMPTS, History(), 0)
    drawn: list[int] = []
    while len(drawn) < 13 * n:
        part = ids(sampler.draw(n))
        assert len(part) == n
        drawn += part
    for start in range(0, 13 * n, 13):
        assert sorted(drawn[start : start + 13]) == list(range(13))


def test_epochs_and_seeds_differ_in_order() -> None:
    epochs = [tuple(ids(Sampler(PROMPTS, History(), seed).draw(13))) for seed in ("0 one", "0 two")]
    sampler = Sampler(PROMPTS, History(), "0 one")
    epochs += [tuple(ids(sampler.draw(13))) for _ in range(3)]
    assert epochs[2] == epochs[0]
    assert len(set(epochs)) == 4
    firsts = Counter(ids(Sampler(PROMPTS, History(), seed).draw(1))[0] for seed in range(650))
    assert len(firsts) == 13 and max(firsts.values()) < 100


@pytest.mark.parametrize("before", [0, 1, 12, 13, 14, 40])
def test_a_restored_sampler_draws_what_would_have_come(before: int) -> None:
    sampler = Sampler(PROMPTS, History(), 5)
    for _ in range(before):
        sampler.draw(1)
    state = json.loads(json.dumps(sampler.state()))
    expected = ids(sampler.draw(30))
    other = Sampler(PROMPTS, History(), 5)
    other.draw(3)
    other.restore(state)
    assert ids(other.draw(30)) == expected
