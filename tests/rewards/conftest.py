"""How much of a real set a test reads."""

from __future__ import annotations

import pytest


@pytest.fixture(
    params=[pytest.param(20, id="sample"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
def every(request: pytest.FixtureRequest) -> int:
    """1 for every question of a set, or n for every nth of them."""
    n: int = request.param
    return n
