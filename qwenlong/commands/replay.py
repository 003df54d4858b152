"""``qwenlong replay``: sample a step's rollouts again and compare them with those kept."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from transformers.utils import logging as transformers_logging

from qwenlong.runs.directory import RunDir
from qwenlong.runs.replay import (
    checkpoint_before,
    compare,
    copy_for_replay,
    find_phase,
    replay_plan,
)
from qwenlong.train.inputs import read_inputs
from qwenlong.train.launch import config_of, reserve, run_stages, was_before
from qwenlong.train.progress import line_printer
from qwenlong.train.rewards import check_judge


def replay_step(root: Path, stage: str | None, step: int, console: Console) -> bool:
    """Samples a step's rollouts again, in a copy of the run, and says whether they are equal.

    Raises:
        InputError: the run has no such step.
    """
    transformers_logging.disable_progress_bar()
    run = RunDir.open(root)
    config = replace(config_of(run, root), loggers=[])
    phase = find_phase(config, run, stage, step)
    say = line_printer(console)
    last = checkpoint_before(config, run, phase, step, say)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        with console.status("reading data"):
            inputs = read_inputs(config, Path(scratch))
        check_judge(config, say)
        again = copy_for_replay(run, Path(scratch) / "again")
        again.rewind(lambda line: was_before(config, line, last, dict.fromkeys(config.stages, 0)))
        group = reserve(inputs, stack, console)
        say(replay_plan(last, phase, step))
        run_stages(inputs, again, last, group, console, replayed=(phase, step))
        between = [line for line in again.logged() if line["kind"] == "rl"]
        sampled = [*((line["stage"], line["step"]) for line in between), (phase, step)]
        comparisons = [compare(run, again, *at) for at in sampled]
    for comparison in comparisons:
        say(str(comparison))
    return not any(comparison.first for comparison in comparisons)
