"""Guards: checks of a step's metrics and of the machine. What is wrong is said in one line."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenlong.config import GuardsConfig
from qwenlong.rewards.hybrid import BY_FUNCTION
from qwenlong.types import Group, Limits, RowMetrics

GIB = 2**30
NAMED = 3
"""Examples that a message names, at most."""
MACHINE = ("disk", "memory")
"""Guards of the machine; the others are guards of the training."""


@dataclass(frozen=True)
class Breach:
    guard: str
    """A key of ``guards``."""
    action: str
    message: str
    """The value and its bound."""
    details: tuple[str, ...] = ()
    """The examples concerned, and what was done."""

    def __str__(self) -> str:
        return f"guards.{self.guard}={self.action}: {'; '.join((self.message, *self.details))}"


class Guards:
    """The guards of one run.

    Args:
        logged: the lines of metrics.jsonl. They say how many steps before a resume had no reward.
    """

    def __init__(self, config: GuardsConfig, logged: Sequence[Mapping[str, Any]]) -> None:
        self.config = config
        self.zero_steps = zero_steps(logged)
        self._low: set[str] = set()
        """Guards of the machine that have warned. They warn again only after it got better."""
        self._missing = False
        """Whether the last step missed verdicts of the judge."""

    @property
    def limits(self) -> Limits:
        """The bounds beyond which the learner leaves an update out."""
        config = self.config
        engine_kl = config.engine_kl_above if config.engine_kl != "warn" else math.inf
        return Limits(config.non_finite != "warn", engine_kl)

    def of_step(
        self, metrics: Mapping[str, float], rows: Sequence[RowMetrics], examples: Sequence[str]
    ) -> list[Breach]:
        """Checks an RL step; to be called once a step.

        Args:
            rows: what the learner found in each row of the batch.
            examples: the id of each row's example.
        """
        config, breaches = self.config, []
        left_out = int(metrics["updates_left_out"])
        updates = f"{left_out} update{'s' * (left_out > 1)} left out, weights and optimizer are"
        done = (f"{updates} as before it",) if left_out else ()
        kl, entropy = metrics["engine_learner_kl"], metrics["entropy"]
        if odd := _not_finite(metrics):
            details = (not_finite_examples(rows, examples), *done)
            breaches.append(Breach("non_finite", config.non_finite, odd, details))
        # Weights that are not finite also pull engine and learner apart: one cause, one message.
        elif kl > config.engine_kl_above:
            message = f"engine and learner differ by {kl:.3g} nats a token, more than"
            message += f" {config.engine_kl_above:g}"
            details = (highest_kl_examples(rows, examples), *done)
            breaches.append(Breach("engine_kl", config.engine_kl, message, details))
        if entropy < config.entropy_below:
            message = f"entropy is {entropy:.3g} nats a token, less than {config.entropy_below:g}"
            breaches.append(Breach("entropy", config.entropy, message))
        self.zero_steps = 0 if metrics["reward_mean"] else self.zero_steps + 1
        # A step without reward is common at first; many in a row mean a broken verifier or prompt.
        if self.zero_steps and self.zero_steps % config.reward_zero_steps == 0:
            message = f"no reward in {self.zero_steps} steps in a row"
            breaches.append(Breach("reward", config.reward, message))
        return breaches

    def missing_verdicts(self, groups: Sequence[Group]) -> str:
        """A message when a step misses verdicts of the judge and the step before did not."""
        breakdowns = [score.breakdown for group in groups for score in group.scores]
        missing = [each for each in breakdowns if "unjudged" in each]
        before, self._missing = self._missing, bool(missing)
        if before or not missing:
            return ""
        by_function = missing[0]["unjudged"] == BY_FUNCTION
        applies = "combine" if by_function else f"rewards.unjudged={missing[0]['unjudged']}"
        why = missing[0]["judge_why"]
        return f"{len(missing)} responses got no verdict of the judge: {why}; {applies} applies"

    def of_update(self, metrics: Mapping[str, float]) -> list[Breach]:
        """Checks an update of SFT."""
        odd = _not_finite(metrics)
        return [Breach("non_finite", self.config.non_finite, odd)] if odd else []

    def of_disk(self, folder: Path, needed: int = 0) -> list[Breach]:
        """
        Args:
            needed: bytes that are about to be written to ``folder``.
        """
        free = shutil.disk_usage(folder).free / GIB
        bound = max(self.config.disk_gb, needed / GIB)
        why = "a checkpoint takes" if needed / GIB == bound else "guards.disk_gb"
        message = f"{free:,.1f} GiB are free where the run is kept, less than {bound:,.1f} ({why})"
        return self._machine("disk", self.config.disk, free < bound, message)

    def of_memory(self) -> list[Breach]:
        free, bound = memory_gb(), self.config.memory_gb
        message = f"{free:,.1f} GiB of memory are left, less than {bound:,.1f}"
        return self._machine("memory", self.config.memory, free < bound, message)

    def _machine(self, guard: str, action: str, low: bool, message: str) -> list[Breach]:
        if not low:
            self._low.discard(guard)
            return []
        warned = guard in self._low and action != "stop"
        self._low.add(guard)
        # Called at every step: a disk that stays nearly full would fill the screen.
        return [] if warned else [Breach(guard, action, message)]


def not_finite_examples(rows: Sequence[RowMetrics], examples: Sequence[str]) -> str:
    """The examples of rows with log-probabilities that are not finite."""
    pairs = zip(rows, examples, strict=True)
    odd = list(dict.fromkeys(example for row, example in pairs if not row.finite))
    if not odd:
        return "in the gradient alone, not in the probabilities of any example"
    more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
    return f"examples {', '.join(odd[:NAMED])}{more} of {len(set(examples))}"


def highest_kl_examples(rows: Sequence[RowMetrics], examples: Sequence[str]) -> str:
    """The examples whose engine and learner differ most."""
    pairs = sorted(zip(rows, examples, strict=True), key=lambda pair: -pair[0].engine_kl)
    worst = [f"{example} ({row.engine_kl:.3g})" for row, example in pairs[:NAMED]]
    return f"most in examples {', '.join(worst)}"


def zero_steps(logged: Iterable[Mapping[str, Any]]) -> int:
    """How many RL steps at the end of ``logged`` had no reward."""
    count = 0
    for step in logged:
        if "reward_mean" in step:
            count = 0 if step["reward_mean"] else count + 1
    return count


def _not_finite(metrics: Mapping[str, float]) -> str:
    """Which of loss and gradient norm are not finite; empty if both are finite."""
    named = {"loss": metrics["loss"], "gradient norm": metrics["grad_norm"]}
    odd = [f"{name} is {value:g}" for name, value in named.items() if not math.isfinite(value)]
    return ", ".join(odd)


def folder_bytes(folder: Path | None) -> int:
    total = 0
    for path in folder.rglob("*") if folder else ():
        with suppress(FileNotFoundError):  # the learner may be removing old checkpoints
            total += path.stat().st_size
    return total


def memory_gb(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float:
    """Free memory in GiB: of this machine, or of this process's container if that is less."""
    fields = dict(_fields(proc / "meminfo"))
    free = [int(fields["MemAvailable:"].split()[0]) * 1024]
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers == "":  # cgroup v2
            names, root = ("memory.max", "memory.current", "inactive_file"), cgroups
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = cgroups / "memory"
        else:
            continue
        # Any group above may set a limit, too. In a container only its own group can be seen.
        group = root / own.lstrip("/")
        below = [_below_limit(each, *names) for each in (group, *group.parents)]
        free += [each for each in below if each is not None]
    return max(0, min(free)) / GIB


def _below_limit(group: Path, limit: str, used: str, inactive: str) -> int | None:
    """Bytes left below a cgroup's limit; None without a limit. File cache does not count as used:
    the kernel drops it when memory is needed.
    """
    try:
        most = (group / limit).read_text().strip()
        if most == "max":
            return None
        cache = int(dict(_fields(group / "memory.stat")).get(inactive, "0"))
        return int(most) - int((group / used).read_text()) + cache
    except OSError:
        return None


def _fields(path: Path) -> Iterable[tuple[str, str]]:
    for each in path.read_text().splitlines():
        name, _, value = each.partition(" ")
        yield name, value.strip()
