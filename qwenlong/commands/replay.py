"""``qwenlong replay``: sample a step's rollouts again and compare them with those kept."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from transformers.utils import logging as transformers_logging

from qwenlong.runs.directory import RunDir
from qwenlong.runs.replay import beside, checkpoint_before, compare, from_where, target, told
from qwenlong.train.inputs import prepare
from qwenlong.train.launch import (
    config_of,
    reserved,
    run_stages,
    was_before,
)
from qwenlong.train.progress import teller
from qwenlong.train.rewards import check_judge


def replay_step(root: Path, stage: str | None, step: int, console: Console) -> bool:
    """Makes a step's rollouts again, beside the run, and says whether they are those it has.

    Raises:
        InputError: the run has no such step.
    """
    transformers_logging.disable_progress_bar()
    run = RunDir.open(root)
    config = replace(config_of(run, root), loggers=[])
    until = target(config, run, stage, step)
    say = teller(console)
    last = checkpoint_before(config, run, *until, say)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        with console.status("reading data"):
            prepared = prepare(config, Path(scratch))
        check_judge(config, say)
        again = beside(run, Path(scratch) / "again")
        again.rewind(lambda line: was_before(config, line, last, dict.fromkeys(config.stages, 0)))
        group = reserved(prepared, stack, console)
        say(from_where(last, *until))
        run_stages(prepared, again, last, group, console, until)
        between = [line for line in again.logged() if line["kind"] == "rl"]
        made = [*((line["stage"], line["step"]) for line in between), until]
        steps = [compare(run, again, *at) for at in made]
    for compared in steps:
        say(told(compared))
    return not any(compared.first for compared in steps)
