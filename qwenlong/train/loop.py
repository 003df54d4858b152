"""The training run as the paper has it: warm-up SFT, then GRPO in phases of growing context.

    for each stage:
        SFT:  train on worked answers
        RL:   for each step:
                  draw prompts of the phase's lengths; sample G responses to each; score them
                  advantage of a response: its reward compared with the rewards of its group
                  policy gradient on the groups, in mini-batches; new weights to the engines
        evaluate on held-out questions at every context length

Left out on purpose: a critic; a KL penalty unless it is asked for (QwenLong-L1 has none);
asynchrony: learner and engines take turns, so rollouts are sampled from the weights that are
trained. Only the surplus groups of dynamic sampling are older, and they are marked as stale.
"""

from __future__ import annotations

from dataclasses import replace

from qwenlong.config import UNTRAINED, RlStage, SftStage
from qwenlong.curricula.curriculum import Curriculum
from qwenlong.learner.advantages import Advantages
from qwenlong.rollout.requests import requests_of
from qwenlong.runs.checkpoints import RunState
from qwenlong.runs.directory import group_records
from qwenlong.train.batch import advantages_of, batch_of, sampling_of, scored
from qwenlong.train.evaluation import evaluate
from qwenlong.train.metrics import Clock, phase_metrics
from qwenlong.train.rewards import judge_metrics
from qwenlong.train.run import Run, enforce, log_step, save
from qwenlong.train.sft import fine_tune
from qwenlong.types import Group


def train(run: Run, state: RunState) -> None:
    """Runs all stages from ``state`` on, beginning with the rest of its own stage."""
    if state.stage == UNTRAINED:
        evaluate(run, state)
    for name in stages_left(run, state):
        state = run_stage(run, name, run.config.stages[name], state)
        evaluate(run, state)
    run.workers.set_rope(state.rope)  # the evaluation may have stretched it further
    enforce(run, "the policy", run.guards.of_disk(run.directory.root))
    run.workers.learner.save_policy(run.directory.policy)


def stages_left(run: Run, state: RunState) -> list[str]:
    names = list(run.config.stages)
    return names if state.stage == UNTRAINED else names[names.index(state.stage) :]


def run_stage(run: Run, name: str, stage: SftStage | RlStage, state: RunState) -> RunState:
    if isinstance(stage, SftStage):
        return fine_tune(run, name, stage, state)
    return phase(run, name, stage, state)


def phase(run: Run, name: str, stage: RlStage, state: RunState) -> RunState:
    """GRPO at one context length, from ``state`` on; also the rest of a phase."""
    config, learner, engines = run.config, run.workers.learner, run.workers.engines
    resumed, version, rope = state.stage == name, state.version, run.inputs.rope_of(stage)
    curriculum = curriculum_at(run, name, stage, state)
    # The KL term, if there is one, holds all phases to the policy that RL started from. After a
    # resume the reference comes from the checkpoint.
    if run.inputs.phase_number(name) == 1 and not resumed:
        learner.keep_reference()
    run.workers.set_rope(rope)
    clock = Clock()
    for step in range(state.step + 1 if resumed else 1, stage.steps + 1):
        if curriculum.reached:
            break
        where = f"step {step} of {name}"
        groups, advantages = sample(run, name, stage, step, version, curriculum, clock)
        batch = batch_of(groups, advantages, version, stage, config, run.guards.limits)
        result = learner.step(batch)
        clock.lap("learn")
        version += 1
        engines.load(version)
        clock.lap("load")
        memory = run.workers.peak_memory_gb()
        metrics = phase_metrics(curriculum.sampled, result.metrics, clock.taken(), memory)
        metrics |= judge_metrics(run.rewards) | curriculum.metrics()
        log_step(run, name, "rl", step, version, metrics)
        if missing := run.guards.missing_verdicts(groups):
            run.progress.say(f"{where}: {missing}")
        ids = [group.prompt.example.id for group in groups]
        breaches = run.guards.of_step(metrics, result.rows, ids)
        enforce(run, where, [*breaches, *run.guards.of_memory()])
        state = RunState(name, step, version, rope, curriculum.state())
        # A target may be reached at any step, and the next stage starts from a checkpoint.
        if step % config.checkpoint.every == 0 or step == stage.steps or curriculum.reached:
            save(run, state)
        clock.lap("checkpoint")
    run.saver.confirm()  # the evaluation marks this checkpoint as the best, if it is
    if curriculum.reached:
        run.progress.say(f"{name}: reached its target of {stage.target:g}")
    return state


def sample(
    run: Run,
    name: str,
    stage: RlStage,
    step: int,
    version: int,
    curriculum: Curriculum,
    clock: Clock,
) -> tuple[list[Group], list[Advantages]]:
    """The groups that a step trains on, with their advantages. All that was sampled is logged.

    With dynamic sampling the curriculum draws more than once: each draw depends on the scores of
    the one before.
    """
    config, draws = run.config, []
    sampling = sampling_of(stage, config)
    curriculum.start_step(version)
    while prompts := curriculum.draw():
        first = len(curriculum.sampled)
        requests = requests_of(prompts, config.seed, name, step, first=first)
        draws.append((prompts, requests))
        rollouts = run.workers.engines.generate(requests, sampling)
        clock.lap("rollout")
        curriculum.observe(scored(prompts, rollouts, run.rewards))
        clock.lap("score")
    # The learner has been idle, so the last checkpoint may be written by now.
    run.saver.confirm(wait=False)
    clock.lap("checkpoint")
    groups = curriculum.finish_step()
    advantages = curriculum.masked(advantages_of(groups, stage, config.learner))
    # Rollouts are written before the learner trains on them: if the step goes wrong, they show why.
    enforce(run, f"step {step} of {name}", run.guards.of_disk(run.directory.root))
    records = group_records(name, step, groups, advantages, curriculum.set_aside(groups))
    run.directory.log_rollouts(f"{name}-{step:05d}", records)
    run.directory.log_draws(name, step, version, draws)
    return groups, advantages


def curriculum_at(run: Run, name: str, stage: RlStage, state: RunState) -> Curriculum:
    """The phase's curriculum at ``state``, which is within the phase or before it."""
    own, earlier = run.inputs.phase_prompts[name], run.inputs.earlier_prompts(name)
    seed = f"{run.config.seed} {name}"
    curriculum = Curriculum(stage, run.config.learner, own, earlier, seed)
    if state.stage == name:
        curriculum.restore(state.curriculum)
    elif state.curriculum:
        curriculum.continue_from(state.curriculum)
    return curriculum


def replay(run: Run, state: RunState, name: str, step: int) -> None:
    """Trains up to a step of phase ``name``, without evaluations, and samples that step.

    The rollouts of all these steps are logged in the run's directory.
    """
    for earlier in stages_left(run, state):
        if earlier == name:
            break
        state = run_stage(run, earlier, run.config.stages[earlier], state)
    stage = run.config.stages[name]
    # A curriculum that is restored from its state draws what it would have drawn without a stop.
    state = phase(run, name, replace(stage, steps=step - 1), state)
    curriculum = curriculum_at(run, name, stage, state)
    if not curriculum.reached:
        sample(run, name, stage, step, state.version, curriculum, Clock())
