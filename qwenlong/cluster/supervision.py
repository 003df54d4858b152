"""Detects dead or hung actors, and enforces the restart budget."""

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
"""How often a wait checks for signals and for a dead Ray."""
START_S = 600.0
"""An actor may take this long to start, or failures.timeout_s if that is longer."""
ERROR = re.compile(r"(error|exception|fatal)\b|segmentation fault", re.IGNORECASE)
"""A line of a log that reports an error."""
WITH_NODE = "died with its node"
"""The failure of every actor on a node that has left. All of them count as one restart."""


@dataclass(frozen=True)
class Place:
    """An actor's name, log and bundle of the placement group, and how to start it there."""

    name: str
    log: Path
    bundle: int
    start: Callable[[], Any]


@dataclass(frozen=True)
class Failure:
    """Why an actor gave no answer."""

    why: str
    at_start: bool = False
    """The actor's constructor raised."""
    unclear: bool = False
    """The actor cannot be reached, and Ray does not know yet whether it is dead."""


class LearnerLostError(RuntimeError):
    """A process of the learner has died, so the weights since the last checkpoint are lost."""

    def __init__(self, place: Place, node: str, why: str) -> None:
        super().__init__(f"{place.name} on {node} {why}")
        self.place, self.node, self.why = place, node, why


class RayLostError(StoppedError):
    """Ray itself has died: no actor can be reached any more, not even to end it."""


class Watch:
    """Waits for answers while watching Ray and signals, and counts a run's restarts."""

    def __init__(
        self,
        failures: FailuresConfig,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures, self.say, self.clock = failures, say, clock
        self.started = False
        """Whether all actors have been running at once."""
        self._restarts: deque[float] = deque()
        self._gone: set[str] = set()
        """Nodes that have left."""
        self._daemons: Mapping[str, tuple[str, int]] = {}

    def wait(self, refs: Sequence[Any], timeout_s: float = SLICE_S) -> list[Any]:
        """The references that have an answer or an error, once all have or the time is over.

        Raises:
            RayLostError: Ray has died.
        """
        signals.check()
        limit = min(timeout_s, SLICE_S)
        # Without fetch_local the weights are not copied to the driver's node.
        ready, _ = ray.wait(list(refs), num_returns=len(refs), timeout=limit, fetch_local=False)
        self._check_ray()  # first: a dead Ray makes every actor look dead
        return list(ready)

    def restarting(self, place: Place, node: str, why: str, what: str) -> None:
        """Says that ``what`` is restarted, and counts it. A node that leaves counts once.

        Raises:
            StoppedError: failures.restarts allows no more.
        """
        if why == WITH_NODE and node in self._gone:
            self.say(f"{place.name} on {node} {why}, too; {what} restarted")
            return
        self._gone |= {node} if why == WITH_NODE else set()
        # Old restarts are forgotten: a long run may lose an actor now and then.
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
            f"{place.name} on {node} {why}; {what} restarted, {len(self._restarts)} of {within}"
        )

    def first_start(self, place: Place, failure: Failure) -> StoppedError | None:
        """The error to end the run with: what fails at its very start would fail again."""
        if self.started or not failure.at_start:
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
                pass  # slow is not dead, and Ray itself gives up after a minute


def arrivals(
    watch: Watch, group: Any, places: Sequence[Place], actors: Sequence[Any]
) -> list[str | Failure]:
    """The node of each actor once it has started, or why it did not.

    Raises:
        StoppedError: a node has left, and the cluster has had no room for its actor for too long.
    """
    limit = max(START_S, watch.failures.timeout_s)
    refs = {i: actor.where.remote() for i, actor in enumerate(actors)}
    arrived: dict[int, str | Failure] = {}
    began, no_room_since = watch.clock(), None
    while refs:
        ready = set(watch.wait(list(refs.values())))
        arrived |= {i: outcome_of(ref) for i, ref in refs.items() if ref in ready}
        refs = {i: ref for i, ref in refs.items() if ref not in ready}
        now = watch.clock()
        if refs and not _is_placed(group):
            names = " and ".join(places[i].name for i in refs)
            wanted = [group.bundle_specs[places[i].bundle] for i in refs]
            message = f"{names}: no node of the cluster has room; {lacking(wanted)}"
            if no_room_since is None:
                watch.say(message)
            # The start's own limit begins only when there is room.
            began, no_room_since = now, no_room_since or now
            if now - no_room_since > watch.failures.timeout_s:
                raise StoppedError(f"{message}, for {watch.failures.timeout_s:g} s now")
        elif now - began > limit:
            arrived |= dict.fromkeys(refs, Failure(f"did not start within {limit:g} s"))
            refs = {}
    return [arrived[i] for i in range(len(actors))]


def outcome_of(ref: Any) -> Any:
    """The answer, or a ``Failure``."""
    try:
        return ray.get(ref)
    except RayError as error:
        return failure_of(error)


def failure_of(error: RayError) -> Failure:
    """One line: Ray's own messages are many lines of advice."""
    message = str(error).strip()
    if isinstance(error, RayTaskError):
        return Failure(f"raised {message.splitlines()[-1][:300]}")
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return Failure(f"raised at its start: {message.splitlines()[-1][:300]}", at_start=True)
    if isinstance(error, OutOfMemoryError):
        return Failure("was killed by Ray because its node has no memory left")
    if isinstance(error, ActorUnavailableError):
        return Failure("cannot be reached", unclear=True)
    return Failure(WITH_NODE if "its node has died" in message else "died")


def last_words(log: Path, lines: int = 3) -> str:
    """The last error in an actor's log, in one line."""
    if not log.is_file():
        return f"its log is not here ({log})"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        tail = file.read().decode(errors="replace").split("\n")
    tail = [line.strip() for line in tail if line.strip()]
    errors = [i for i, line in enumerate(tail) if ERROR.search(line)]
    last = " | ".join(tail[errors[-1] :][:lines]) if errors else ""
    return f"{log}: {last[:600]}" if last else f"its log, {log}, shows no error"


def _is_placed(group: Any) -> bool:
    """Whether every bundle has a node; not so after a node has left, until another has room."""
    return bool(placement_group_table(group)["state"] == "CREATED")


def lacking(bundles: Sequence[Mapping[str, float]]) -> str:
    """What the bundles need, and what the whole cluster has free.

    More may be free than needed: each bundle must fit on one node.
    """

    def amounts(resources: Mapping[str, float]) -> str:
        return ", ".join(f"{resources.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))

    need = {name: sum(each.get(name, 0) for each in bundles) for name in ("CPU", "GPU")}
    return f"needed {amounts(need)}, free {amounts(ray.available_resources())}"


def _daemons() -> dict[str, tuple[str, int]]:
    """Addresses of the Ray processes that the driver cannot do without."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    own = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    return {
        "GCS": (host, int(port)),
        "raylet": (own["NodeManagerAddress"], own["NodeManagerPort"]),
    }
