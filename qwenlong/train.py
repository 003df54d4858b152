"""The run, as the paper has it: warm-up SFT, then GRPO in phases of growing context.

Left out on purpose: no critic, no reference policy and no KL penalty (QwenLong-L1 has none), no
asynchrony: rollouts are always of the learner's own weights, and learner and engines take turns.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

from qwenlong.cluster import Workers
from qwenlong.config import RlStage, SftStage
from qwenlong.curricula.curriculum import Curriculum
from qwenlong.evaluate.evaluate import accuracies
from qwenlong.judging import strict
from qwenlong.loggers import Log
from qwenlong.metrics import Clock, phase_metrics, summarised
from qwenlong.model.policy import chat_tokenizer
from qwenlong.own_rollouts import right_rollouts
from qwenlong.prepare import Prepared
from qwenlong.progress import Progress
from qwenlong.rewards.hybrid import Rewards
from qwenlong.rollout.collector import request_seeds
from qwenlong.run import Checkpoint, RunDir, evaluation_records, group_records
from qwenlong.stage_checks import UNTRAINED
from qwenlong.steps import advantages_of, batch_of, scored
from qwenlong.types import Group, Rope, Sampling

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
    rope: Rope
    version: int = 0
    curriculum: Mapping[str, Any] = field(default_factory=dict)
    """State of the last phase's curriculum."""
    unjudged: bool = False
    """Whether the last step had responses without the judge's verdict."""


def train(run: Run, last: Checkpoint | None) -> None:
    """Runs every stage that is not finished by ``last``, the checkpoint to go on from."""
    stages = run.prepared.config.stages
    begun = list(stages).index(last.stage) if last else 0
    if last:
        run.workers.learn("restore_state", last.folder)
        publish(run, last.version)
        run.curriculum = last.curriculum
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
        curriculum.begin(run.version)
        while prompts := curriculum.draw():
            sampled = len(curriculum.sampled)
            seeds = request_seeds(prompts, config.seed, name, step, first=sampled)
            rollouts = run.workers.collect(prompts, sampling, seeds)
            clock.lap("rollout")
            curriculum.observe(scored(prompts, rollouts, run.rewards))
            clock.lap("score")
        groups = curriculum.close()
        advantages = curriculum.masked(advantages_of(groups, stage, config.learner))
        dropping = config.learner.drop_truncated
        batch = batch_of(groups, advantages, stage, sampling, run.version, dropping)
        learned = run.workers.learn("step", batch)
        clock.lap("learn")
        publish(run, run.version + 1)
        clock.lap("load")
        records = group_records(name, step, groups, advantages, curriculum.set_aside(groups))
        run.directory.log_rollouts(f"{name}-{step:05d}", records)
        metrics = phase_metrics(
            curriculum.sampled, learned, clock.taken(), run.workers.peak_memory_gb()
        )
        metrics |= judge_metrics(run, f"step {step} of {name}", groups)
        report(run, name, "rl", step, metrics | curriculum.metrics())
        run.curriculum = curriculum.state()
        if step % config.checkpoint.every == 0 or step == stage.steps or curriculum.reached:
            save(run, name, step)
        clock.lap("checkpoint")
    if curriculum.reached:
        run.progress.say(f"{name}: reached its target of {stage.target:g}")


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
        own = right_rollouts(run.prepared, run.directory, name, chat_tokenizer(run.prepared.policy))
        run.progress.say(f"{name}: learns from {len(own):,} rollouts of its own")
        rows = [*rows, *own]
    folder = run.directory.trainer(name)
    begun = run.directory.trainer_checkpoint(name)
    seed = run.prepared.config.seed
    training = run.workers.start_learning("sft", name, rows, stage, run.rope, folder, begun, seed)
    seen, running = 0, training
    while running:
        _, running = ray.wait(training, num_returns=len(training), timeout=POLL_S)
        memory = {"peak_memory_gb": run.workers.peak_memory_gb()}
        for logged in ray.get(run.workers.learners[0].sft_progress.remote(name, seen)):
            seen += 1
            logged |= memory
            report(run, name, "sft", int(logged.pop("step")), logged)
    ray.get(training)
    publish(run, run.version + 1)
    save(run, name, seen)
    if folder.exists():
        shutil.rmtree(folder)


def assess(run: Run, name: str, kind: str) -> None:
    """Evaluates the policy at every context, unless that was done before the run was resumed."""
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
    run.directory.log_rollouts(f"{name}-eval", evaluation_records(name, evaluations))
    accuracy = accuracies(evaluations)
    seconds = clock.taken()["evaluation"]
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
    def write(folder: object) -> None:
        run.workers.learn("save_state", folder)

    keep = run.prepared.config.checkpoint.keep
    run.directory.save_checkpoint(name, step, run.version, run.curriculum, write, keep)
