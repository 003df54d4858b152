"""``qwenlong plan``: what a run needs, from the experiment file alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from qwenlong.config.reading import load_config
from qwenlong.plan.show import show_plan
from qwenlong.train.names import check_names


def plan_run(
    experiment: Path, overrides: Sequence[str], hardware: str | None, console: Console
) -> bool:
    """Prints the plan, and returns whether everything fits.

    Raises:
        InputError: what is wrong in the experiment; no such hardware; a policy of unknown shape.
    """
    config = load_config(experiment, overrides)
    check_names(config)
    return show_plan(config, hardware, console)
