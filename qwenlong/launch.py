"""From a command to a run: what is checked first, started, and left at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from transformers.utils import logging as transformers_logging

from qwenlong.config import Config, RlStage, SftStage
from qwenlong.data import registry
from qwenlong.experiment import load_config
from qwenlong.guards import Guards
from qwenlong.judging import check_judge, open_rewards
from qwenlong.loggers import check_loggers, open_loggers
from qwenlong.model.policy import native_rope
from qwenlong.prepare import TINY, Prepared, prepare
from qwenlong.progress import Progress, StagePlan
from qwenlong.replay import beside, checkpoint_before, compare, from_where, target, told
from qwenlong.report.report import write_report
from qwenlong.report.table import print_summary
from qwenlong.run import Checkpoint, RunDir, refuse_taken
from qwenlong.stage_checks import check_rope


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
        built = Path(prepared.policy) if config.policy.path == TINY else None
        run = RunDir.create(config, built)
        if built:
            prepared = replace(prepared, policy=str(run.initial_policy))
        _run(prepared, run, None, group, console)
    _finish(run, console)


def resume(root: Path, console: Console) -> None:
    transformers_logging.disable_progress_bar()
    run = RunDir.open(root)
    config = _config(run, root)
    with tempfile.TemporaryDirectory() as scratch, console.status("reading data"):
        prepared = prepare(config, Path(scratch))
    with ExitStack() as stack:
        check_judge(config, teller(console))
        group = _ray(prepared, stack, console)
        last = _rewound(run, config, console)
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
    last = checkpoint_before(config, run, *until)
    say = teller(console)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        with console.status("reading data"):
            prepared = prepare(config, Path(scratch))
        check_judge(config, say)
        again = beside(run, Path(scratch) / "again")
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


def _rewound(run: RunDir, config: Config, console: Console) -> Checkpoint | None:
    """The checkpoint to go on from; what was logged after it is taken out."""
    last = run.last_checkpoint()
    run.rewind(lambda line: _kept(run, config, line, last))
    where = f"step {last.step} of {last.stage}" if last else "the beginning"
    console.print(f"going on from {where}", highlight=False)
    return last


def _kept(run: RunDir, config: Config, line: Mapping[str, Any], last: Checkpoint | None) -> bool:
    """Whether a logged step was before the checkpoint, the run's or an SFT trainer's own."""
    order = list(config.stages)
    at = (order.index(line["stage"]), line["step"])
    if last and at <= (order.index(last.stage), last.step):
        return True
    return line["kind"] == "sft" and line["step"] <= run.trainer_step(line["stage"])


def _ray(prepared: Prepared, stack: ExitStack, console: Console) -> Any:
    """Ray with what the run needs reserved, before anything is written; ``stack`` ends it."""
    # Ray takes seconds to import; bad input should not wait for it.
    from qwenlong.cluster import start_ray

    for note in prepared.notes:
        teller(console)(note)
    console.print("starting Ray, the learner and vLLM")
    return stack.enter_context(start_ray(prepared.config))


def _run(
    prepared: Prepared,
    directory: RunDir,
    last: Checkpoint | None,
    group: Any,
    console: Console,
    until: tuple[str, int] | None = None,
) -> None:
    from qwenlong.cluster import start_workers
    from qwenlong.train import Run, train

    config = prepared.config
    plan = {name: StagePlan(prepared.steps(name), prepared.tokens(name)) for name in config.stages}
    with ExitStack() as stack:
        log = open_loggers(config, directory, stack)
        progress = stack.enter_context(Progress(plan, console))
        rope, longest = prepared.ropes[-1], prepared.longest_row
        policy, judge, logs = prepared.policy, prepared.judge, directory.logs
        workers = stack.enter_context(
            start_workers(config, group, policy, rope, longest, logs, judge)
        )
        rewards = stack.enter_context(
            open_rewards(config, judge, directory.root, workers.judge, progress.say)
        )
        guards, rope = Guards(config.guards, directory.logged()), prepared.rope
        parts = (prepared, directory, workers, progress, log, rewards, guards, rope)
        train(Run(*parts, until=until), last)


def teller(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, highlight=False, soft_wrap=True)


def _finish(run: RunDir, console: Console) -> None:
    print_summary(run.summary(), console)
    report = write_report([run.root], run.report)
    console.print(f"policy  {run.policy}", highlight=False, soft_wrap=True)
    console.print(f"report  {report}", highlight=False, soft_wrap=True)


def describe(config: Config, console: Console) -> None:
    """Prints the resolved stages and what each needs at most; reads neither data nor weights."""
    window = config.policy.window
    if window is None and config.policy.path != TINY:
        window = native_rope(config.policy.path, None).window
    if window is not None:
        check_rope(config, window)
    rows = [_needs(stage) for stage in config.stages.values()]
    table = Table(title=f"{config.policy.path}, native window {window} tokens", box=SIMPLE)
    table.add_column("stage")
    for name in config.stages:
        table.add_column(name, justify="right")
    for need in dict.fromkeys(need for row in rows for need in row):
        table.add_row(need, *(row.get(need, "") for row in rows))
    console.print(table)
    console.print(
        f"a learner of {config.learner.data_ranks} x {config.learner.sequence_ranks} processes;"
        f" {config.rollout.actors} rollout actors of {config.rollout.tensor_parallel_size} ranks;"
        f" evaluation at {', '.join(f'{context:,}' for context in config.contexts)} tokens",
        highlight=False,
    )
    judge = config.rewards.judge
    for reward in config.rewards.by_source:
        rule = reward.rule or "each example's own kind"
        by = f"{reward.combine} of {rule} and {judge.model}" if reward.combine != "rule" else rule
        teller(console)(f"rewards of {reward.source}: {by}")
    for key in ("sft", "train", "held_out"):
        for i, source in enumerate(getattr(config.data, key)):
            with registry.under(f"data.{key}.{i}"):
                registry.known(source)
            missing = [path for path in (source.path, source.corpus) if path]
            missing = [path for path in missing if not Path(path).exists()]
            there = f"  (not there: {', '.join(missing)})" if missing else ""
            teller(console)(f"data.{key}: {source.source}{there}")


def _needs(stage: SftStage | RlStage) -> dict[str, str]:
    """What a stage is, and the most that a step of it can take; lengths in tokens."""
    if isinstance(stage, SftStage):
        return {
            "kind": "SFT",
            "longest row": f"{stage.context:,}",
            "RoPE": "native",
            "rows an update": f"{stage.batch}",
            "learning rate": f"{stage.learning_rate:g}",
            "epochs": f"{stage.epochs:g}",
            "tokens a step, at most": f"{stage.batch * stage.context:,}",
        }
    prompts = stage.batch // stage.group
    return {
        "kind": "GRPO",
        "longest row": f"{stage.context + stage.response:,}",
        "context": f"{stage.context:,}",
        "response": f"{stage.response:,}",
        "RoPE": "native" if stage.yarn_factor == 1 else f"YaRN {stage.yarn_factor:g}",
        "prompts a step": f"{prompts}",
        "rollouts a prompt": f"{stage.group}",
        "updates a step": f"{stage.batch // (stage.mini_batch or stage.batch)}",
        "learning rate": f"{stage.learning_rate:g}",
        "steps": f"{stage.steps}",
        "tokens a step, at most": f"{prompts * stage.context + stage.batch * stage.response:,}",
    }
