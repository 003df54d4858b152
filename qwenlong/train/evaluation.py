"""Evaluation of the policy between stages."""

from __future__ import annotations

from qwenlong.config import UNTRAINED
from qwenlong.evaluate.evaluate import accuracies, mean_over_sources
from qwenlong.rollout.requests import requests_of
from qwenlong.runs.checkpoints import RunState
from qwenlong.runs.directory import evaluation_records
from qwenlong.train.batch import scored
from qwenlong.train.metrics import Clock, add_stage
from qwenlong.train.rewards import strict_rewards
from qwenlong.train.run import Run, enforce
from qwenlong.types import Sampling


def evaluate(run: Run, state: RunState) -> None:
    """Evaluates the policy after its stage, at every context; not again after a resume."""
    name, config = state.stage, run.config
    summary = run.directory.summary()
    if name in [stage["name"] for stage in summary["stages"]]:
        return
    longest = config.evaluation.response or config.longest_response
    sampling = Sampling(1, longest, config.evaluation.temperature, config.evaluation.top_p)
    # Strict, whatever the training rewards: a lenient reward must not flatter the policy.
    rewards, clock = strict_rewards(config), Clock()
    evaluated = {}
    for context, prompts in run.inputs.held_out.items():
        run.progress.doing(f"{name}: evaluating {len(prompts)} questions at {context:,} tokens")
        # A context that the stage was not trained for may lie beyond its RoPE.
        run.workers.set_rope(run.inputs.rope_for(context + longest, state.rope))
        # The same seeds after every stage, so that stages differ by their weights alone.
        requests = requests_of(prompts, config.seed, "evaluation")
        answers = run.workers.engines.generate(requests, sampling)
        evaluated[context] = scored(prompts, answers, rewards)
    clock.lap("evaluation")
    enforce(run, f"the evaluation of {name}", run.guards.of_disk(run.directory.root))
    run.directory.log_rollouts(f"{name}-eval", evaluation_records(name, evaluated))
    accuracy = accuracies(evaluated)
    mean = mean_over_sources(accuracy)
    if name != UNTRAINED:
        run.saver.note_accuracy(mean[str(max(evaluated))]["value"], max(evaluated))
    kind = UNTRAINED if name == UNTRAINED else config.stages[name].kind
    seconds = clock.taken()["evaluation"]
    logged = run.directory.logged()
    run.directory.write_summary(add_stage(summary, name, kind, accuracy, logged, seconds))
    line = "  ".join(f"{context}: {cell['value']:.3f}" for context, cell in mean.items())
    run.progress.say(f"{name}: accuracy by context  {line}")
