"""The experiment file: every key with its meaning. ``experiment.py`` reads and checks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qwenlong.config.data import BuildConfig, DataConfig, SourceConfig
from qwenlong.config.policy import TINY, LearnerConfig, PolicyConfig, TinyConfig
from qwenlong.config.rollout import (
    EngineConfig,
    JudgeConfig,
    RewardConfig,
    RewardsConfig,
    RolloutConfig,
)
from qwenlong.config.running import (
    CheckpointConfig,
    EvaluationConfig,
    FailuresConfig,
    GuardsConfig,
    RayConfig,
)
from qwenlong.config.stages import TARGET_STEPS, RlStage, SamplerConfig, SftStage

__all__ = [
    "TARGET_STEPS",
    "TINY",
    "BuildConfig",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "EngineConfig",
    "EvaluationConfig",
    "FailuresConfig",
    "GuardsConfig",
    "JudgeConfig",
    "LearnerConfig",
    "PolicyConfig",
    "RayConfig",
    "RewardConfig",
    "RewardsConfig",
    "RlStage",
    "RolloutConfig",
    "SamplerConfig",
    "SftStage",
    "SourceConfig",
    "TinyConfig",
]


@dataclass(frozen=True)
class Config:
    """A resolved experiment."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    data: DataConfig = field(default_factory=DataConfig)
    stages: dict[str, Any] = field(default_factory=dict)
    """Name to SftStage or RlStage (``kind: sft`` or ``rl``), in the order in which they run."""
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    failures: FailuresConfig = field(default_factory=FailuresConfig)
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    loggers: list[str] = field(default_factory=list)
    """Any of tensorboard, trackio, wandb, beside metrics.jsonl."""
    run_dir: str = ""
    """Where the run is kept; runs/<name of the experiment file> if empty."""
    seed: int = 0

    @property
    def phases(self) -> list[RlStage]:
        return [stage for stage in self.stages.values() if isinstance(stage, RlStage)]

    @property
    def contexts(self) -> list[int]:
        """Context lengths at which the policy is evaluated, ascending."""
        own = self.evaluation.contexts or [stage.context for stage in self.stages.values()]
        return sorted(set(own))

    @property
    def longest_response(self) -> int:
        """The longest response that any part of the run may sample, in tokens."""
        return max([phase.response for phase in self.phases] + [self.evaluation.response or 0])
