"""Handles on a run's actors: typed calls, and what happens when an actor fails.

A failed engine is restarted and its request retried. The answer is the same: a request carries its
seed, and a restarted engine gets RoPE and weights before it generates. A failed process of the
learner takes the weights since the last checkpoint with it, so the run goes back to that checkpoint
(``LearnerLostError``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from qwenlong.disk.manifest import Written
from qwenlong.rollout.requests import balanced
from qwenlong.types import (
    Batch,
    InputError,
    Learner,
    Request,
    Rollout,
    Rope,
    Sampling,
    StepResult,
    StoppedError,
)

if TYPE_CHECKING:
    from qwenlong.learner.sft import SftJob

FATE_S = 60.0
"""How long Ray may take to tell a dead node from a slow one; it needs up to half of it."""
PING_S = 10.0
"""A living process of the learner answers a ping within this time."""
SFT_POLL_S = 0.5

Call = Callable[[Any], Any]
"""Calls one method of an actor and returns the reference to its answer."""


class LearnerHandle(Learner):
    """The processes of the learner as one.

    All processes get every call; the first one's answer counts. Every method raises
    LearnerLostError if a process has died, or has raised anything but the library's own errors.
    """

    def __init__(self, places: Sequence[Place], group: Any, watch: Watch) -> None:
        self._places, self._group, self._watch = places, group, watch
        self._nodes = ["a node"] * len(places)
        self.actors = [place.start() for place in places]

    def connect(self) -> None:
        """Waits until the processes have started, and lets them join each other."""
        for i, arrived in enumerate(arrivals(self._watch, self._group, self._places, self.actors)):
            if isinstance(arrived, Failure):
                lost = self._lost(i, arrived.why)
                raise self._watch.first_start(self._places[i], arrived) or lost
            self._nodes[i] = arrived
        alone = len(self.actors) == 1
        [address] = [""] if alone else self._answers([self.actors[0].address.remote()])
        self._answers([actor.join.remote(rank, address) for rank, actor in enumerate(self.actors)])

    def step(self, batch: Batch) -> StepResult:
        stored = ray.put(batch)  # once, however many processes read it
        result: StepResult = self._ask(lambda actor: actor.step.remote(stored))
        return result

    def sft(self, job: SftJob, after: int) -> Iterator[list[dict[str, float]]]:
        """Fine-tunes the policy; ends when the training has ended.

        Yields:
            The metrics of the updates since the last time, each with its ``step``, from step
            ``after`` on; an empty list if there was none within ``SFT_POLL_S``.
        """
        stored = ray.put(job)
        training = self._send(lambda actor: actor.sft.remote(stored))

        def updates_after(step: int) -> list[dict[str, float]]:
            updates: list[dict[str, float]] = self._ask(
                lambda actor: actor.sft_updates.remote(job.name, step)
            )
            return updates

        done = False
        while not done:
            # Asked once more after the end, so that the last updates are not lost.
            done = self._done(training, SFT_POLL_S)
            updates = updates_after(after)
            after = max([after, *(int(update["step"]) for update in updates)])
            yield updates

    def set_rope(self, rope: Rope) -> None:
        self._ask(lambda actor: actor.set_rope.remote(rope))

    def keep_reference(self) -> None:
        self._ask(lambda actor: actor.keep_reference.remote())

    def save_policy(self, folder: Path) -> None:
        self._ask(lambda actor: actor.save_policy.remote(folder))

    def save_state(self, folder: Path) -> None:
        """Copies the state; threads of the processes write it while training continues."""
        self._ask(lambda actor: actor.save_state.remote(folder))

    def saved(self, wait: bool) -> list[Written | None]:
        """What each process has written; None if it still writes, unless asked to ``wait``."""
        return self._answers(self._send(lambda actor: actor.saved.remote(wait)))

    def restore_state(self, folder: Path) -> None:
        self._ask(lambda actor: actor.restore_state.remote(folder))

    def weights(self) -> Any:
        """A reference to the current weights (``StoredWeights``) in the object store."""
        # The flag is waited for instead of the weights, which would be copied to the driver.
        refs = self._send(lambda actor: actor.weights.options(num_returns=2).remote())
        self._answers([present for _, present in refs])
        return refs[0][0]

    def peak_memory_gb(self) -> float:
        """Summed over the processes, in GiB."""
        return sum(self._answers(self._send(lambda actor: actor.peak_memory_gb.remote())))

    def _send(self, call: Call) -> list[Any]:
        return [call(actor) for actor in self.actors]

    def _ask(self, call: Call) -> Any:
        """The first process's answer, once all have answered."""
        return self._answers(self._send(call))[0]

    def _answers(self, refs: Sequence[Any]) -> list[Any]:
        while not self._done(refs):
            pass
        return [self._answer(i, ref) for i, ref in enumerate(refs)]

    def _done(self, refs: Sequence[Any], within_s: float = SLICE_S) -> bool:
        """Waits ``within_s`` for all to answer, and says whether they have."""
        ready = self._watch.wait(refs, within_s)
        for i, ref in enumerate(refs):
            if ref in ready:
                self._answer(i, ref)
        return len(ready) == len(refs)

    def _answer(self, i: int, ref: Any) -> Any:
        try:
            return ray.get(ref)
        except RayError as error:
            # If a process has died, the errors of the others follow from that.
            self._find_dead()
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

    def _lost(self, i: int, why: str, details: str = "") -> LearnerLostError:
        """``details`` go to the process's log."""
        place = self._places[i]
        if details:
            with place.log.open("a") as log:
                log.write(f"{details}\n")
        return LearnerLostError(place, self._nodes[i], why)


class EnginePool:
    """Engines that serve one policy: the rollout engines, or a judge's.

    Args:
        weights: stores the learner's current weights and returns the reference; None for a judge.
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
        """Restarted engines that have neither RoPE nor weights yet."""
        self.actors = [place.start() for place in places]

    def connect(self) -> None:
        """Waits until the engines have started."""
        for i, arrived in enumerate(arrivals(self._watch, self._group, self._places, self.actors)):
            if isinstance(arrived, Failure):
                if error := self._watch.first_start(self._places[i], arrived):
                    raise error
                self._replace(i, arrived.why)
            else:
                self._nodes[i] = arrived

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[tuple[Rollout, ...]]:
        """See ``types.Generate``. Each engine gets a share of about the same prompt tokens."""
        for i in sorted(self._behind):
            self._catch_up(i)
        # Responses take most of the time, but their lengths are not known beforehand.
        shares = balanced([len(request.ids) for request in requests], len(self.actors))

        def call(share: Sequence[int]) -> Call:
            own = [requests[place] for place in share]
            return lambda actor: actor.generate.remote(own, sampling)

        answers = self._ask({i: call(each) for i, each in enumerate(shares) if each}, retry=True)
        rollouts = {
            place: of_request
            for i, answer in answers.items()
            for place, of_request in zip(shares[i], answer, strict=True)
        }
        return [rollouts[place] for place in range(len(requests))]

    def load(self, version: int) -> None:
        """Gives all engines the learner's weights: one copy in the object store."""
        self._version = version
        self._send_weights(range(len(self.actors)))

    def set_rope(self, rope: Rope) -> None:
        self._rope = rope
        self._send_rope(range(len(self.actors)))

    def peak_memory_gb(self) -> float:
        """Summed over the engines, in GiB."""
        every = range(len(self.actors))
        return sum(self._ask(dict.fromkeys(every, lambda a: a.peak_memory_gb.remote())).values())

    def _send_rope(self, engines: Iterable[int]) -> None:
        if rope := self._rope:
            self._ask(dict.fromkeys(engines, lambda actor: actor.set_rope.remote(rope)))

    def _send_weights(self, engines: Iterable[int]) -> None:
        if self._weights and (version := self._version):
            weights = self._weights()
            self._ask(dict.fromkeys(engines, lambda actor: actor.load.remote(weights, version)))

    def _catch_up(self, i: int) -> None:
        """Gives a restarted engine the RoPE and the weights of the others.

        Only before it generates: a learner that fine-tunes must not be asked for weights.
        """
        while i in self._behind:
            self._behind.discard(i)  # another failure puts it back
            self._send_rope([i])
            if i not in self._behind:
                self._send_weights([i])

    def _ask(self, calls: Mapping[int, Call], retry: bool = False) -> dict[int, Any]:
        """The answer of each engine to its call. An engine that fails is restarted.

        Args:
            retry: whether a restarted engine catches up and gets its call again; otherwise it has
                no answer.
        """
        limit = self._watch.failures.timeout_s
        answers: dict[int, Any] = {}
        refs = {i: call(self.actors[i]) for i, call in calls.items()}
        ends = dict.fromkeys(refs, self._watch.clock() + limit)
        while refs:
            for i, outcome in self._outcomes(refs, ends, limit).items():
                del refs[i]
                if not isinstance(outcome, Failure):
                    answers[i] = outcome
                    continue
                # The whole node may have left, which counts as one restart for all its actors.
                self._replace(i, self._fate(i, outcome).why)
                if retry:
                    self._catch_up(i)
                    refs[i] = calls[i](self.actors[i])
                    ends[i] = self._watch.clock() + limit
        return answers

    def _outcomes(
        self, refs: Mapping[int, Any], ends: Mapping[int, float], limit: float
    ) -> dict[int, Any]:
        """The answers that have arrived, and a ``Failure`` for every engine that failed or is late.

        Args:
            ends: when each engine is late, after ``limit`` seconds.
        """
        now = self._watch.clock()
        ready = set(self._watch.wait(list(refs.values())))
        outcomes = {i: outcome_of(ref) for i, ref in refs.items() if ref in ready}
        late = [i for i, ref in refs.items() if ref not in ready and now > ends[i]]
        return outcomes | {i: Failure(f"gave no answer within {limit:g} s") for i in late}

    def _fate(self, i: int, failure: Failure) -> Failure:
        """Waits, if need be, until Ray knows whether the whole node has left."""
        end = self._watch.clock() + FATE_S
        while failure.unclear and self._watch.clock() < end:
            time.sleep(SLICE_S / 4)
            ref = self.actors[i].where.remote()
            if self._watch.wait([ref]):
                outcome = outcome_of(ref)
                if not isinstance(outcome, Failure):
                    break
                failure = outcome
        return failure

    def _replace(self, i: int, why: str) -> None:
        """Restarts an engine, again and again until it has started or the budget is spent."""
        place = self._places[i]
        while why:
            self._watch.restarting(place, self._nodes[i], why, "it is")
            ray.kill(self.actors[i])  # it may hang, and would keep its place
            self.actors[i] = place.start()
            [arrived] = arrivals(self._watch, self._group, [place], [self.actors[i]])
            if isinstance(arrived, Failure):
                why = arrived.why
            else:
                self._nodes[i], why = arrived, ""
        self._behind.add(i)
