"""``qwenlong train``: check everything, make the run directory, train, report."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from transformers.utils import logging as transformers_logging

from qwenlong.config import TINY, Config
from qwenlong.disk.lock import only_one
from qwenlong.runs.directory import RunDir, refuse_taken
from qwenlong.runs.loggers import check_loggers
from qwenlong.train.inputs import read_inputs
from qwenlong.train.launch import finish, reserve, run_stages
from qwenlong.train.progress import line_printer
from qwenlong.train.rewards import check_judge


def train_new(config: Config, console: Console) -> None:
    """Checks everything, then makes the run directory, then trains."""
    transformers_logging.disable_progress_bar()
    refuse_taken(Path(config.run_dir))
    check_loggers(config.loggers)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        with console.status("reading data"):
            inputs = read_inputs(config, Path(scratch))
        check_judge(config, line_printer(console))
        group = reserve(inputs, stack, console)
        stack.enter_context(only_one(Path(config.run_dir)))
        built = Path(inputs.policy) if config.policy.path == TINY else None
        run = RunDir.create(config, built)
        if built:
            inputs = replace(inputs, policy=str(run.initial_policy))
        run_stages(inputs, run, None, group, console)
        finish(run, console)
