"""What train, resume and replay share: Ray and actors for a run, restarts, the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from qwenlong.config import TINY, UNTRAINED, Config
from qwenlong.config.reading import load_config
from qwenlong.disk import signals
from qwenlong.disk.manifest import trainer_step
from qwenlong.report.report import write_report
from qwenlong.report.table import print_summary
from qwenlong.runs.checkpoints import (
    Checkpoint,
    RunState,
    Saver,
    last_checkpoint,
    trainer_checkpoint,
    trainer_folder,
)
from qwenlong.runs.directory import RunDir
from qwenlong.runs.loggers import open_loggers
from qwenlong.train.guards import Guards
from qwenlong.train.inputs import Inputs
from qwenlong.train.progress import Progress, StagePlan, line_printer
from qwenlong.train.rewards import open_rewards
from qwenlong.types import InputError, StoppedError

if TYPE_CHECKING:
    from qwenlong.cluster.supervision import Watch
    from qwenlong.train.run import Run


def config_of(run: RunDir, root: Path) -> Config:
    """The configuration of a run that is resumed."""
    config = replace(load_config(run.config), run_dir=str(root))
    if config.policy.path == TINY:
        config = replace(config, policy=replace(config.policy, path=str(run.initial_policy)))
    return config


def last_of(run: RunDir, config: Config, say: Callable[[str], None]) -> Checkpoint | None:
    """The checkpoint to resume from; None to start from the beginning.

    Raises:
        InputError: there are checkpoints, but none is complete; or the configuration no longer has
            a stage that the run has been through.
    """
    last = last_checkpoint(run.checkpoints, say)
    been = [*(line["stage"] for line in run.logged()), *([last.state.stage] if last else [])]
    gone = next((stage for stage in been if stage not in config.stages), None)
    if gone:
        raise InputError(f"{run.config}: stages has no {gone}, which the run has been through")
    return last


def rewind(
    run: RunDir, config: Config, last: Checkpoint | None, say: Callable[[str], None]
) -> None:
    """Removes what was logged after the checkpoint that the run resumes from."""
    own = _trainer_steps(run, config, last)
    run.rewind(lambda line: was_before(config, line, last, own))
    points = [f"step {step} of {name}" for name, step in own.items() if step]
    points += [f"step {last.state.step} of {last.state.stage}" if last else "the beginning"]
    say(f"continuing from {points[0]}")


def _trainer_steps(run: RunDir, config: Config, last: Checkpoint | None) -> dict[str, int]:
    """The step of each SFT stage's own last checkpoint, of those that continue ``last``."""
    after, processes = last.folder.name if last else None, config.learner.processes
    folders = {name: trainer_folder(run.checkpoints, name, after) for name in config.stages}
    return {name: trainer_step(trainer_checkpoint(folders[name], processes)) for name in folders}


def was_before(
    config: Config, line: Mapping[str, Any], last: Checkpoint | None, own: Mapping[str, int]
) -> bool:
    """Whether a logged step was before the checkpoint, the run's or an SFT trainer's own."""
    order = list(config.stages)
    if line["stage"] not in order:  # the user's own file
        return True
    at = (order.index(line["stage"]), line["step"])
    if last and at <= (order.index(last.state.stage), last.state.step):
        return True
    return line["kind"] == "sft" and line["step"] <= own[line["stage"]]


def reserve(inputs: Inputs, stack: ExitStack, console: Console) -> Any:
    """Reserves on Ray what the run needs, before anything is written; ``stack`` ends it.

    Returns:
        The placement group.
    """
    # Ray reads both when it is imported. A Ray of the run's own listens on the loopback alone.
    if not inputs.config.ray.address:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # The run reports a dead actor in one line, where Ray prints many.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    # Ray takes seconds to import; wrong input must not wait for it.
    from qwenlong.cluster.placement import start_ray

    for note in inputs.notes:
        line_printer(console)(note)
    console.print("starting Ray, the learner and vLLM")
    return stack.enter_context(start_ray(inputs.config, line_printer(console)))


def run_stages(
    inputs: Inputs,
    directory: RunDir,
    last: Checkpoint | None,
    group: Any,
    console: Console,
    replayed: tuple[str, int] | None = None,
) -> None:
    """Trains to the end. If the learner is lost, all actors are restarted from the last checkpoint.

    Args:
        last: the checkpoint to start from.
        group: the placement group.
        replayed: phase and step whose rollouts are sampled again, instead of training to the end.
    """
    from qwenlong.cluster.supervision import LearnerLostError, Watch, last_words
    from qwenlong.train.loop import replay, train

    config = inputs.config
    plan = {name: StagePlan(inputs.steps(name), inputs.tokens(name)) for name in config.stages}
    with Progress(plan, console) as progress:
        watch = Watch(config.failures, progress.say)
        while True:
            try:
                with ExitStack() as stack:
                    keep = 0 if replayed else config.checkpoint.keep
                    run = _started(inputs, directory, keep, group, progress, watch, stack)
                    state = _restored(run, last)
                    if replayed:
                        replay(run, state, *replayed)
                    else:
                        train(run, state)
                break
            except LearnerLostError as lost:
                # A replay writes no checkpoints, so there is none of its own to go back to.
                if config.learner.on_failure == "stop" or replayed:
                    raise StoppedError(f"{lost}; {last_words(lost.place.log)}") from None
                watch.restarting(lost.place, lost.node, lost.why, "all actors are")
            # What the lost learner had done since its last checkpoint is done again.
            last = last_of(directory, config, progress.say)
            rewind(directory, config, last, progress.say)
            progress.forget_pace()
    signals.check()


def _started(
    inputs: Inputs,
    directory: RunDir,
    keep: int,
    group: Any,
    progress: Progress,
    watch: Watch,
    stack: ExitStack,
) -> Run:
    """The run with its actors, which ``stack`` ends."""
    from qwenlong.cluster.placement import start_workers
    from qwenlong.train.run import Run

    config, logs, judge = inputs.config, directory.logs, inputs.judge
    log = open_loggers(config, directory, stack)
    model = inputs.policy, inputs.ropes[-1], inputs.longest_row
    workers = stack.enter_context(start_workers(config, group, *model, logs, judge, watch))
    generate = workers.judge.generate if workers.judge else None
    rewards = open_rewards(config, judge, directory.root, generate, progress.say)
    return Run(
        inputs=inputs,
        directory=directory,
        workers=workers,
        progress=progress,
        log=log,
        rewards=stack.enter_context(rewards),
        guards=Guards(config.guards, directory.logged()),
        saver=Saver(directory.checkpoints, keep, workers.learner),
    )


def _restored(run: Run, last: Checkpoint | None) -> RunState:
    """Where the run starts, with the learner's state and the engines' weights restored."""
    if not last:
        return RunState(UNTRAINED, 0, 0, run.inputs.rope, {})
    run.workers.learner.restore_state(last.folder)
    run.workers.engines.load(last.state.version)
    run.saver.resume_from(last)
    return last.state


def finish(run: RunDir, console: Console) -> None:
    """Prints the summary and writes the report."""
    print_summary(run.summary(), console)
    report = write_report([run.root], run.report)
    console.print(f"policy  {run.policy}", highlight=False, soft_wrap=True)
    console.print(f"report  {report}", highlight=False, soft_wrap=True)
