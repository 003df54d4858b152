"""Phase k draws the lengths in (L(k-1), L(k)]."""

from __future__ import annotations

import pytest

from qwenlong.curricula.phases import length_band
from qwenlong.types import Example, InputError, Prompt

EXAMPLE = Example("a", "mine", "Who?", ("Ann.",), ("Ann",))
PROMPTS = [Prompt(EXAMPLE, (7,) * n) for n in (11, 1, 20, 10, 30, 21, 20, 31)]


def lengths(prompts: tuple[Prompt, ...]) -> list[int]:
    return [len(prompt.ids) for prompt in prompts]


def test_a_band_has_its_upper_bound_and_not_its_lower() -> None:
    assert lengths(length_band(PROMPTS, 0, 10, "one")) == [1, 10]
    assert lengths(length_band(PROMPTS, 10, 20, "two")) == [11, 20, 20]
    assert lengths(length_band(PROMPTS, 20, 30, "three")) == [30, 21]


def test_bands_part_the_prompts() -> None:
    bands = [length_band(PROMPTS, low, high, "any") for low, high in ((0, 10), (10, 20), (20, 31))]
    assert sorted(n for band in bands for n in lengths(band)) == sorted(lengths(tuple(PROMPTS)))


def test_an_empty_band_says_what_there_is() -> None:
    with pytest.raises(InputError, match=r"stages\.two\.context=40: .*32.*40.*1 to 31 tokens"):
        length_band(PROMPTS, 32, 40, "two")
    with pytest.raises(InputError, match=r"data\.train has no tokens"):
        length_band([], 0, 40, "two")
