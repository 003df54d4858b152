"""A run whose actors, learner or Ray die or hang ends as the run that nothing disturbed."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.command import Command
from tests.small import assert_same, lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def strike(command: Command, process: str, number: int) -> None:
    """As soon as there is one."""
    command.wait_for(lambda: command.strike(process, number))


def logged(run: Path, stage: str, step: int) -> Callable[[], bool]:
    def is_logged() -> bool:
        told = (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").exists() else ""
        whole = (json.loads(line) for line in told.split("\n")[:-1])
        return any((line["stage"], line["step"]) == (stage, step) for line in whole)

    return is_logged


def test_whoever_dies_or_hangs_the_run_ends_the_same(
    whole: tuple[Path, str], experiment: Path, start: Callable[..., Command]
) -> None:
    run = experiment.parent / "disturbed"
    bounds = "failures={restarts: 9, period_s: 600, timeout_s: 15}"
    begun = start("train", str(experiment), f"run_dir={run}", bounds)
    begun.wait_for(logged(run, "phase1", 1))
    strike(begun, "^ray::VllmEngine.generate", signal.SIGKILL)
    begun.wait_for(logged(run, "phase1", 2))
    strike(begun, r"^\S+/raylet ", signal.SIGKILL)
    assert begun.ended() == 1
    told = begun.output.read_text().strip().splitlines()
    goes_on = f"continue with `qwenlong resume {run}`"
    assert told[-1] == f"qwenlong: stopped: Ray's raylet has died; {goes_on}"
    killed = re.compile(r"rollout-0 on \S+ \(\w+\) died; it is restarted, 1 of 9 restarts")
    assert sum(bool(killed.match(line)) for line in told) == 1
    assert not re.search(r"Traceback|worker died|Raylet is terminated", begun.output.read_text())

    resumed = start("resume", str(run))
    resumed.wait_for(lambda: "continuing from" in resumed.output.read_text())
    second = start("resume", str(run))
    assert second.ended() == 2
    holder = f"process {resumed.process.pid} on "
    assert second.output.read_text().startswith(f"qwenlong: run_dir={run}: {holder}")
    resumed.wait_for(lambda: list((run / "checkpoints").glob("*-phase2-*.partial")))
    strike(resumed, "^ray::LearnerActor", signal.SIGKILL)  # its checkpoint is not whole yet
    resumed.wait_for(lambda: resumed.output.read_text().count("continuing from") == 2)
    resumed.wait_for(logged(run, "phase2", 2))
    strike(resumed, "^ray::VllmEngine.generate", signal.SIGSTOP)
    assert resumed.ended() == 0, resumed.output.read_text()
    said = resumed.output.read_text()
    assert re.search(r"learner-0 on .* died; all actors are restarted, 1 of 9", said)
    assert re.search(r"rollout-0 on .* gave no answer within 15 s; it is restarted", said)
    assert_same(run, whole[0])


def test_a_node_that_leaves_a_cluster_does_not_end_the_run(
    experiment: Path, start: Callable[..., Command]
) -> None:
    """What was on it waits for room, and is restarted on the node that comes instead."""
    run = experiment.parent / "cluster"
    small = {"num_cpus": 1, "object_store_memory": 200 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "num_cpus": 2})
    try:
        leaving = cluster.add_node(**small)
        command = start(
            "train", str(experiment), f"run_dir={run}", f"ray.address={cluster.address}",
            "rollout.actors=2", "rollout.kv_cache_gb=0.2", "evaluation.examples=2",
            "stages.sft.epochs=1", "stages.phase1.refill=0", "stages.polish=null",
            "stages.phase2=null",
        )  # fmt: skip
        command.wait_for(logged(run, "phase1", 1))
        cluster.remove_node(leaving, allow_graceful=False)
        command.wait_for(lambda: "no node of the cluster has room" in command.output.read_text())
        cluster.add_node(**small)
        assert command.ended() == 0, command.output.read_text()
    finally:
        cluster.shutdown()
    told = command.output.read_text()
    assert re.search(
        r"(learner-0|rollout-[01]) on .* died.*; (it is|all actors are) restarted", told
    )
    assert len(re.findall(r"\d+ of 5 restarts", told)) == 1
    assert re.search(r": no node of the cluster has room; needed 1 CPUs, 0 GPUs, free 0 CPUs", told)
    steps = [line for line in lines(run / "metrics.jsonl") if line["kind"] == "rl"]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert all(line["engine_learner_kl"] < 1e-5 for line in steps)
