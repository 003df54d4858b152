"""How much of a real set a test reads, and what its CPU time holds."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(
    params=[pytest.param(20, id="sample"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
def every(request: pytest.FixtureRequest) -> int:
    """1 for every question of a set, or n for every nth of them."""
    n: int = request.param
    return n


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """Some tests bound CPU time, which must not include collecting what other files have left.

    They read the time of their own thread, because Ray and vLLM may have left threads, too.
    """
    gc.disable()
    yield
    gc.enable()
