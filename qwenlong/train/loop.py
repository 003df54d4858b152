"""The run, as the paper has it: warm-up SFT, then GRPO in phases of growing context.

Left out on purpose: no critic; no KL penalty unless it is asked for (QwenLong-L1 has none); no
asynchrony: rollouts are of the learner's own weights, and learner and engines take turns. Only
groups that dynamic sampling had too many of are of the weights before, and are marked so.
"""

from __future__ import annotations

from dataclasses import replace

from qwenlong.config import UNTRAINED, RlStage, SftStage
from qwenlong.curricula.curriculum import Curriculum
from qwenlong.disk.manifest import trainer_step
from qwenlong.evaluate.evaluate import accuracies
from qwenlong.learner.advantages import Advantages
from qwenlong.rollout.collector import request_seeds
from qwenlong.runs.checkpoints import Checkpoint, trainer_checkpoint, trainer_folder
from qwenlong.runs.directory import evaluation_records, group_records
from qwenlong.train.batch import advantages_of, batch_of, scored
from qwenlong.train.guards import folder_bytes
from qwenlong.train.metrics import Clock, phase_metrics, summarised
from qwenlong.train.own_rollouts import right_rollouts
from qwenlong.train.rewards import strict
from qwenlong.train.run import Run, guard, heed, judge_metrics, publish, report, save
from qwenlong.types import Group, Prompt, Sampling

POLL_S = 0.5


def train(run: Run, last: Checkpoint | None) -> None:
    """Runs every stage that is not finished by ``last``, the checkpoint to go on from."""
    stages = run.prepared.config.stages
    begun = list(stages).index(last.stage) if last else 0
    if last:
        run.workers.learn("restore_state", last.folder)
        publish(run, last.version)
        run.curriculum = last.curriculum
        run.saver.go_on_from(last)
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
    heed(run, "the policy", run.guards.of_disk(run.directory.root))
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
    curriculum.start_step(run.version)
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
    clock.lap("checkpoint")
    groups = curriculum.finish_step()
    stage = config.stages[name]
    advantages = curriculum.masked(advantages_of(groups, stage, config.learner))
    heed(run, f"step {step} of {name}", run.guards.of_disk(run.directory.root))
    records = group_records(name, step, groups, advantages, curriculum.set_aside(groups))
    run.directory.log_rollouts(f"{name}-{step:05d}", records)
    run.directory.log_draws(name, step, run.version, draws)
    return groups, advantages


def curriculum_of(run: Run, name: str, stage: RlStage, resumed: Checkpoint | None) -> Curriculum:
    """The phase's, at the point where the run is."""
    config = run.prepared.config
    own, earlier = run.prepared.phase_prompts[name], run.prepared.earlier_prompts(name)
    curriculum = Curriculum(stage, config.learner, own, earlier, f"{config.seed} {name}")
    if resumed:
        curriculum.restore(run.curriculum)
    elif run.curriculum:
        curriculum.continue_from(run.curriculum)
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
    folder = trainer_folder(run.directory.checkpoints, name, run.saver.last)
    config = run.prepared.config
    begun = trainer_checkpoint(folder, config.learner.processes, run.progress.say)
    told = (stage, run.rope, folder, begun, config.seed, config.guards.non_finite)
    own_steps = (line["step"] for line in run.directory.logged() if line["stage"] == name)
    step = max(own_steps, default=0)
    training = run.workers.start_learning("sft", name, rows, *told)
    done = False
    while not done:
        done = run.workers.learners.done(training, POLL_S)
        memory = {"peak_memory_gb": run.workers.peak_memory_gb()}
        for logged in run.workers.learn("sft_progress", name, step):
            logged |= memory
            step = int(logged.pop("step"))
            report(run, name, "sft", step, logged)
            heed(run, f"step {step} of {name}", run.guards.of_update(logged))
        next_one = folder_bytes(max(folder.glob("checkpoint-*"), key=trainer_step, default=None))
        of_machine = [*run.guards.of_disk(run.directory.root, next_one), *run.guards.of_memory()]
        heed(run, name, of_machine)
    publish(run, run.version + 1)
    save(run, name, step)
    run.saver.confirm()


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
