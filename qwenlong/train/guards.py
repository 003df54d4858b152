"""Guards: what of a step's figures and of the machine has gone wrong, each in one line."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenlong.config import GuardsConfig
from qwenlong.types import Limits, RowFigures

GIB = 2**30
NAMED = 3
"""Examples that a line names, at most."""
BY_EXAMPLES = ("non_finite", "engine_kl")
OF_MACHINE = ("disk", "memory")
"""Guards whose line names the examples concerned."""
BEFORE = "weights and optimizer are as before it"


@dataclass(frozen=True)
class Breach:
    guard: str
    """A key of ``guards``."""
    action: str
    told: str
    """The figure and the bound."""


class Guards:
    """Of one run.

    Args:
        logged: the run's metrics so far, from which it is known how long there was no reward; they
            are taken back with every checkpoint that is gone on from.
    """

    def __init__(self, config: GuardsConfig, logged: Sequence[Mapping[str, Any]]) -> None:
        self.config = config
        self.zero_steps = zero_steps(logged)
        self._low: set[str] = set()
        """Guards of the machine that have spoken, and do so again only after it got better."""

    @property
    def limits(self) -> Limits:
        """What the learner is to leave out."""
        config = self.config
        apart = config.engine_kl_above if config.engine_kl != "warn" else math.inf
        return Limits(config.non_finite != "warn", apart)

    def of_step(self, metrics: Mapping[str, float]) -> list[Breach]:
        """What an RL step's metrics say; to be asked once a step."""
        config, breaches = self.config, []
        odd = _odd(metrics)
        kl, entropy = metrics["engine_learner_kl"], metrics["entropy"]
        if odd:
            breaches.append(self._breach("non_finite", odd))
        elif kl > config.engine_kl_above:
            told = f"engine and learner differ by {kl:.3g} nats a token, more than"
            breaches.append(self._breach("engine_kl", f"{told} {config.engine_kl_above:g}"))
        if entropy < config.entropy_below:
            told = f"entropy is {entropy:.3g} nats a token, less than {config.entropy_below:g}"
            breaches.append(self._breach("entropy", told))
        self.zero_steps = 0 if metrics["reward_mean"] else self.zero_steps + 1
        if self.zero_steps and self.zero_steps % config.reward_zero_steps == 0:
            told = f"no reward in {self.zero_steps} steps in a row"
            breaches.append(self._breach("reward", told))
        return breaches

    def of_update(self, metrics: Mapping[str, float]) -> list[Breach]:
        """What the metrics of an update of SFT say."""
        odd = _odd(metrics)
        return [self._breach("non_finite", odd)] if odd else []

    def of_disk(self, folder: Path, needed: int = 0) -> list[Breach]:
        """``needed``: bytes that are about to be written to ``folder``."""
        room = shutil.disk_usage(folder).free / GIB
        bound = max(self.config.disk_gb, needed / GIB)
        why = "a checkpoint takes" if needed / GIB == bound else "guards.disk_gb"
        told = f"{room:,.1f} GiB are free where the run is kept, less than {bound:,.1f} ({why})"
        return self._machine("disk", room < bound, told)

    def of_memory(self) -> list[Breach]:
        left, bound = memory_gb(), self.config.memory_gb
        told = f"{left:,.1f} GiB of memory are left, less than {bound:,.1f}"
        return self._machine("memory", left < bound, told)

    def _machine(self, guard: str, low: bool, told: str) -> list[Breach]:
        if not low:
            self._low.discard(guard)
            return []
        breach = self._breach(guard, told)
        said = guard in self._low and breach.action != "stop"
        self._low.add(guard)
        return [] if said else [breach]

    def _breach(self, guard: str, told: str) -> Breach:
        return Breach(guard, getattr(self.config, guard), told)


def line(breach: Breach, where: str, examples: str = "", left_out: int = 0) -> str:
    """All of it in one line.

    Args:
        where: stage and step.
        examples: what ``concerned`` says.
        left_out: updates of the step that the optimizer did not make.
    """
    updates = f"{left_out} update{'s' * (left_out > 1)} left out, {BEFORE}"
    parts = [breach.told, examples, updates if left_out else ""]
    told = "; ".join(part for part in parts if part)
    return f"{where}: guards.{breach.guard}={breach.action}: {told}"


def concerned(guard: str, figures: Sequence[RowFigures], examples: Sequence[str]) -> str:
    """The examples whose figures a breach comes from; ``examples`` are the rows' ids."""
    pairs = list(zip(figures, examples, strict=True))
    if guard == "non_finite":
        odd = list(dict.fromkeys(example for each, example in pairs if not each.finite))
        if not odd:
            return "in the gradient alone, not in the probabilities of any example"
        more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
        return f"examples {', '.join(odd[:NAMED])}{more} of {len(set(examples))}"
    pairs.sort(key=lambda pair: -pair[0].engine_kl)
    worst = [f"{example} ({each.engine_kl:.3g})" for each, example in pairs[:NAMED]]
    return f"most in examples {', '.join(worst)}"


def zero_steps(logged: Iterable[Mapping[str, Any]]) -> int:
    """RL steps without any reward at the end of a run's metrics."""
    count = 0
    for step in logged:
        if "reward_mean" in step:
            count = 0 if step["reward_mean"] else count + 1
    return count


def _odd(metrics: Mapping[str, float]) -> str:
    """Which of loss and gradient norm are not finite; empty if both are."""
    named = {"loss": metrics["loss"], "gradient norm": metrics["grad_norm"]}
    odd = [f"{name} is {value:g}" for name, value in named.items() if not math.isfinite(value)]
    return ", ".join(odd)


def folder_bytes(folder: Path | None) -> int:
    total = 0
    for path in folder.rglob("*") if folder else ():
        with suppress(FileNotFoundError):  # a learner may be clearing old ones away
            total += path.stat().st_size
    return total


def memory_gb(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float:
    """GiB that this machine can still give, or this process' container if that is less."""
    fields = dict(_fields(proc / "meminfo"))
    left = [int(fields["MemAvailable:"].split()[0]) * 1024]
    for group in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, own = group.split(":", 2)
        if controllers == "":  # cgroup v2
            names, root = ("memory.max", "memory.current", "inactive_file"), cgroups
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = cgroups / "memory"
        else:
            continue
        # A limit may be set on any group above; in a container only its own can be seen.
        here = root / own.lstrip("/")
        rooms = [_room(each, *names) for each in (here, *here.parents)]
        left += [room for room in rooms if room is not None]
    return max(0, min(left)) / GIB


def _room(group: Path, limit: str, used: str, inactive: str) -> int | None:
    """Bytes below a cgroup's limit, its file cache not counted as used; None without a limit."""
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
