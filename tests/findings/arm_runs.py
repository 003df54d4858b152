"""Runs of arms as the driver would leave them, their numbers made up: no policy is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from qwenlong.config import Config, RlStage
from qwenlong.config.reading import load_config
from qwenlong.evaluate.evaluate import accuracies
from qwenlong.rewards.hybrid import Rewards, score_all
from qwenlong.runs.directory import RunDir, evaluation_records, group_records
from qwenlong.train.metrics import Part, add_stage, phase_metrics
from qwenlong.types import Example, Group, Prompt
from tests.arrays import rollout

EXPERIMENT = """
policy: {path: tiny, dtype: float32, window: 128}
data:
  sft: [{source: facts, examples: 80, min_tokens: 36, max_tokens: 100}]
  train: [{source: facts, examples: 80, min_tokens: 60, max_tokens: 400}]
  held_out: [{source: facts, examples: 40, min_tokens: 60, max_tokens: 400}]
stages:
  sft: {kind: sft, context: 128}
  phase1: {kind: rl, context: 256, yarn_factor: 4, response: 16, steps: 6, batch: 16, group: 4,
    learning_rate: 1e-4}
  phase2: {kind: rl, context: 512, steps: 8}
"""
NO_SFT = EXPERIMENT.replace("  sft: {kind: sft, context: 128}\n", "").replace(
    "  sft: [{source: facts, examples: 80, min_tokens: 36, max_tokens: 100}]\n", ""
)
QUESTIONS = 20
RIGHT, HONEST = "Hamwell", "Norwick"
RESPONSE = "<think>\nhm\n</think>\nTherefore, the answer is {}."


def write_run(
    root: Path,
    arm: str,
    seed: int,
    *overrides: str,
    end: float = 0.8,
    right: float = 0.7,
    entropy: float = 0.4,
    wrong: str = HONEST,
    stop: str = "",
    kl: float | None = None,
    experiment: str = EXPERIMENT,
) -> Path:
    """A run that comes to accuracy ``end`` at its longest context, and stops in stage ``stop``.

    ``right`` is the share of right answers in training; the others are ``wrong``, from the second
    phase on.
    """
    folder = root / f"{arm}-seed{seed}"
    config = replace(_config(experiment, overrides), seed=seed, run_dir=str(folder))
    run = RunDir.create(config, None)
    rewards = Rewards({each.source: each for each in config.rewards.by_source})
    draws = Random(f"{seed} {arm}")
    _evaluate(run, config, "untrained", "untrained", 0.0, wrong)
    for place, (name, stage) in enumerate(config.stages.items()):
        steps = stage.steps if isinstance(stage, RlStage) else 3
        for step in range(1, steps + 1):
            if isinstance(stage, RlStage):
                said = HONEST if name == "phase1" else wrong
                groups = _groups(stage.batch // stage.group, stage.group, right, said, rewards)
                learned = {
                    "loss": 0.0,
                    "entropy": entropy * (1 + 1 / step) + draws.gauss(0, 0.01),
                    "engine_learner_kl": 1e-13,
                    "grad_norm": 0.5 + draws.random(),
                }
                learned |= {} if kl is None else {"kl": kl}
                # As the gate logs it: half as many groups again as were trained on.
                sampled = stage.batch // stage.group * 3 // 2
                learned |= {"gate_sampled": sampled} if stage.refill else {}
                seconds: dict[Part, float] = {"rollout": 2.0, "score": 0.1, "learn": 1.0}
                metrics = phase_metrics(groups, learned, seconds, 1.5)
                advantages = [[0.0] * stage.group for _ in groups]
                records = group_records(name, step, groups, advantages)
                run.log_rollouts(f"{name}-{step:05d}", records)
            else:
                metrics = {"loss": 1.0, "entropy": 5.0, "grad_norm": 9.0, "seconds_step": 4.0}
            run.log({"stage": name, "kind": stage.kind, "step": step, **metrics})
            if name == stop:
                return folder
        _evaluate(run, config, name, stage.kind, end * (place + 1) / len(config.stages), wrong)
    return folder


def three(root: Path, arm: str, ends: Sequence[float], *overrides: str, **of: Any) -> list[Path]:
    runs = enumerate(ends)
    return [write_run(root, arm, seed, *overrides, end=end, **of) for seed, end in runs]


@cache
def _config(experiment: str, overrides: tuple[str, ...]) -> Config:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "experiment.yaml"
        path.write_text(experiment)
        return load_config(path, overrides)


def _evaluate(run: RunDir, config: Config, name: str, kind: str, value: float, wrong: str) -> None:
    evaluated = {}
    for place, context in enumerate(config.contexts):
        # Shorter ones are easier.
        share = min(1.0, value + 0.05 * (len(config.contexts) - 1 - place))
        evaluated[context] = _groups(QUESTIONS, 1, share, wrong, Rewards())
    run.log_rollouts(f"{name}-eval", evaluation_records(name, evaluated))
    accuracy = accuracies(evaluated)
    run.write_summary(add_stage(run.summary(), name, kind, accuracy, run.logged(), 2.5))


def _groups(prompts: int, group: int, share: float, wrong: str, rewards: Rewards) -> list[Group]:
    """``share`` of all their responses are right; each is scored as the rewards have it."""
    right = round(share * prompts * group)
    example = Example("facts-1", "facts", "Where was Mara Voss born?", (), (RIGHT,))
    texts = [RESPONSE.format(RIGHT if i < right else wrong) for i in range(prompts * group)]
    scores = score_all(rewards, [(example, text) for text in texts])
    rollouts = [rollout([2] * 10, [-0.1] * 10, version=1, text=text) for text in texts]
    return [
        Group(
            Prompt(example, (1,) * 50), tuple(rollouts[i : i + group]), tuple(scores[i : i + group])
        )
        for i in range(0, len(texts), group)
    ]
