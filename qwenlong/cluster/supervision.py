"""What becomes of actors is found out here, and how often they may be started anew is counted."""

from __future__ import annotations

import re
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.placement_group import placement_group_table

from qwenlong.config import FailuresConfig
from qwenlong.disk import signals
from qwenlong.types import StoppedError

SLICE_S = 1.0
"""How often one who waits looks up."""
START_S = 600.0
"""An actor may take so long to start, and longer where failures.timeout_s is."""
WRONG = re.compile(r"(error|exception|fatal)\b|segmentation fault", re.IGNORECASE)
"""A line of a log that tells of an end, not of work."""
WITH_NODE = "died with its node"
"""Why all of a node's actors are gone; counts as one failure."""


@dataclass(frozen=True)
class Place:
    """Where an actor of the run belongs, and how it is started there."""

    name: str
    log: Path
    bundle: int
    start: Callable[[], Any]


@dataclass(frozen=True)
class Failure:
    """Why there is no answer."""

    why: str
    at_start: bool = False
    """The actor's own start raised."""
    unclear: bool = False
    """It cannot be reached, and Ray does not know yet whether it is dead."""


class LearnerLostError(RuntimeError):
    """A process of the learner is gone, and the weights since the last checkpoint with it."""

    def __init__(self, place: Place, node: str, why: str) -> None:
        super().__init__(f"{place.name} on {node} {why}")
        self.place, self.node, self.why = place, node, why


class RayLostError(StoppedError):
    """Ray itself is gone: there is nobody left to ask, or to tell to end."""


class Watch:
    """What everyone who waits looks out for, and the count of a run's restarts."""

    def __init__(
        self,
        failures: FailuresConfig,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures, self.say, self.clock = failures, say, clock
        self.begun = False
        """Whether all actors have been there once."""
        self._restarts: deque[float] = deque()
        self._gone: set[str] = set()
        """Nodes that have left."""
        self._daemons: Mapping[str, tuple[str, int]] = {}

    def wait(self, asked: Sequence[Any], timeout_s: float = SLICE_S) -> list[Any]:
        """Those of ``asked`` that are settled, once all are or the time is over.

        Raises:
            RayLostError: Ray has died.
        """
        signals.check()
        limit = min(timeout_s, SLICE_S)
        # Weights are waited for where they lie; the driver has no use for a copy.
        ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=limit, fetch_local=False)
        self._check_ray()  # before its actors are missed, which go with it
        return list(ready)

    def restarting(self, place: Place, node: str, why: str, what: str) -> None:
        """Says that ``what`` is started anew, and counts it; a node's leaving counts once.

        Raises:
            StoppedError: it is one too many.
        """
        if why == WITH_NODE and node in self._gone:
            self.say(f"{place.name} on {node} {why}, too; {what} started anew")
            return
        self._gone |= {node} if why == WITH_NODE else set()
        bounds, now = self.failures, self.clock()
        while self._restarts and now - self._restarts[0] > bounds.period_s:
            self._restarts.popleft()
        within = f"{bounds.restarts} restarts within {bounds.period_s:g} s"
        if len(self._restarts) >= bounds.restarts:
            raise StoppedError(
                f"{place.name} on {node} {why}, and failures.restarts allows {within};"
                f" {last_words(place.log)}"
            )
        self._restarts.append(now)
        self.say(
            f"{place.name} on {node} {why}; {what} started anew, {len(self._restarts)} of {within}"
        )

    def first_start(self, place: Place, failure: Failure) -> StoppedError | None:
        """What raises at a run's very start would raise again."""
        if self.begun or not failure.at_start:
            return None
        return StoppedError(f"{place.name} {failure.why}; {last_words(place.log)}")

    def _check_ray(self) -> None:
        if not self._daemons:
            self._daemons = _daemons()
        for name, address in self._daemons.items():
            try:
                socket.create_connection(address, timeout=SLICE_S).close()
            except ConnectionRefusedError:
                raise RayLostError(f"Ray's {name} has died") from None
            except OSError:
                pass  # slow is not dead; Ray itself gives up after a minute


def arrivals(
    watch: Watch, group: Any, places: Sequence[Place], actors: Sequence[Any]
) -> list[str | Failure]:
    """The node of each actor once it has started, or why it did not.

    Raises:
        StoppedError: since a node left, the cluster has had no room for one, for too long.
    """
    limit = max(START_S, watch.failures.timeout_s)
    asked = {i: actor.where.remote() for i, actor in enumerate(actors)}
    arrived: dict[int, str | Failure] = {}
    began, homeless_since = watch.clock(), None
    while asked:
        ready = set(watch.wait(list(asked.values())))
        arrived |= {i: outcome_of(ref) for i, ref in asked.items() if ref in ready}
        asked = {i: ref for i, ref in asked.items() if ref not in ready}
        now = watch.clock()
        if asked and _homeless(group):
            names = " and ".join(places[i].name for i in asked)
            wanted = [group.bundle_specs[places[i].bundle] for i in asked]
            told = f"{names}: no node of the cluster has room; {lacking(wanted)}"
            if homeless_since is None:
                watch.say(told)
            began, homeless_since = now, homeless_since or now
            if now - homeless_since > watch.failures.timeout_s:
                raise StoppedError(f"{told}, for {watch.failures.timeout_s:g} s now")
        elif now - began > limit:
            arrived |= dict.fromkeys(asked, Failure(f"did not start within {limit:g} s"))
            asked = {}
    return [arrived[i] for i in range(len(actors))]


def outcome_of(ref: Any) -> Any:
    """The answer, or a ``Failure``."""
    try:
        return ray.get(ref)
    except RayError as error:
        return failure_of(error)


def failure_of(error: RayError) -> Failure:
    """In few words: Ray's own have lines of advice."""
    told = str(error).strip()
    if isinstance(error, RayTaskError):
        return Failure(f"raised {told.splitlines()[-1][:300]}")
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return Failure(f"raised at its start: {told.splitlines()[-1][:300]}", at_start=True)
    if isinstance(error, OutOfMemoryError):
        return Failure("was killed by Ray, for its node has no memory left")
    if isinstance(error, ActorUnavailableError):
        return Failure("cannot be reached", unclear=True)
    return Failure(WITH_NODE if "its node has died" in told else "died")


def last_words(log: Path, lines: int = 3) -> str:
    """What an actor's log says last of what went wrong, in one line."""
    if not log.is_file():
        return f"its log is not here ({log})"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        told = file.read().decode(errors="replace").split("\n")
    told = [line.strip() for line in told if line.strip()]
    wrong = [i for i, line in enumerate(told) if WRONG.search(line)]
    said = " | ".join(told[wrong[-1] :][:lines]) if wrong else ""
    return f"{log}: {said[:600]}" if said else f"its log, {log}, says nothing of it"


def _homeless(group: Any) -> bool:
    return bool(placement_group_table(group)["state"] != "CREATED")


def lacking(bundles: Sequence[Mapping[str, float]]) -> str:
    """What they need, and what the cluster has free; a bundle has to fit on one node."""

    def amounts(resources: Mapping[str, float]) -> str:
        return ", ".join(f"{resources.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))

    need = {name: sum(each.get(name, 0) for each in bundles) for name in ("CPU", "GPU")}
    return f"needed {amounts(need)}, free {amounts(ray.available_resources())}"


def _daemons() -> dict[str, tuple[str, int]]:
    """Where Ray's own processes listen without which the driver can do nothing."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    own = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    return {
        "GCS": (host, int(port)),
        "raylet": (own["NodeManagerAddress"], own["NodeManagerPort"]),
    }
