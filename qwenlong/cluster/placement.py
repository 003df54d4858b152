"""Starts or joins Ray, places the actors of a run on it, and ends everything again."""

from __future__ import annotations

import math
import os
import resource
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from qwenlong.cluster.handles import EnginePool, LearnerHandle
from qwenlong.cluster.supervision import Place, RayLostError, Watch, lacking
from qwenlong.config import Config, EngineConfig
from qwenlong.disk import signals
from qwenlong.types import Engine, InputError, JudgePolicy, Learner, Rope, StoppedError

PLACEMENT_TIMEOUT_S = 600
PATIENCE_S = 5
"""A cluster with room places a run within this time; after it the run says that it waits."""


@dataclass(frozen=True)
class Workers:
    """The actors of a run: the learner, its engines, and a judge's engines if the run has them.

    Whatever waits for the learner raises LearnerLostError if one of its processes has died.
    """

    learner: LearnerHandle
    engines: EnginePool
    judge: EnginePool | None = None

    @property
    def actors(self) -> list[Any]:
        judge = self.judge.actors if self.judge else []
        return [*self.learner.actors, *self.engines.actors, *judge]

    def set_rope(self, rope: Rope) -> None:
        """Gives learner and engines the same RoPE."""
        self.learner.set_rope(rope)
        self.engines.set_rope(rope)

    def peak_memory_gb(self) -> float:
        """Summed over all actors, in GiB."""
        judge = self.judge.peak_memory_gb() if self.judge else 0.0
        return self.learner.peak_memory_gb() + self.engines.peak_memory_gb() + judge


@contextmanager
def start_ray(config: Config, say: Callable[[str], None] = print) -> Iterator[Any]:
    """Starts or joins Ray and reserves what the run needs; yields the placement group.

    However the block ends, whatever was started is ended.

    Raises:
        InputError: there is no such cluster, it is too small, or Ray does not start.
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
        group: the placement group that ``start_ray`` reserved.
        policy: folder or name of the policy to train.
        rope: the most stretched RoPE of the run.
        longest: the longest row, in tokens.
        logs: folder for what the actors print.
        judge: the policy that a judge's engines serve, if the run has them.
        watch: counts restarts; one object for all calls of a run.
    """
    watch = watch or Watch(config.failures, print)
    workers = _create(config, policy, rope, longest, logs, group, judge, watch)
    lost = False
    try:
        workers.learner.connect()
        workers.engines.connect()
        if workers.judge:
            workers.judge.connect()
        watch.started = True
        yield workers
    except RayLostError:
        lost = True
        raise
    finally:
        # A cluster that is not the run's own would keep them.
        for actor in [] if lost else workers.actors:
            ray.kill(actor)


def _join_ray(config: Config) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # With Ray's default of 15 any other program on the machine slows a run to a third.
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
            address="local",  # a Ray of its own, even if a cluster was started on this machine
            num_cpus=max(os.cpu_count() or 1, math.ceil(sum(_each(config, "cpus")))),
            object_store_memory=int(store * 2**30) if store else None,
            include_dashboard=False,
            **quiet,
        )
    except Exception as error:  # Ray raises a bare Exception when one of its processes dies
        why = " ".join(str(error).split())[:200]
        raise InputError(f"ray.address=null: no Ray of the run's own starts ({why})") from None


def _each(config: Config, kind: str) -> list[float]:
    """``cpus`` or ``gpus`` of each actor: the learner's processes, the engines, the judge's."""
    learner, judge = config.learner, config.rewards.judge
    engines = [config.rollout, *([judge.engine] if judge.is_engine else [])]
    processes = [getattr(learner, kind)] * learner.processes
    return processes + [getattr(engine, kind) for engine in engines for _ in range(engine.actors)]


def _reserve(config: Config, watch: Watch) -> Any:
    """Reserves all actors' resources at once, so that two runs cannot wait for each other."""
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
                f" {name}s, but Ray has {have.get(name, 0):g}; take fewer engines or fewer"
                f" processes (learner.data_ranks, learner.sequence_ranks), or let each have less"
            )
    # PACK: as few nodes as possible, so that weights travel over as few networks as possible.
    group = placement_group(bundles, strategy="PACK")
    ready, began, said = group.ready(), watch.clock(), False
    while not watch.wait([ready]):
        waited = watch.clock() - began
        message = f"the run waits for room: {lacking(bundles)}"
        if waited > PLACEMENT_TIMEOUT_S:
            remove_placement_group(group)
            raise StoppedError(f"{message}, for {PLACEMENT_TIMEOUT_S} s now")
        if waited > PATIENCE_S and not said:
            watch.say(message)
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
    from qwenlong.rollout.vllm_engine import VllmEngine

    cores = os.cpu_count() or 1
    dtype, learner = config.policy.dtype, config.learner

    def place(
        cls: type[Engine] | type[Learner], name: str, bundle: int, own: Any, share: int, *args: Any
    ) -> Place:
        """An actor that takes 1/``share`` of the cores, unless its configuration ``own`` says."""
        log, threads = logs / f"{name}.log", own.threads or max(1, cores // share)
        # One thread of the learner fine-tunes while another reports the updates.
        concurrency = 2 if cls is LearnerActor else 1
        options = _options(group, bundle, own.cpus, own.gpus)
        actor = _remote(cls, log, options, threads, concurrency)
        return Place(name, log, bundle, lambda: actor.remote(*args, own, config.seed))

    def engines(name: str, own: EngineConfig, first: int, *model: Any) -> list[Place]:
        return [
            place(VllmEngine, f"{name}-{i}", first + i, own, own.actors, *model)
            for i in range(own.actors)
        ]

    n = learner.processes
    processes = [
        place(LearnerActor, f"learner-{i}", i, learner, n, policy, dtype) for i in range(n)
    ]
    handle = LearnerHandle(processes, group, watch)
    rollout = engines("rollout", config.rollout, n, policy, dtype, rope, longest)
    pool = EnginePool(rollout, group, watch, handle.weights)
    if not judge:
        return Workers(handle, pool)
    model = (judge.path, dtype, judge.rope, judge.longest)
    judging = engines("judge", config.rewards.judge.engine, n + len(rollout), *model)
    return Workers(handle, pool, EnginePool(judging, group, watch))


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
    """A Ray actor of ``cls`` that prints to ``log``, and says where it is and what it holds."""

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

        def peak_memory_gb(self) -> float:
            """Most memory so far, in GiB: the GPU's if there is one, else the process's."""
            import torch

            if torch.cuda.is_available():
                return torch.cuda.max_memory_allocated() / 2**30
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    Logged.__name__ = Logged.__qualname__ = cls.__name__
    variables = {
        "OMP_NUM_THREADS": str(threads),
        # Learner and engines take turns on the same cores, which bound threads could not.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "TOKENIZERS_PARALLELISM": "false",
        # Otherwise each thread of an actor keeps a heap of its own for freed memory.
        "MALLOC_ARENA_MAX": "2",
        # glibc would give memory back to the system and take it again with every tensor of a few
        # MB: a tenth of an update of the quickstart. 32 MiB is its highest limit.
        "MALLOC_MMAP_THRESHOLD_": str(2**25),
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
    }
    runtime_env: dict[str, Any] = {"env_vars": variables}
    if " " in sys.executable:
        # Ray 2.60 passes this path to a shell unquoted, and no actor would ever start.
        runtime_env["py_executable"] = shlex.quote(sys.executable)
    return ray.remote(Logged).options(
        max_concurrency=concurrency, runtime_env=runtime_env, **options
    )
