"""What train, resume and replay share: Ray and actors for a run, restarts, the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from qwenlong.config import TINY, Config
from qwenlong.config.reading import load_config
from qwenlong.disk import signals
from qwenlong.disk.manifest import trainer_step
from qwenlong.report.report import write_report
from qwenlong.report.table import print_summary
from qwenlong.runs.checkpoints import (
    Checkpoint,
    last_checkpoint,
    trainer_checkpoint,
    trainer_folder,
)
from qwenlong.runs.directory import RunDir
from qwenlong.runs.loggers import open_loggers
from qwenlong.train.guards import Guards
from qwenlong.train.inputs import Prepared
from qwenlong.train.progress import Progress, StagePlan, teller
from qwenlong.train.rewards import open_rewards
from qwenlong.types import InputError, StoppedError

if TYPE_CHECKING:
    from qwenlong.cluster.supervision import Watch


def config_of(run: RunDir, root: Path) -> Config:
    """The run's own, as it goes on."""
    config = replace(load_config(run.config), run_dir=str(root))
    if config.policy.path == TINY:
        config = replace(config, policy=replace(config.policy, path=str(run.initial_policy)))
    return config


def last_of(run: RunDir, config: Config, say: Callable[[str], None]) -> Checkpoint | None:
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


def rewind(
    run: RunDir, config: Config, last: Checkpoint | None, say: Callable[[str], None]
) -> None:
    """Takes out what was logged after the checkpoint that the run goes on from."""
    own = _trainer_steps(run, config, last)
    run.rewind(lambda line: was_before(config, line, last, own))
    points = [f"step {step} of {name}" for name, step in own.items() if step]
    points += [f"step {last.step} of {last.stage}" if last else "the beginning"]
    say(f"going on from {points[0]}")


def _trainer_steps(run: RunDir, config: Config, last: Checkpoint | None) -> dict[str, int]:
    """How far each SFT stage's own checkpoints are, of those that count after ``last``."""
    after, processes = last.folder.name if last else None, config.learner.processes
    folders = {name: trainer_folder(run.checkpoints, name, after) for name in config.stages}
    return {name: trainer_step(trainer_checkpoint(folders[name], processes)) for name in folders}


def was_before(
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


def reserved(prepared: Prepared, stack: ExitStack, console: Console) -> Any:
    """Ray with what the run needs reserved, before anything is written; ``stack`` ends it."""
    # Ray reads both when it is imported. A Ray of the run's own listens on the loopback alone.
    if not prepared.config.ray.address:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # What Ray prints of a death is many lines; the run says it in one.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    # Ray takes seconds to import; bad input should not wait for it.
    from qwenlong.cluster.placement import start_ray

    for note in prepared.notes:
        teller(console)(note)
    console.print("starting Ray, the learner and vLLM")
    return stack.enter_context(start_ray(prepared.config, teller(console)))


def run_stages(
    prepared: Prepared,
    directory: RunDir,
    last: Checkpoint | None,
    group: Any,
    console: Console,
    until: tuple[str, int] | None = None,
) -> None:
    from qwenlong.cluster.supervision import LearnerLostError, Watch, last_words

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
            last = last_of(directory, config, progress.say)
            rewind(directory, config, last, progress.say)
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
    from qwenlong.cluster.placement import start_workers
    from qwenlong.train.loop import train
    from qwenlong.train.run import Run

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


def finish(run: RunDir, console: Console) -> None:
    print_summary(run.summary(), console)
    report = write_report([run.root], run.report)
    console.print(f"policy  {run.policy}", highlight=False, soft_wrap=True)
    console.print(f"report  {report}", highlight=False, soft_wrap=True)
