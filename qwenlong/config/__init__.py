"""The schema of an experiment, a file a section. ``reading.py`` reads and checks one."""

from qwenlong.config.data import BuildConfig, DataConfig, SourceConfig
from qwenlong.config.evaluation import EvaluationConfig
from qwenlong.config.experiment import Config, RayConfig
from qwenlong.config.learner import LearnerConfig
from qwenlong.config.policy import TINY, PolicyConfig, TinyConfig
from qwenlong.config.reliability import CheckpointConfig, FailuresConfig, GuardsConfig
from qwenlong.config.rewards import JudgeConfig, RewardConfig, RewardsConfig
from qwenlong.config.rollout import EngineConfig, RolloutConfig
from qwenlong.config.stages import (
    TARGET_STEPS,
    UNTRAINED,
    RlStage,
    SamplerConfig,
    SftStage,
)
