"""Ray: started or joined, the actors of a run placed on it, everything taken down again."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from qwenlong.cluster.handles import Engines, Learners
from qwenlong.cluster.supervision import Place, RayLostError, Watch, lacking
from qwenlong.config import Config, EngineConfig
from qwenlong.disk import signals
from qwenlong.types import InputError, JudgePolicy, Prompt, Rollout, Rope, Sampling, StoppedError

PLACEMENT_TIMEOUT_S = 600
PATIENCE_S = 5
"""A cluster with room needs less."""


@dataclass(frozen=True)
class Workers:
    """The actors of a run: the learner's processes, the rollout actors, a judge's engines.

    Whatever waits for the learner raises LearnerLostError if one of its processes has died.
    """

    learners: Learners
    rollout: Engines
    judge: Engines | None = None

    @property
    def engines(self) -> list[Engines]:
        return [self.rollout, *([self.judge] if self.judge else [])]

    @property
    def actors(self) -> list[Any]:
        return [*self.learners.actors, *(actor for each in self.engines for actor in each.actors)]

    def start_learning(self, method: str, *args: Any) -> list[Any]:
        """Calls all of the learner's processes, which work as one."""
        return self.learners.ask(method, *args)

    def learn(self, method: str, *args: Any) -> Any:
        """The answer of the learner's first process, once all are done."""
        return self.learners.answers(self.start_learning(method, *args))[0]

    def collect(
        self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]
    ) -> list[tuple[Rollout, ...]]:
        from qwenlong.rollout.collector import collect

        return collect(self.rollout, prompts, sampling, seeds)

    def publish(self, version: int) -> None:
        """Gives the learner's weights to every rollout actor."""
        self.rollout.load(version)

    def stretch(self, rope: Rope) -> None:
        """One RoPE for learner and engines."""
        learning = self.start_learning("stretch", rope)
        self.rollout.stretch(rope)
        self.learners.answers(learning)

    def peak_memory_gb(self) -> float:
        """The sum over all actors, in GiB."""
        asked = self.start_learning("peak_memory_gb")
        held = [gb for each in self.engines for gb in each.ask("peak_memory_gb", [()] * len(each))]
        return float(sum([*held, *self.learners.answers(asked)]))


@contextmanager
def start_ray(config: Config, say: Callable[[str], None] = print) -> Iterator[Any]:
    """Starts or joins Ray and reserves what the run needs; yields the placement group.

    Takes down whatever it started, however the block ends.

    Raises:
        InputError: no such cluster, or one that is too small; or no Ray could be started.
        StoppedError: the cluster had no room for too long.
    """
    with signals.deferred(ray.shutdown):
        _join_ray(config)
    group = None
    try:
        group = _reserve(config, Watch(config.failures, say))
        yield group
    except RayLostError:
        group = None
        raise
    finally:
        if group is not None:
            remove_placement_group(group)
        ray.shutdown()


@contextmanager
def start_workers(
    config: Config,
    group: Any,
    policy: str,
    rope: Rope,
    longest: int,
    logs: Path,
    judge: JudgePolicy | None = None,
    watch: Watch | None = None,
) -> Iterator[Workers]:
    """Starts all actors, and ends them however the block ends.

    Args:
        rope: the most stretched RoPE of the run. longest: the longest row, in tokens.
        logs: folder for what the actors print.
        judge: what a judge's engines serve, if the run has them.
        watch: counts restarts, over several calls if they have the same.
    """
    watch = watch or Watch(config.failures, print)
    workers = _create(config, policy, rope, longest, logs, group, judge, watch)
    lost = False
    try:
        workers.learners.begin()
        for engines in workers.engines:
            engines.begin()
        watch.begun = True
        yield workers
    except RayLostError:
        lost = True
        raise
    finally:
        # Also on a cluster that outlives the run.
        for actor in [] if lost else workers.actors:
            ray.kill(actor)


def _join_ray(config: Config) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's default of 15 lets any neighbour on the machine slow a run to a third.
    os.environ.setdefault("RAY_worker_niceness", "0")
    quiet = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
    if config.ray.address:
        try:
            ray.init(address=config.ray.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())[:200]
            raise InputError(f"ray.address={config.ray.address}: cannot join ({why})") from None
        return
    store = config.ray.object_store_gb
    try:
        ray.init(
            address="local",  # whatever cluster else was started on this machine
            num_cpus=max(os.cpu_count() or 1, math.ceil(sum(_each(config, "cpus")))),
            object_store_memory=int(store * 2**30) if store else None,
            include_dashboard=False,
            **quiet,
        )
    except Exception as error:  # Ray's own has no kind when one of its processes dies
        why = " ".join(str(error).split())[:200]
        raise InputError(f"ray.address=null: no Ray of the run's own starts ({why})") from None


def _each(config: Config, kind: str) -> list[float]:
    """``cpus`` or ``gpus`` of every actor: the learner's processes, the rollout's, the judge's."""
    learner, judge = config.learner, config.rewards.judge
    engines = [config.rollout, *([judge.engine] if judge.is_engine else [])]
    own = [getattr(learner, kind)] * learner.processes
    return own + [getattr(engine, kind) for engine in engines for _ in range(engine.actors)]


def _reserve(config: Config, watch: Watch) -> Any:
    """Reserves all actors' resources at once, so that no part of a run waits for another."""
    both = zip(_each(config, "cpus"), _each(config, "gpus"), strict=True)
    bundles = [{"CPU": c, "GPU": g} for c, g in both]
    bundles = [{name: n for name, n in bundle.items() if n} for bundle in bundles]
    have = ray.cluster_resources()
    for name in ("CPU", "GPU"):
        need = sum(bundle.get(name, 0) for bundle in bundles)
        if need > have.get(name, 0):
            raise InputError(
                f"rollout.actors={config.rollout.actors}: they, the learner's"
                f" {config.learner.processes} processes and a judge's engines need {need:g}"
                f" {name}s, but Ray has"
                f" {have.get(name, 0):g}; take fewer of either (learner.data_ranks,"
                f" learner.sequence_ranks) or let each have less"
            )
    group = placement_group(bundles, strategy="PACK")
    ready, began, said = group.ready(), watch.clock(), False
    while not watch.wait([ready]):
        waits = watch.clock() - began
        told = f"the run waits for room: {lacking(bundles)}"
        if waits > PLACEMENT_TIMEOUT_S:
            remove_placement_group(group)
            raise StoppedError(f"{told}, for {PLACEMENT_TIMEOUT_S} s now")
        if waits > PATIENCE_S and not said:
            watch.say(told)
            said = True
    return group


def _create(
    config: Config,
    policy: str,
    rope: Rope,
    longest: int,
    logs: Path,
    group: Any,
    judge: JudgePolicy | None,
    watch: Watch,
) -> Workers:
    from qwenlong.learner.actor import LearnerActor
    from qwenlong.rollout.actor import RolloutActor

    cores = os.cpu_count() or 1
    dtype, learner = config.policy.dtype, config.learner

    def place(cls: type, name: str, bundle: int, own: Any, share: int, *args: Any) -> Place:
        """One that takes 1/``share`` of the cores, unless its configuration ``own`` says."""
        log, threads = logs / f"{name}.log", own.threads or max(1, cores // share)
        # One to fine-tune, one to be asked how far it is.
        concurrency = 2 if cls is LearnerActor else 1
        options = _options(group, bundle, own.cpus, own.gpus)
        actor = _remote(cls, log, options, threads, concurrency)
        return Place(name, log, bundle, lambda: actor.remote(*args, own, config.seed))

    def engines(name: str, own: EngineConfig, first: int, *model: Any) -> list[Place]:
        return [
            place(RolloutActor, f"{name}-{i}", first + i, own, own.actors, *model)
            for i in range(own.actors)
        ]

    n = learner.processes
    learning = [place(LearnerActor, f"learner-{i}", i, learner, n, policy, dtype) for i in range(n)]
    learners = Learners(learning, group, watch)
    rollout = engines("rollout", config.rollout, n, policy, dtype, rope, longest)
    collecting = Engines(rollout, group, watch, learners.weights)
    if not judge:
        return Workers(learners, collecting)
    serves = (judge.path, dtype, judge.rope, judge.longest)
    judging = engines("judge", config.rewards.judge.engine, n + len(rollout), *serves)
    return Workers(learners, collecting, Engines(judging, group, watch))


def _options(group: Any, bundle: int, cpus: float, gpus: float) -> dict[str, Any]:
    return {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "scheduling_strategy": PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=bundle
        ),
    }


def _remote(
    cls: type, log: Path, options: dict[str, Any], threads: int, concurrency: int = 1
) -> Any:
    """A Ray actor of ``cls`` that writes what it prints to ``log``."""

    class Logged(cls):
        def __init__(self, *args: Any) -> None:
            with log.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            super().__init__(*args)

        def where(self) -> str:
            """Its node, for people to read; also a sign of life."""
            context = ray.get_runtime_context()
            return f"{ray.util.get_node_ip_address()} ({context.get_node_id()[:8]})"

    Logged.__name__ = Logged.__qualname__ = cls.__name__
    variables = {
        "OMP_NUM_THREADS": str(threads),
        # Learner and engines take turns on the same cores; bound threads could not.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "TOKENIZERS_PARALLELISM": "false",
        # Threads of an actor would each keep a heap of what they once held.
        "MALLOC_ARENA_MAX": "2",
    }
    return ray.remote(Logged).options(
        max_concurrency=concurrency, runtime_env={"env_vars": variables}, **options
    )
