"""The run, as the paper has it: warm-up SFT, then GRPO in phases of growing context.

Left out on purpose: no critic; no KL penalty unless it is asked for (QwenLong-L1 has none); no
asynchrony: rollouts are of the learner's own weights, and learner and engines take turns. Only
groups that dynamic sampling had too many of are of the weights before, and are marked so.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray

from qwenlong.checkpoints import Checkpoint, Saver, newest_folder
from qwenlong.cluster import Workers
from qwenlong.config import RlStage, SftStage
from qwenlong.curricula.curriculum import Curriculum
from qwenlong.evaluate.evaluate import accuracies
from qwenlong.guards import BY_EXAMPLES, Breach, Guards, concerned, folder_bytes, line
from qwenlong.judging import strict
from qwenlong.learner.storage import Written
from qwenlong.loggers import Log
from qwenlong.metrics import Clock, phase_metrics, summarised
from qwenlong.own_rollouts import right_rollouts
from qwenlong.prepare import Prepared
from qwenlong.progress import Progress
from qwenlong.rewards.hybrid import Rewards
from qwenlong.rollout.collector import request_seeds
from qwenlong.run import RunDir, evaluation_records, group_records
from qwenlong.stage_checks import UNTRAINED
from qwenlong.steps import Advantages, advantages_of, batch_of, scored
from qwenlong.types import Group, Prompt, Rope, Sampling, StoppedError

POLL_S = 0.5


@dataclass
class Run:
    """A run under way: its parts, and the RoPE and weights it is at."""

    prepared: Prepared
    directory: RunDir
    workers: Workers
    progress: Progress
    log: Log
    rewards: Rewards
    guards: Guards
    rope: Rope
    version: int = 0
    curriculum: Mapping[str, Any] = field(default_factory=dict)
    """State of the last phase's curriculum."""
    unjudged: bool = False
    """Whether the last step had responses without the judge's verdict."""
    until: tuple[str, int] | None = None
    """Phase and step whose rollouts are the end of it, when steps are made again: nothing is
    evaluated or saved then."""
    saver: Saver = field(init=False)

    def __post_init__(self) -> None:
        def start(folder: Path) -> None:
            self.workers.learn("save_state", folder)

        def saved(wait: bool) -> list[Written | None]:
            return ray.get(self.workers.start_learning("saved", wait))

        keep = self.prepared.config.checkpoint.keep
        self.saver = Saver(self.directory.checkpoints, keep, start, saved)


def train(run: Run, last: Checkpoint | None) -> None:
    """Runs every stage that is not finished by ``last``, the checkpoint to go on from."""
    stages = run.prepared.config.stages
    begun = list(stages).index(last.stage) if last else 0
    if last:
        run.workers.learn("restore_state", last.folder)
        publish(run, last.version)
        run.curriculum = last.curriculum
        run.saver.last = last.folder.name
    assess(run, UNTRAINED, UNTRAINED)
    for position, (name, stage) in enumerate(stages.items()):
        resumed = last if last and name == last.stage else None
        run.rope = run.prepared.rope_of(stage)
        if position < begun:
            continue
        if isinstance(stage, SftStage):
            fine_tune(run, name, stage, resumed)
        else:
            phase(run, name, stage, resumed)
        if run.until and run.until[0] == name:
            return
        assess(run, name, stage.kind)
    run.workers.stretch(run.rope)
    run.workers.learn("save_policy", run.directory.policy)


def phase(run: Run, name: str, stage: RlStage, resumed: Checkpoint | None) -> None:
    """GRPO at one context length."""
    config = run.prepared.config
    rollout = config.rollout
    sampling = Sampling(stage.group, stage.response, rollout.temperature, rollout.top_p)
    curriculum = curriculum_of(run, name, stage, resumed)
    if not resumed and run.prepared.phase_number(name) == 1:
        run.workers.learn("keep_reference")
    run.workers.stretch(run.rope)
    clock = Clock()
    for step in range(resumed.step + 1 if resumed else 1, stage.steps + 1):
        if curriculum.reached:
            break
        groups, advantages = sample(run, name, step, curriculum, sampling, clock)
        if run.until == (name, step):
            return
        dropping = config.learner.drop_truncated
        batch = batch_of(groups, advantages, stage, sampling, run.version, dropping)
        learned = run.workers.learn("step", replace(batch, limits=run.guards.limits))
        clock.lap("learn")
        publish(run, run.version + 1)
        clock.lap("load")
        metrics = phase_metrics(
            curriculum.sampled, learned, clock.taken(), run.workers.peak_memory_gb()
        )
        metrics |= judge_metrics(run, f"step {step} of {name}", groups)
        report(run, name, "rl", step, metrics | curriculum.metrics())
        guard(run, name, step, metrics, groups)
        run.curriculum = curriculum.state()
        if step % config.checkpoint.every == 0 or step == stage.steps or curriculum.reached:
            save(run, name, step)
        clock.lap("checkpoint")
    run.saver.confirm()
    if curriculum.reached:
        run.progress.say(f"{name}: reached its target of {stage.target:g}")


def sample(
    run: Run, name: str, step: int, curriculum: Curriculum, sampling: Sampling, clock: Clock
) -> tuple[list[Group], list[Advantages]]:
    """The groups that a step trains on, with their advantages; what was sampled is written."""
    config = run.prepared.config
    curriculum.begin(run.version)
    draws: list[tuple[list[Prompt], list[int]]] = []
    while prompts := curriculum.draw():
        sampled = len(curriculum.sampled)
        seeds = request_seeds(prompts, config.seed, name, step, first=sampled)
        draws.append((prompts, seeds))
        rollouts = run.workers.collect(prompts, sampling, seeds)
        clock.lap("rollout")
        curriculum.observe(scored(prompts, rollouts, run.rewards))
        clock.lap("score")
    run.saver.confirm(wait=False)
    groups = curriculum.close()
    stage = config.stages[name]
    advantages = curriculum.masked(advantages_of(groups, stage, config.learner))
    heed(run, f"step {step} of {name}", run.guards.of_disk(run.directory.root))
    records = group_records(name, step, groups, advantages, curriculum.set_aside(groups))
    run.directory.log_rollouts(f"{name}-{step:05d}", records)
    run.directory.log_draws(name, step, run.version, draws)
    return groups, advantages


def guard(
    run: Run, name: str, step: int, metrics: Mapping[str, float], groups: Sequence[Group]
) -> None:
    """Says what is wrong with a step, once its metrics are logged.

    Raises:
        StoppedError: the run is not to go on.
    """
    where = f"step {step} of {name}"
    ids = [group.prompt.example.id for group in groups]
    breaches = run.guards.of_step(metrics)
    figures = {}
    if any(breach.guard in BY_EXAMPLES for breach in breaches):
        of_rows = run.workers.learn("row_figures")
        figures = {key: concerned(key, of_rows, ids) for key in BY_EXAMPLES}
    heed(run, where, breaches, figures, int(metrics["updates_left_out"]))
    heed(run, where, run.guards.of_memory())


def heed(
    run: Run,
    where: str,
    breaches: Sequence[Breach],
    examples: Mapping[str, str] | None = None,
    left_out: int = 0,
) -> None:
    """
    Raises:
        StoppedError: one of them stops the run.
    """
    for breach in sorted(breaches, key=lambda breach: breach.action == "stop"):
        concerns = breach.guard in BY_EXAMPLES
        told = (examples or {}).get(breach.guard, ""), left_out if concerns else 0
        if breach.action == "stop":
            run.saver.confirm()  # what is under way is what the run goes on from
            raise StoppedError(line(breach, where, *told))
        run.progress.say(line(breach, where, *told))


def curriculum_of(run: Run, name: str, stage: RlStage, resumed: Checkpoint | None) -> Curriculum:
    """The phase's, at the point where the run is."""
    config = run.prepared.config
    own, earlier = run.prepared.phase_prompts[name], run.prepared.earlier_prompts(name)
    curriculum = Curriculum(stage, config.learner, own, earlier, f"{config.seed} {name}")
    if resumed:
        curriculum.restore(run.curriculum)
    elif run.curriculum:
        curriculum.take_over(run.curriculum)
    return curriculum


def fine_tune(run: Run, name: str, stage: SftStage, resumed: Checkpoint | None) -> None:
    """Supervised fine-tuning on worked solutions, or on what the run itself has got right.

    Its one checkpoint here is its end.
    """
    if resumed:
        return
    rows = run.prepared.sft_rows[name]
    if stage.own_rollouts:
        own = right_rollouts(run.prepared, run.directory, name)
        beside = f", beside {len(rows):,} rows of data.sft" if rows else ""
        run.progress.say(f"{name}: learns from {len(own):,} rollouts of its own{beside}")
        rows = [*rows, *own]
    folder = run.directory.trainer(name)
    begun = run.directory.trainer_checkpoint(name)
    config = run.prepared.config
    told = (stage, run.rope, folder, begun, config.seed, config.guards.non_finite)
    training = run.workers.start_learning("sft", name, rows, *told)
    seen, done = 0, False
    while not done:
        done = run.workers.learners.done(training, POLL_S)
        memory = {"peak_memory_gb": run.workers.peak_memory_gb()}
        for logged in run.workers.learn("sft_progress", name, seen):
            seen += 1
            logged |= memory
            step = int(logged.pop("step"))
            report(run, name, "sft", step, logged)
            heed(run, f"step {step} of {name}", run.guards.of_update(logged))
    publish(run, run.version + 1)
    save(run, name, seen)
    run.saver.confirm()
    if folder.exists():
        shutil.rmtree(folder)


def assess(run: Run, name: str, kind: str) -> None:
    """Evaluates the policy at every context, unless that was done before the run was resumed."""
    if run.until:
        return
    summary = run.directory.summary()
    if name in [stage["name"] for stage in summary["stages"]]:
        return
    config = run.prepared.config.evaluation
    longest = config.response or run.prepared.config.longest_response
    sampling = Sampling(1, longest, config.temperature, config.top_p)
    evaluations = {}
    clock = Clock()
    for context, prompts in run.prepared.held_out.items():
        run.progress.doing(f"{name}: evaluating {len(prompts)} questions at {context:,} tokens")
        run.workers.stretch(run.prepared.rope_for(context + longest, run.rope))
        seeds = request_seeds(prompts, run.prepared.config.seed, "evaluation")
        answers = run.workers.collect(prompts, sampling, seeds)
        evaluations[context] = scored(prompts, answers, strict(run.prepared.config))
    clock.lap("evaluation")
    heed(run, f"the evaluation of {name}", run.guards.of_disk(run.directory.root))
    run.directory.log_rollouts(f"{name}-eval", evaluation_records(name, evaluations))
    accuracy = accuracies(evaluations)
    seconds = clock.taken()["evaluation"]
    if name != UNTRAINED:
        longest_context = max(evaluations)
        run.saver.remember(accuracy[str(longest_context)]["value"], longest_context)
    summary = summarised(summary, name, kind, accuracy, run.directory.logged(), seconds)
    run.directory.write_summary(summary)
    told = "  ".join(f"{context}: {at['value']:.3f}" for context, at in accuracy.items())
    run.progress.say(f"{name}: accuracy by context  {told}")


def judge_metrics(run: Run, where: str, groups: list[Group]) -> dict[str, float]:
    """What the judge has cost the run so far; tells when verdicts begin to be missing."""
    judge = run.rewards.judge
    if not judge:
        return {}
    told = [score.breakdown for group in groups for score in group.scores]
    left = [breakdown["judge_why"] for breakdown in told if "unjudged" in breakdown]
    if left and not run.unjudged:
        run.progress.say(
            f"{where}: {len(left)} responses got no verdict of the judge: {left[0]};"
            f" rewards.unjudged={run.rewards.unjudged} holds"
        )
    run.unjudged = bool(left)
    return {"judge_calls": judge.budget.calls, "judge_tokens": judge.budget.tokens}


def publish(run: Run, version: int) -> None:
    run.version = version
    run.workers.publish(version)


def report(run: Run, name: str, kind: str, step: int, metrics: dict[str, float]) -> None:
    where = {"stage": name, "kind": kind, "phase": run.prepared.phase_number(name)}
    run.log({**where, "step": step, "version": run.version, **metrics})
    reward, tokens = metrics.get("reward_mean"), metrics.get("tokens_per_s")
    run.progress.update(stage=name, step=step, reward=reward, tokens_per_s=tokens)


def save(run: Run, name: str, step: int) -> None:
    if run.until:
        return
    size = folder_bytes(newest_folder(run.directory.checkpoints))
    heed(run, f"step {step} of {name}", run.guards.of_disk(run.directory.root, size))
    run.saver.begin(name, step, run.version, run.rope, run.curriculum)
