"""The learner's processes and the rollout actors, as the run asks them: one dies, all goes on.

Answers do not depend on which actor gives them, nor on when: a request carries its seeds, and a
new actor gets RoPE and weights before it is asked. So what is asked again comes out the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from qwenlong.cluster.supervision import (
    SLICE_S,
    Failure,
    LearnerLostError,
    Place,
    Watch,
    arrivals,
    failure_of,
    outcome_of,
)
from qwenlong.types import InputError, Rope, StoppedError

FATE_S = 60.0
"""Ray takes up to half of it to miss a node."""
PING_S = 10.0
"""A process of the learner that lives answers that it does within this time."""


class Learners:
    """The learner's processes, which work as one: with one of them all are lost."""

    def __init__(self, places: Sequence[Place], group: Any, watch: Watch) -> None:
        self._places, self._group, self._watch = places, group, watch
        self._nodes = ["a node"] * len(places)
        self.actors = [place.start() for place in places]

    def begin(self) -> None:
        """Waits until they have started, and lets them meet."""
        for i, arrived in enumerate(arrivals(self._watch, self._group, self._places, self.actors)):
            if isinstance(arrived, Failure):
                lost = self._lost(i, arrived.why)
                raise self._watch.first_start(self._places[i], arrived) or lost
            self._nodes[i] = arrived
        alone = len(self.actors) == 1
        [address] = [""] if alone else self.answers([self.actors[0].address.remote()])
        self.answers([actor.join.remote(rank, address) for rank, actor in enumerate(self.actors)])

    def ask(self, method: str, *args: Any) -> list[Any]:
        return [getattr(actor, method).remote(*args) for actor in self.actors]

    def answers(self, asked: Sequence[Any]) -> list[Any]:
        """What they answered, in order.

        Raises:
            LearnerLostError: a process has died, or raised something else than what the library
                itself stops with.
        """
        while not self.done(asked):
            pass
        return [self._answer(i, ref) for i, ref in enumerate(asked)]

    def done(self, asked: Sequence[Any], within_s: float = SLICE_S) -> bool:
        """Whether all have answered, which it waits for so long.

        Raises:
            LearnerLostError: a process has died.
        """
        ready = self._watch.wait(asked, within_s)
        for i, ref in enumerate(asked):
            if ref in ready:
                self._answer(i, ref)
        return len(ready) == len(asked)

    def weights(self) -> Any:
        """The current weights, where they lie in the object store."""
        asked = [actor.weights.options(num_returns=2).remote() for actor in self.actors]
        self.answers([there for _, there in asked])
        return asked[0][0]

    def _answer(self, i: int, ref: Any) -> Any:
        try:
            return ray.get(ref)
        except RayError as error:
            self._find_dead()  # what the others raise is then a consequence
            if isinstance(getattr(error, "cause", None), InputError | StoppedError):
                raise
            failure = failure_of(error)
            lost = self._lost(i, failure.why, str(error))
            raised = replace(failure, at_start=isinstance(error, RayTaskError))
            raise self._watch.first_start(self._places[i], raised) or lost from None

    def _find_dead(self) -> None:
        for i, actor in enumerate(self.actors):
            ref = actor.where.remote()
            end = self._watch.clock() + PING_S
            while not self._watch.wait([ref]) and self._watch.clock() < end:
                pass
            try:
                ray.get(ref, timeout=0)
            except GetTimeoutError:
                continue
            except RayError as error:
                raise self._lost(i, failure_of(error).why) from None

    def _lost(self, i: int, why: str, whole: str = "") -> LearnerLostError:
        """``whole``: all that is known of it, for the log."""
        place = self._places[i]
        if whole:
            with place.log.open("a") as log:
                log.write(f"{whole}\n")
        return LearnerLostError(place, self._nodes[i], why)


class Engines:
    """Rollout actors, or a judge's, each kept alive in its place.

    Args:
        weights: the learner's current ones, as they lie in the object store; none for a judge.
    """

    def __init__(
        self,
        places: Sequence[Place],
        group: Any,
        watch: Watch,
        weights: Callable[[], Any] | None = None,
    ) -> None:
        self._places, self._group, self._watch, self._weights = places, group, watch, weights
        self._nodes = ["a node"] * len(places)
        self._rope: Rope | None = None
        self._version = 0
        self._behind: set[int] = set()
        """New ones, which have neither RoPE nor weights yet."""
        self.actors = [place.start() for place in places]

    def __len__(self) -> int:
        return len(self.actors)

    def begin(self) -> None:
        """Waits until they have started."""
        for i, arrived in enumerate(arrivals(self._watch, self._group, self._places, self.actors)):
            if isinstance(arrived, Failure):
                if error := self._watch.first_start(self._places[i], arrived):
                    raise error
                self._replace(i, arrived.why)
            else:
                self._nodes[i] = arrived

    def load(self, version: int) -> None:
        """Gives all of them the learner's weights: one copy in the object store."""
        assert self._weights
        self._version, weights = version, self._weights()
        self.ask("load", [(weights, version)] * len(self.actors))

    def stretch(self, rope: Rope) -> None:
        self._rope = rope
        self.ask("stretch", [(rope,)] * len(self.actors))

    def generate(self, requests: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answer of each to its own request, by weights and RoPE of now."""
        for i in sorted(self._behind):
            self._catch_up(i)
        return self.ask("generate", requests)

    def ask(self, method: str, requests: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answer of each to its own request; who fails is replaced, and asked again."""
        limit = self._watch.failures.timeout_s
        answers: dict[int, Any] = {}
        asked = {i: self._send(i, method, request) for i, request in enumerate(requests)}
        ends = dict.fromkeys(asked, self._watch.clock() + limit)
        while asked:
            for i, outcome in self._watch_over(asked, ends, limit).items():
                if not isinstance(outcome, Failure):
                    answers[i] = outcome
                    del asked[i]
                    continue
                self._replace(i, self._fate(i, outcome).why)
                if method in ("generate", "load"):
                    self._catch_up(i)
                if method == "load":  # done; the weights that it was sent may be gone themselves
                    answers[i] = None
                    del asked[i]
                    continue
                asked[i] = self._send(i, method, requests[i])
                ends[i] = self._watch.clock() + limit
        return [answers[i] for i in range(len(requests))]

    def _send(self, i: int, method: str, request: tuple[Any, ...]) -> Any:
        return getattr(self.actors[i], method).remote(*request)

    def _watch_over(
        self, asked: Mapping[int, Any], ends: Mapping[int, float], limit: float
    ) -> dict[int, Any]:
        """The answers that are there, and who failed or is overdue."""
        now = self._watch.clock()
        ready = set(self._watch.wait(list(asked.values())))
        outcomes = {i: outcome_of(ref) for i, ref in asked.items() if ref in ready}
        overdue = [i for i, ref in asked.items() if ref not in ready and now > ends[i]]
        return outcomes | {i: Failure(f"gave no answer within {limit:g} s") for i in overdue}

    def _catch_up(self, i: int) -> None:
        """Gives a new one what the others have."""
        limit = self._watch.failures.timeout_s
        while i in self._behind:
            asked = {}
            if self._rope:
                asked[0] = self.actors[i].stretch.remote(self._rope)
            if self._version and self._weights:
                asked[1] = self.actors[i].load.remote(self._weights(), self._version)
            ends = dict.fromkeys(asked, self._watch.clock() + limit)
            failed = None
            while asked and not failed:
                outcomes = self._watch_over(asked, ends, limit)
                failed = next((o for o in outcomes.values() if isinstance(o, Failure)), None)
                asked = {key: ref for key, ref in asked.items() if key not in outcomes}
            if failed:
                self._replace(i, self._fate(i, failed).why)
            else:
                self._behind.discard(i)

    def _fate(self, i: int, failure: Failure) -> Failure:
        """Waits, if need be, until Ray knows whether it is the whole node that has left."""
        end = self._watch.clock() + FATE_S
        while failure.unclear and self._watch.clock() < end:
            time.sleep(SLICE_S / 4)
            ref = self.actors[i].where.remote()
            if self._watch.wait([ref]):
                told = outcome_of(ref)
                if not isinstance(told, Failure):
                    break
                failure = told
        return failure

    def _replace(self, i: int, why: str) -> None:
        place = self._places[i]
        while why:
            self._watch.restarting(place, self._nodes[i], why, "it is")
            ray.kill(self.actors[i])
            self.actors[i] = place.start()
            [arrived] = arrivals(self._watch, self._group, [place], [self.actors[i]])
            if isinstance(arrived, Failure):
                why = arrived.why
            else:
                self._nodes[i], why = arrived, ""
        self._behind.add(i)
