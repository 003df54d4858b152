"""The run, as the paper has it: warm-up SFT, then GRPO in phases of growing context.

Left out on purpose: no critic, no reference policy and no KL penalty (QwenLong-L1 has none), no
asynchrony: rollouts are always of the learner's own weights, and learner and engines take turns.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import ray

from qwenlong.checks import UNTRAINED
from qwenlong.cluster import Workers
from qwenlong.config import LearnerConfig, RlStage, SftStage
from qwenlong.curricula.sampler import UniformSampler
from qwenlong.evaluate.evaluate import accuracies
from qwenlong.judging import STRICT
from qwenlong.learner.advantage import group_advantages, overlong_penalty
from qwenlong.learner.objectives import OBJECTIVES
from qwenlong.loggers import Log
from qwenlong.metrics import Clock, phase_metrics, summarised
from qwenlong.prepare import Prepared
from qwenlong.progress import Progress
from qwenlong.rewards.hybrid import Rewards, UnjudgedError, score_all
from qwenlong.rollout.collector import request_seeds
from qwenlong.run import Checkpoint, RunDir, evaluation_records, group_records
from qwenlong.types import Batch, Group, Prompt, Rollout, Rope, Row, Sampling

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
    unjudged: bool = False
    """Whether the last step had responses without the judge's verdict."""


def train(run: Run, last: Checkpoint | None) -> None:
    """Runs every stage that is not finished by ``last``, the checkpoint to go on from."""
    stages = run.prepared.config.stages
    begun = list(stages).index(last.stage) if last else 0
    if last:
        run.workers.learn("restore_state", last.folder)
        publish(run, last.version)
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
    curriculum = UniformSampler(run.prepared.phase_prompts[name], f"{config.seed} {name}")
    if resumed:
        curriculum.restore(resumed.curriculum)
    elif run.prepared.phase_number(name) == 1:
        run.workers.learn("keep_reference")
    run.workers.stretch(run.rope)
    clock = Clock()
    for step in range(resumed.step + 1 if resumed else 1, stage.steps + 1):
        prompts = curriculum.draw(stage.batch // stage.group)
        seeds = request_seeds(prompts, config.seed, name, step)
        rollouts = run.workers.collect(prompts, sampling, seeds)
        clock.lap("rollout")
        groups = scored(prompts, rollouts, run.rewards)
        curriculum.observe(groups)
        advantages = [advantages_of(group, stage, config.learner) for group in groups]
        clock.lap("score")
        batch = batch_of(groups, advantages, stage, sampling)
        learned = run.workers.learn("step", batch)
        clock.lap("learn")
        publish(run, run.version + 1)
        clock.lap("load")
        records = group_records(name, step, groups, advantages)
        run.directory.log_rollouts(f"{name}-{step:05d}", records)
        metrics = phase_metrics(groups, learned, clock.taken(), run.workers.peak_memory_gb())
        metrics |= judge_metrics(run, f"step {step} of {name}", groups)
        report(run, name, "rl", step, metrics)
        if step % config.checkpoint.every == 0 or step == stage.steps:
            save(run, name, step, curriculum)
        clock.lap("checkpoint")


def fine_tune(run: Run, name: str, stage: SftStage, resumed: Checkpoint | None) -> None:
    """Supervised fine-tuning on worked solutions; its one checkpoint here is its end."""
    if resumed:
        return
    rows = run.prepared.sft_rows[name]
    folder = run.directory.trainer(name)
    own = run.directory.trainer_checkpoint(name)
    seed = run.prepared.config.seed
    training = run.workers.start_learning("sft", name, rows, stage, run.rope, folder, own, seed)
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
    save(run, name, run.prepared.steps(name), None)
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
        evaluations[context] = scored(prompts, answers, STRICT)
    clock.lap("evaluation")
    run.directory.log_rollouts(f"{name}-eval", evaluation_records(name, evaluations))
    accuracy = accuracies(evaluations)
    seconds = clock.taken()["evaluation"]
    summary = summarised(summary, name, kind, accuracy, run.directory.logged(), seconds)
    run.directory.write_summary(summary)
    told = "  ".join(f"{context}: {at['value']:.3f}" for context, at in accuracy.items())
    run.progress.say(f"{name}: accuracy by context  {told}")


def scored(
    prompts: Sequence[Prompt], rollouts: Sequence[tuple[Rollout, ...]], rewards: Rewards
) -> list[Group]:
    """Groups of one step or evaluation, scored together, for a judge takes many at once."""
    answered = [
        (prompt.example, rollout.text)
        for prompt, of_prompt in zip(prompts, rollouts, strict=True)
        for rollout in of_prompt
    ]
    verdicts = score_all(rewards, answered)
    if not any(score.judged for score in verdicts):
        why = verdicts[0].breakdown["judge_why"]
        raise UnjudgedError(f"the judge gave no verdict on any of {len(verdicts)} responses: {why}")
    scores = iter(verdicts)
    return [
        Group(prompt, of_prompt, tuple(next(scores) for _ in of_prompt))
        for prompt, of_prompt in zip(prompts, rollouts, strict=True)
    ]


def advantages_of(group: Group, stage: RlStage, learner: LearnerConfig) -> tuple[float, ...]:
    """One a rollout that was judged."""
    rewards = list(group.rewards)
    if learner.overlong_buffer:
        for i, rollout in enumerate(group.judged):
            length = len(rollout.response_ids)
            rewards[i] += overlong_penalty(length, stage.response, learner.overlong_buffer)
    return group_advantages(rewards, OBJECTIVES[learner.objective].scales_advantages)


def batch_of(
    groups: list[Group], advantages: list[tuple[float, ...]], stage: RlStage, sampling: Sampling
) -> Batch:
    rows = tuple(
        Row(
            group.prompt.ids,
            tuple(rollout.response_ids for rollout in group.judged),
            tuple(rollout.logprobs for rollout in group.judged),
            of_group,
        )
        for group, of_group in zip(groups, advantages, strict=True)
    )
    mini_batch = (stage.mini_batch or stage.batch) // stage.group
    return Batch(
        rows,
        mini_batch,
        stage.learning_rate,
        stage.response,
        sampling.temperature,
        sampling.top_p,
    )


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


def save(run: Run, name: str, step: int, curriculum: UniformSampler | None) -> None:
    def write(folder: object) -> None:
        run.workers.learn("save_state", folder)

    state = curriculum.state() if curriculum else {}
    keep = run.prepared.config.checkpoint.keep
    run.directory.save_checkpoint(name, step, run.version, state, write, keep)
