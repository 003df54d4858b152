"""The whole experiment, and section ``ray``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qwenlong.config.data import DataConfig
from qwenlong.config.evaluation import EvaluationConfig
from qwenlong.config.keys import key
from qwenlong.config.learner import LearnerConfig
from qwenlong.config.policy import PolicyConfig
from qwenlong.config.reliability import CheckpointConfig, FailuresConfig, GuardsConfig
from qwenlong.config.rewards import RewardsConfig
from qwenlong.config.rollout import RolloutConfig
from qwenlong.config.stages import STAGES, RlStage


@dataclass(frozen=True)
class RayConfig:
    """The cluster that a run uses."""

    address: str | None = key(
        None,
        "A cluster to join (auto, ray://host:10001 or host:port); null starts a local one.",
    )
    object_store_gb: float | None = key(
        None,
        "Object store of a local cluster in GiB, which must hold the weights; null takes Ray's"
        " own choice.",
        above=0,
    )


@dataclass(frozen=True)
class Config:
    """A resolved experiment."""

    policy: PolicyConfig = key(PolicyConfig)
    data: DataConfig = key(DataConfig)
    stages: dict[str, Any] = key(
        {},
        "The stages by name, in the order in which they run.",
        schemas=tuple(STAGES.values()),
    )
    rewards: RewardsConfig = key(RewardsConfig)
    rollout: RolloutConfig = key(RolloutConfig)
    learner: LearnerConfig = key(LearnerConfig)
    evaluation: EvaluationConfig = key(EvaluationConfig)
    checkpoint: CheckpointConfig = key(CheckpointConfig)
    failures: FailuresConfig = key(FailuresConfig)
    guards: GuardsConfig = key(GuardsConfig)
    ray: RayConfig = key(RayConfig)
    loggers: list[str] = key(
        [],
        "Where metrics are logged in addition to metrics.jsonl.",
        one_of=("tensorboard", "trackio", "wandb"),
    )
    run_dir: str = key(
        "", "Where the run is kept; if empty, runs/ and the name of the experiment file."
    )
    seed: int = key(0, "Seed of everything that is drawn.")

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
