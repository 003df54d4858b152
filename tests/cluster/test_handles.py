"""Actors on a real Ray that raise, hang and die: the one is replaced, and only its part redone."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from qwenlong.cluster.handles import Engines, Learners
from qwenlong.cluster.placement import start_ray
from qwenlong.cluster.supervision import LearnerLostError, Place, Watch
from qwenlong.config import Config, FailuresConfig, LearnerConfig, RayConfig, RolloutConfig
from qwenlong.types import Rope, StoppedError

ROPE = Rope(theta=1e4, window=64)


class Actor:
    """Says what it was given; in its folder it finds what is to befall it, once."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.rope: Rope | None = None
        self.version = 0
        self._happens("init")

    def where(self) -> str:
        return f"here ({os.getpid()})"

    def address(self) -> str:
        return "here:0"

    def join(self, rank: int, address: str) -> None: ...

    def weights(self) -> tuple[str, bool]:
        self._happens("weights")
        return "weights", True

    def load(self, weights: str, version: int) -> None:
        self._happens("load")
        self.version = version

    def stretch(self, rope: Rope) -> None:
        self._happens("stretch")
        self.rope = rope

    def generate(self, request: str) -> tuple[str, int, bool]:
        self._happens("generate")
        with (self.folder / f"{self.name}-asked").open("a") as file:
            file.write(f"{request}\n")
        return request, self.version, self.rope == ROPE

    def _happens(self, method: str) -> None:
        event = self.folder / f"{self.name}-{method}"
        if not event.exists():
            return
        what = event.read_text()
        if what != "always":
            event.unlink()
        if what == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError(f"{method} fails")


@pytest.fixture(scope="module")
def group() -> Iterator[Any]:
    config = Config(
        rollout=RolloutConfig(actors=2, cpus=1),
        learner=LearnerConfig(cpus=1),
        ray=RayConfig(object_store_gb=0.2),
    )
    # By value: else each actor would import this file and, with it, torch.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with start_ray(config) as group:
        yield group


@pytest.fixture
def place(group: Any, tmp_path: Path) -> Callable[[str, int], Place]:
    from qwenlong.cluster.placement import _options

    def place(name: str, bundle: int) -> Place:
        actor = ray.remote(Actor).options(**_options(group, bundle, 1, 0))
        return Place(name, tmp_path / "log", bundle, lambda: actor.remote(tmp_path, name))

    return place


def end(*crews: Engines | Learners) -> None:
    for crew in crews:
        for actor in crew.actors:
            ray.kill(actor)


def test_who_fails_is_replaced_and_asked_again(
    group: Any, place: Callable[[str, int], Place], tmp_path: Path
) -> None:
    said: list[str] = []
    watch = Watch(FailuresConfig(restarts=9, timeout_s=4.0), said.append)
    learners = Learners([place("learner-0", 0)], group, watch)
    engines = Engines(
        [place("rollout-0", 1), place("rollout-1", 2)], group, watch, learners.weights
    )
    try:
        learners.begin()
        engines.begin()
        (tmp_path / "rollout-1-stretch").write_text("die")
        engines.stretch(ROPE)
        (tmp_path / "rollout-0-load").write_text("raise")
        engines.load(3)
        for number, event in enumerate(("raise", "die", "hang")):
            (tmp_path / "rollout-1-generate").write_text(event)
            if event == "die":
                (tmp_path / "rollout-1-load").write_text("raise")  # the new one's, too
            asked = [(f"{number}a",), (f"{number}b",)]
            assert engines.generate(asked) == [(request, 3, True) for (request,) in asked]
        assert (tmp_path / "rollout-0-asked").read_text() == "0a\n1a\n2a\n"
    finally:
        end(learners, engines)
    whys = [line.split(" started anew")[0].split(") ")[1] for line in said]
    raised = "raised ValueError: {} fails; it is"
    assert whys == [
        "died; it is", raised.format("load"), raised.format("generate"), "died; it is",
        raised.format("load"), "gave no answer within 4 s; it is",
    ]  # fmt: skip


def test_what_fails_for_good_ends_the_run_in_one_line(
    group: Any, place: Callable[[str, int], Place], tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("loading\nCUDA error\n")
    bounds = FailuresConfig(restarts=1, timeout_s=60.0)
    engines = Engines([place("rollout-0", 1)], group, Watch(bounds, print))
    try:
        engines.begin()
        (tmp_path / "rollout-0-generate").write_text("always")
        with pytest.raises(StoppedError) as stopped:
            engines.generate([("a",)])
    finally:
        end(engines)
    told = str(stopped.value)
    assert "\n" not in told and told.startswith("rollout-0 on here (")
    assert "raised ValueError: generate fails, and failures.restarts allows 1 restarts" in told
    assert told.endswith("log: CUDA error")
    (tmp_path / "rollout-0-init").write_text("always")
    engines = Engines([place("rollout-0", 1)], group, Watch(replace(bounds, restarts=9), print))
    with pytest.raises(StoppedError, match="rollout-0 raised at its start: ValueError: init fails"):
        engines.begin()


def test_a_process_of_the_learner_that_dies_is_the_learner_lost(
    group: Any, place: Callable[[str, int], Place], tmp_path: Path
) -> None:
    """So is one that raises, but at a run's start; where another has died, that is what is said."""
    watch = Watch(FailuresConfig(), print)
    learners = Learners([place("learner-0", 0), place("learner-1", 1)], group, watch)
    try:
        learners.begin()
        (tmp_path / "learner-1-weights").write_text("raise")
        with pytest.raises(StoppedError, match=r"learner-1 raised ValueError: weights fails"):
            learners.weights()
        watch.begun = True
        (tmp_path / "learner-0-generate").write_text("raise")
        with pytest.raises(LearnerLostError, match=r"learner-0 on .* ValueError: generate fails"):
            learners.answers(learners.ask("generate", "a"))
        assert "self._happens(" in (tmp_path / "log").read_text()
        (tmp_path / "learner-0-generate").write_text("raise")
        (tmp_path / "learner-1-generate").write_text("die")
        began = time.monotonic()
        with pytest.raises(LearnerLostError, match=r"learner-1 on here \(\d+\) died"):
            learners.answers(learners.ask("generate", "a"))
        assert time.monotonic() - began < 30
    finally:
        end(learners)
