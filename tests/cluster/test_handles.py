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

from qwenlong.cluster.handles import EnginePool, LearnerHandle
from qwenlong.cluster.placement import start_ray
from qwenlong.cluster.supervision import LearnerLostError, Place, Watch
from qwenlong.config import Config, FailuresConfig, LearnerConfig, RayConfig, RolloutConfig
from qwenlong.types import (
    Batch,
    Request,
    Rollout,
    Rope,
    Sampling,
    StepResult,
    StoppedError,
    token_ids,
)
from tests.arrays import rollout

ROPE = Rope(theta=1e4, window=64)
SAMPLING = Sampling(n=1, max_tokens=1)
BATCH = Batch((), 1, 1e-3, 1)


def requests(*seeds: int) -> list[Request]:
    return [Request(token_ids([7]), seed) for seed in seeds]


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

    def set_rope(self, rope: Rope) -> None:
        self._happens("set_rope")
        self.rope = rope

    def generate(self, requests: list[Request], sampling: Sampling) -> list[tuple[Rollout, ...]]:
        """The response is the seed, so that one sees who has answered what."""
        self._happens("generate")
        with (self.folder / f"{self.name}-asked").open("a") as file:
            file.writelines(f"{request.seed}\n" for request in requests)
        text = "RoPE" if self.rope == ROPE else ""
        return [(rollout([each.seed], [0.0], "stop", self.version, text),) for each in requests]

    def step(self, batch: Batch) -> StepResult:
        self._happens("step")
        return StepResult({"rows": len(batch.rows)}, ())

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


def end(*crews: EnginePool | LearnerHandle) -> None:
    for crew in crews:
        for actor in crew.actors:
            ray.kill(actor)


def test_who_fails_is_replaced_and_asked_again(
    group: Any, place: Callable[[str, int], Place], tmp_path: Path
) -> None:
    said: list[str] = []
    watch = Watch(FailuresConfig(restarts=9, timeout_s=4.0), said.append)
    learner = LearnerHandle([place("learner-0", 0)], group, watch)
    engines = EnginePool(
        [place("rollout-0", 1), place("rollout-1", 2)], group, watch, learner.weights
    )
    try:
        learner.connect()
        engines.connect()
        (tmp_path / "rollout-1-set_rope").write_text("die")
        engines.set_rope(ROPE)
        (tmp_path / "rollout-0-load").write_text("raise")
        engines.load(3)
        for number, event in enumerate(("raise", "die", "hang")):
            (tmp_path / "rollout-1-generate").write_text(event)
            if event == "die":
                (tmp_path / "rollout-1-load").write_text("raise")  # the new one's, too
            # Two requests as long as each other, so that each engine gets one.
            seeds = [2 * number, 2 * number + 1]
            answers = engines.generate(requests(*seeds), SAMPLING)
            found = [(r.response_ids.tolist(), r.version, r.text) for (r,) in answers]
            assert found == [([seed], 3, "RoPE") for seed in seeds]
        assert (tmp_path / "rollout-0-asked").read_text() == "0\n2\n4\n"
    finally:
        end(learner, engines)
    whys = [line.split(" restarted")[0].split(") ")[1] for line in said]
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
    engines = EnginePool([place("rollout-0", 1)], group, Watch(bounds, print))
    try:
        engines.connect()
        (tmp_path / "rollout-0-generate").write_text("always")
        with pytest.raises(StoppedError) as stopped:
            engines.generate(requests(1), SAMPLING)
    finally:
        end(engines)
    told = str(stopped.value)
    assert "\n" not in told and told.startswith("rollout-0 on here (")
    assert "raised ValueError: generate fails, and failures.restarts allows 1 restarts" in told
    assert told.endswith("log: CUDA error")
    (tmp_path / "rollout-0-init").write_text("always")
    engines = EnginePool([place("rollout-0", 1)], group, Watch(replace(bounds, restarts=9), print))
    with pytest.raises(StoppedError, match="rollout-0 raised at its start: ValueError: init fails"):
        engines.connect()


def test_a_process_of_the_learner_that_dies_is_the_learner_lost(
    group: Any, place: Callable[[str, int], Place], tmp_path: Path
) -> None:
    """So is one that raises, but at a run's start; where another has died, that is what is said."""
    watch = Watch(FailuresConfig(), print)
    learner = LearnerHandle([place("learner-0", 0), place("learner-1", 1)], group, watch)
    try:
        learner.connect()
        (tmp_path / "learner-1-weights").write_text("raise")
        with pytest.raises(StoppedError, match=r"learner-1 raised ValueError: weights fails"):
            learner.weights()
        watch.started = True
        (tmp_path / "learner-0-step").write_text("raise")
        with pytest.raises(LearnerLostError, match=r"learner-0 on .* ValueError: step fails"):
            learner.step(BATCH)
        assert "self._happens(" in (tmp_path / "log").read_text()
        (tmp_path / "learner-0-step").write_text("raise")
        (tmp_path / "learner-1-step").write_text("die")
        began = time.monotonic()
        with pytest.raises(LearnerLostError, match=r"learner-1 on here \(\d+\) died"):
            learner.step(BATCH)
        assert time.monotonic() - began < 30
    finally:
        end(learner)
