"""``qwenlong resume``: continue a stopped run from its last complete checkpoint."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from transformers.utils import logging as transformers_logging

from qwenlong.config import RlStage
from qwenlong.disk.lock import only_one
from qwenlong.runs.checkpoints import Checkpoint
from qwenlong.runs.directory import RunDir
from qwenlong.train.inputs import Inputs, read_inputs
from qwenlong.train.launch import config_of, finish, last_of, reserve, rewind, run_stages
from qwenlong.train.progress import line_printer
from qwenlong.train.rewards import check_judge


def resume_run(root: Path, console: Console) -> None:
    transformers_logging.disable_progress_bar()
    run = RunDir.open(root)
    with ExitStack() as stack:
        stack.enter_context(only_one(root))
        config = config_of(run, root)
        with tempfile.TemporaryDirectory() as scratch, console.status("reading data"):
            inputs = read_inputs(config, Path(scratch))
        check_judge(config, line_printer(console))
        last = last_of(run, config, line_printer(console))
        if _is_finished(run, inputs, last):
            console.print("the run is finished; there is nothing to continue")
            finish(run, console)
            return
        group = reserve(inputs, stack, console)
        rewind(run, config, last, line_printer(console))
        run_stages(inputs, run, last, group, console)
        finish(run, console)


def _is_finished(run: RunDir, inputs: Inputs, last: Checkpoint | None) -> bool:
    """Whether all stages, as they are configured now, are trained and evaluated, and the policy is
    written."""
    stages = inputs.config.stages
    done = {stage["name"] for stage in run.summary()["stages"]}
    if not last or last.state.stage != list(stages)[-1] or not run.policy.is_dir():
        return False
    final = stages[last.state.stage]
    short = isinstance(final, RlStage) and not final.target and last.state.step < final.steps
    return done >= set(stages) and not short
