"""What surrounds the training: evaluation, checkpoints, failures, guards, Ray."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class EvaluationConfig:
    contexts: list[int] = field(default_factory=list)
    """Context lengths in tokens; those of the stages if empty."""
    examples: int = 200
    """Held-out questions at each context, at most."""
    response: int | None = None
    """Longest response in tokens; the longest of the phases if null. Needed without phases."""
    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(frozen=True)
class CheckpointConfig:
    every: int = 10
    """RL steps between checkpoints; every stage ends with one, too."""
    keep: int = 2
    """The last ones; the best by accuracy at the longest context stays beside them."""


@dataclass(frozen=True)
class FailuresConfig:
    """How actors are replaced; what a dead learner leads to is ``learner.on_failure``."""

    restarts: int = 5
    """Most restarts of actors within ``period_s``; one more ends the run."""
    period_s: float = 3600.0
    timeout_s: float = 3600.0
    """Without an answer for so long a rollout actor, or a judge's, counts as hung, and is replaced;
    an actor's share of an evaluation is one request."""


@dataclass(frozen=True)
class GuardsConfig:
    """What follows when a run goes wrong: warn, stop, or, of the first two, skip.

    Warn goes on as if nothing were; skip leaves the optimizer update out; stop does, too, and ends
    the run after the step's metrics, to be gone on with from its last checkpoint.
    """

    non_finite: str = "stop"
    """Loss or gradient of an update is not a number, or infinite, in SFT too."""
    engine_kl: str = "warn"
    """Engine and learner differ by more than the next key over a step, in nats a token; all of
    its updates are left out then."""
    engine_kl_above: float = 0.1
    entropy: str = "warn"
    """Entropy of a step is below the next key, in nats a token; never at 0."""
    entropy_below: float = 0.0
    reward: str = "warn"
    """No reward at all in as many RL steps in a row as the next key says."""
    reward_zero_steps: int = 20
    disk: str = "stop"
    """Less GiB free than the next key, or than the last checkpoint takes, where the run is kept."""
    disk_gb: float = 1.0
    memory: str = "warn"
    """Less GiB left than the next key, of the driver's machine or of its container."""
    memory_gb: float = 0.5


@dataclass(frozen=True)
class RayConfig:
    address: str | None = None
    """A cluster to join (``auto``, ``ray://host:10001`` or host:port); a local one if null."""
    object_store_gb: float | None = None
    """Object store of a local Ray, which must hold the weights; Ray's own choice if null."""
