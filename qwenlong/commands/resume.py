"""``qwenlong resume``: continue a stopped run from its last whole checkpoint."""

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
from qwenlong.train.inputs import Prepared, prepare
from qwenlong.train.launch import (
    config_of,
    finish,
    last_of,
    reserved,
    rewind,
    run_stages,
)
from qwenlong.train.progress import teller
from qwenlong.train.rewards import check_judge


def resume_run(root: Path, console: Console) -> None:
    transformers_logging.disable_progress_bar()
    run = RunDir.open(root)
    with ExitStack() as stack:
        stack.enter_context(only_one(root))
        config = config_of(run, root)
        with tempfile.TemporaryDirectory() as scratch, console.status("reading data"):
            prepared = prepare(config, Path(scratch))
        check_judge(config, teller(console))
        last = last_of(run, config, teller(console))
        if _is_finished(run, prepared, last):
            console.print("the run is finished; there is nothing to go on with")
            finish(run, console)
            return
        group = reserved(prepared, stack, console)
        rewind(run, config, last, teller(console))
        run_stages(prepared, run, last, group, console)
        finish(run, console)


def _is_finished(run: RunDir, prepared: Prepared, last: Checkpoint | None) -> bool:
    """Through all its stages as they are configured now, evaluated, and its policy written."""
    stages = prepared.config.stages
    done = {stage["name"] for stage in run.summary()["stages"]}
    if not last or last.stage != list(stages)[-1] or not run.policy.is_dir():
        return False
    final = stages[last.stage]
    short = isinstance(final, RlStage) and not final.target and last.step < final.steps
    return done >= set(stages) and not short
