"""Sections ``checkpoint``, ``failures`` and ``guards``: how a run survives what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass

from qwenlong.config.keys import key

_UPDATE = ("warn", "skip", "stop")
# What is known only after the update, or over many steps, leaves no update to skip.
_RUN = ("warn", "stop")


@dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written. Every stage ends with one, too."""

    every: int = key(10, "RL steps between checkpoints.", at_least=1)
    keep: int = key(
        2,
        "How many of the last checkpoints are kept; the most accurate one at the longest context is"
        " kept in addition.",
        at_least=1,
    )


@dataclass(frozen=True)
class FailuresConfig:
    """How failed actors are replaced. ``learner.on_failure`` is about learner processes."""

    restarts: int = key(
        5, "Most restarts of actors within period_s; one more stops the run.", at_least=0
    )
    period_s: float = key(3600.0, "Seconds over which restarts are counted.", above=0)
    timeout_s: float = key(
        3600.0,
        "Seconds without an answer after which a rollout actor, or a judge's, is replaced; in an"
        " evaluation an actor answers once for all of its prompts.",
        above=0,
    )


@dataclass(frozen=True)
class GuardsConfig:
    """What to do when training goes wrong.

    ``warn`` prints a line and continues; ``skip`` leaves the optimizer update out; ``stop`` leaves
    it out and ends the run after the step's metrics, to be resumed from its last checkpoint.
    """

    non_finite: str = key(
        "stop",
        "When the loss or the gradient of an update is infinite or not a number, in SFT too.",
        one_of=_UPDATE,
    )
    engine_kl: str = key(
        "warn",
        "When learner and engine differ over a step by more than engine_kl_above; skip and stop"
        " leave out all updates of the step.",
        one_of=_UPDATE,
    )
    engine_kl_above: float = key(0.1, "In nats per token.", at_least=0)
    entropy: str = key("warn", "When the entropy of a step is below entropy_below.", one_of=_RUN)
    entropy_below: float = key(0.0, "In nats per token; 0 never acts.", at_least=0)
    reward: str = key(
        "warn", "When reward_zero_steps RL steps in a row have no reward at all.", one_of=_RUN
    )
    reward_zero_steps: int = key(20, "Number of RL steps.", at_least=1)
    disk: str = key(
        "stop",
        "When the disk of the run directory has less space than disk_gb, or than the last"
        " checkpoint took.",
        one_of=_RUN,
    )
    disk_gb: float = key(1.0, "In GiB.", at_least=0)
    memory: str = key(
        "warn",
        "When the driver's machine, or its container, has less memory left than memory_gb.",
        one_of=_RUN,
    )
    memory_gb: float = key(0.5, "In GiB.", at_least=0)
