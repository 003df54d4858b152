"""From a command to a run: what is checked first, started, and left at the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from transformers.utils import logging as transformers_logging

from qwenlong import signals
from qwenlong.checkpoints import (
    Checkpoint,
    last_checkpoint,
    trainer_checkpoint,
    trainer_folder,
)
from qwenlong.config import Config, RlStage
from qwenlong.experiment import load_config
from qwenlong.guards import Guards
from qwenlong.judging import check_judge, open_rewards
from qwenlong.learner.sft import trainer_step
from qwenlong.lock import only_one
from qwenlong.loggers import check_loggers, open_loggers
from qwenlong.prepare import TINY, Prepared, prepare
from qwenlong.progress import Progress, StagePlan, teller
from qwenlong.replay import beside, checkpoint_before, compare, from_where, target, told
from qwenlong.report.report import write_report
from qwenlong.report.table import print_summary
from qwenlong.run import RunDir, refuse_taken
from qwenlong.types import InputError, StoppedError

if TYPE_CHECKING:
    from qwenlong.supervision import Watch


def train_new(config: Config, console: Console) -> None:
    """Checks everything, then makes the run directory, then trains."""
    transformers_logging.disable_progress_bar()
    refuse_taken(Path(config.run_dir))
    check_loggers(config.loggers)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        with console.status("reading data"):
            prepared = prepare(config, Path(scratch))
        check_judge(config, teller(console))
        group = _ray(prepared, stack, console)
        stack.enter_context(only_one(Path(config.run_dir)))
        built = Path(prepared.policy) if config.policy.path == TINY else None
        run = RunDir.create(config, built)
        if built:
            prepared = replace(prepared, policy=str(run.initial_policy))
        _run(prepared, run, None, group, console)
        _finish(run, console)


def resume(root: Path, console: Console) -> None:
    transformers_logging.disable_progress_bar()
    run = RunDir.open(root)
    with ExitStack() as stack:
        stack.enter_context(only_one(root))
        config = _config(run, root)
        with tempfile.TemporaryDirectory() as scratch, console.status("reading data"):
            prepared = prepare(config, Path(scratch))
        check_judge(config, teller(console))
        last = _last(run, config, teller(console))
        if _is_finished(run, prepared, last):
            console.print("the run is finished; there is nothing to go on with")
            _finish(run, console)
            return
        group = _ray(prepared, stack, console)
        _rewind(run, config, last, teller(console))
        _run(prepared, run, last, group, console)
        _finish(run, console)


def replay(root: Path, stage: str | None, step: int, console: Console) -> bool:
    """Makes a step's rollouts again, beside the run, and says whether they are those it has.

    Raises:
        InputError: the run has no such step.
    """
    transformers_logging.disable_progress_bar()
    run = RunDir.open(root)
    config = replace(_config(run, root), loggers=[])
    until = target(config, run, stage, step)
    say = teller(console)
    last = checkpoint_before(config, run, *until, say)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        with console.status("reading data"):
            prepared = prepare(config, Path(scratch))
        check_judge(config, say)
        again = beside(run, Path(scratch) / "again")
        again.rewind(lambda line: _before(config, line, last, dict.fromkeys(config.stages, 0)))
        group = _ray(prepared, stack, console)
        say(from_where(last, *until))
        _run(prepared, again, last, group, console, until)
        between = [line for line in again.logged() if line["kind"] == "rl"]
        made = [*((line["stage"], line["step"]) for line in between), until]
        steps = [compare(run, again, *at) for at in made]
    for compared in steps:
        say(told(compared))
    return not any(compared.first for compared in steps)


def _config(run: RunDir, root: Path) -> Config:
    """The run's own, as it goes on."""
    config = replace(load_config(run.config), run_dir=str(root))
    if config.policy.path == TINY:
        config = replace(config, policy=replace(config.policy, path=str(run.initial_policy)))
    return config


def _is_finished(run: RunDir, prepared: Prepared, last: Checkpoint | None) -> bool:
    """Through all its stages as they are configured now, evaluated, and its policy written."""
    stages = prepared.config.stages
    done = {stage["name"] for stage in run.summary()["stages"]}
    if not last or last.stage != list(stages)[-1] or not run.policy.is_dir():
        return False
    final = stages[last.stage]
    short = isinstance(final, RlStage) and not final.target and last.step < final.steps
    return done >= set(stages) and not short


def _last(run: RunDir, config: Config, say: Callable[[str], None]) -> Checkpoint | None:
    """The checkpoint to go on from.

    Raises:
        InputError: there are some, but none is whole; or the configuration has no longer a stage
            that the run has been through.
    """
    last = last_checkpoint(run.checkpoints, say)
    been = [*(line["stage"] for line in run.logged()), *([last.stage] if last else [])]
    gone = next((stage for stage in been if stage not in config.stages), None)
    if gone:
        raise InputError(f"{run.config}: stages has no {gone}, which the run has been through")
    return last


def _rewind(
    run: RunDir, config: Config, last: Checkpoint | None, say: Callable[[str], None]
) -> None:
    """Takes out what was logged after the checkpoint that the run goes on from."""
    own = _trainer_steps(run, config, last)
    run.rewind(lambda line: _before(config, line, last, own))
    points = [f"step {step} of {name}" for name, step in own.items() if step]
    points += [f"step {last.step} of {last.stage}" if last else "the beginning"]
    say(f"going on from {points[0]}")


def _trainer_steps(run: RunDir, config: Config, last: Checkpoint | None) -> dict[str, int]:
    """How far each SFT stage's own checkpoints are, of those that count after ``last``."""
    after, processes = last.folder.name if last else None, config.learner.processes
    folders = {name: trainer_folder(run.checkpoints, name, after) for name in config.stages}
    return {name: trainer_step(trainer_checkpoint(folders[name], processes)) for name in folders}


def _before(
    config: Config, line: Mapping[str, Any], last: Checkpoint | None, own: Mapping[str, int]
) -> bool:
    """Whether a logged step was before the checkpoint, the run's or an SFT trainer's own."""
    order = list(config.stages)
    if line["stage"] not in order:  # a file of somebody else's
        return True
    at = (order.index(line["stage"]), line["step"])
    if last and at <= (order.index(last.stage), last.step):
        return True
    return line["kind"] == "sft" and line["step"] <= own[line["stage"]]


def _ray(prepared: Prepared, stack: ExitStack, console: Console) -> Any:
    """Ray with what the run needs reserved, before anything is written; ``stack`` ends it."""
    # Ray reads both when it is imported. A Ray of the run's own listens on the loopback alone.
    if not prepared.config.ray.address:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # What Ray prints of a death is many lines; the run says it in one.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    # Ray takes seconds to import; bad input should not wait for it.
    from qwenlong.cluster import start_ray

    for note in prepared.notes:
        teller(console)(note)
    console.print("starting Ray, the learner and vLLM")
    return stack.enter_context(start_ray(prepared.config, teller(console)))


def _run(
    prepared: Prepared,
    directory: RunDir,
    last: Checkpoint | None,
    group: Any,
    console: Console,
    until: tuple[str, int] | None = None,
) -> None:
    from qwenlong.supervision import LearnerLostError, Watch, last_words

    config = prepared.config
    plan = {name: StagePlan(prepared.steps(name), prepared.tokens(name)) for name in config.stages}
    with Progress(plan, console) as progress:
        watch = Watch(config.failures, progress.say)
        while True:
            try:
                _attempt(prepared, directory, last, group, progress, watch, until)
                break
            except LearnerLostError as lost:
                if config.learner.on_failure == "stop" or until:
                    raise StoppedError(f"{lost}; {last_words(lost.place.log)}") from None
                watch.restarting(lost.place, lost.node, lost.why, "all actors are")
            last = _last(directory, config, progress.say)
            _rewind(directory, config, last, progress.say)
            progress.begin_anew()
    signals.check()


def _attempt(
    prepared: Prepared,
    directory: RunDir,
    last: Checkpoint | None,
    group: Any,
    progress: Progress,
    watch: Watch,
    until: tuple[str, int] | None,
) -> None:
    """Trains to the end, unless the learner is lost."""
    from qwenlong.cluster import start_workers
    from qwenlong.train import train
    from qwenlong.under_way import Run

    config = prepared.config
    with ExitStack() as stack:
        log = open_loggers(config, directory, stack)
        workers = stack.enter_context(
            start_workers(
                config,
                group,
                policy=prepared.policy,
                rope=prepared.ropes[-1],
                longest=prepared.longest_row,
                logs=directory.logs,
                judge=prepared.judge,
                watch=watch,
            )
        )
        rewards = stack.enter_context(
            open_rewards(config, prepared.judge, directory.root, workers.judge, progress.say)
        )
        run = Run(
            prepared=prepared,
            directory=directory,
            workers=workers,
            progress=progress,
            log=log,
            rewards=rewards,
            guards=Guards(config.guards, directory.logged()),
            rope=prepared.rope,
            until=until,
        )
        train(run, last)


def _finish(run: RunDir, console: Console) -> None:
    print_summary(run.summary(), console)
    report = write_report([run.root], run.report)
    console.print(f"policy  {run.policy}", highlight=False, soft_wrap=True)
    console.print(f"report  {report}", highlight=False, soft_wrap=True)
