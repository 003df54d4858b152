"""``qwenlong train --dry-run``: the resolved stages, and what each needs at most."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from qwenlong.config import TINY, Config, RlStage, SftStage
from qwenlong.config.checks import check_rope
from qwenlong.model.pretrained import native_rope
from qwenlong.train.names import check_names
from qwenlong.train.progress import line_printer


def describe(config: Config, console: Console) -> None:
    """Prints the resolved stages and what each needs at most; reads neither data nor weights.

    Raises:
        InputError: a source or a rule that there is not; a stage whose rows are too long.
    """
    check_names(config)
    window = config.policy.window
    if window is None and config.policy.path != TINY:
        window = native_rope(config.policy.path, None).window
    if window is not None:
        check_rope(config, window)
    columns = [_column(stage) for stage in config.stages.values()]
    table = Table(title=f"{config.policy.path}, native window {window} tokens", box=SIMPLE)
    table.add_column("stage")
    for name in config.stages:
        table.add_column(name, justify="right")
    for title in dict.fromkeys(title for column in columns for title in column):
        table.add_row(title, *(column.get(title, "") for column in columns))
    console.print(table)
    learner = config.learner
    masked = "" if learner.entropy_high is None else ", AEPO"
    console.print(
        f"objective {learner.objective}, advantages by {learner.advantage}{masked};"
        f" run_dir {config.run_dir}",
        highlight=False,
    )
    console.print(
        f"a learner of {learner.data_ranks} x {learner.sequence_ranks} processes;"
        f" {config.rollout.actors} rollout actors of {config.rollout.tensor_parallel_size} ranks;"
        f" evaluation at {', '.join(f'{context:,}' for context in config.contexts)} tokens",
        highlight=False,
    )
    judge = config.rewards.judge
    for reward in config.rewards.by_source:
        rule = reward.rule or "each example's own kind"
        parts = " and ".join(filter(None, [rule, judge.model]))
        by = rule if reward.combine == "rule" else f"{reward.combine} of {parts}"
        line_printer(console)(f"rewards of {reward.source}: {by}")
    for key in ("sft", "train", "held_out"):
        for source in getattr(config.data, key):
            paths = [path for path in (source.path, source.corpus) if path]
            missing = [path for path in paths if not Path(path).exists()]
            note = f"  (not there: {', '.join(missing)})" if missing else ""
            line_printer(console)(f"data.{key}: {source.source}{note}")


def _column(stage: SftStage | RlStage) -> dict[str, str]:
    """A stage's cells by the titles of their rows; lengths in tokens."""
    if isinstance(stage, SftStage):
        return {
            "kind": "SFT",
            "longest row": f"{stage.context:,}",
            "RoPE": _rope(stage),
            "learns from": _learns_from(stage),
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
        "RoPE": _rope(stage),
        "draws": _draws(stage),
        "prompts a step": f"{prompts}",
        "rollouts a prompt": f"{stage.group}",
        "updates a step": f"{stage.batch // (stage.mini_batch or stage.batch)}",
        "learning rate": f"{stage.learning_rate:g}",
        "steps": f"{stage.steps}",
        "until a reward of": "" if stage.target is None else f"{stage.target:g}",
        "refilled": f"{stage.refill} times" if stage.refill else "no",
        "tokens a step, at most": f"{prompts * stage.context + stage.batch * stage.response:,}",
    }


def _rope(stage: SftStage | RlStage) -> str:
    return "native" if stage.yarn_factor == 1 else f"YaRN {stage.yarn_factor:g}"


def _learns_from(stage: SftStage) -> str:
    own = [f"{stage.own_rollouts} own rollouts a prompt"] if stage.own_rollouts else []
    return ", ".join([*stage.sources, *own]) or "data.sft"


def _draws(stage: RlStage) -> str:
    """How a phase draws its prompts, where this is not simply each once an epoch."""
    sampler = stage.sampler
    parts = [
        "up to its context" if stage.lengths == "up_to" else "its own lengths",
        ", ".join(f"{source} {share:g}" for source, share in stage.mix.items()),
        f"equally by {', '.join(sampler.balance)}" if sampler.balance else "",
        f"by {sampler.draw}" if sampler.draw else "",
        f"{sampler.replay:.0%} of earlier phases" if sampler.replay else "",
        f"solved ones rest {sampler.rest_solved} steps" if sampler.rest_solved else "",
        f"hopeless ones rest {sampler.rest_hopeless} steps" if sampler.rest_hopeless else "",
    ]
    return "; ".join(part for part in parts if part)
