"""A run whose actors, learner or Ray die or hang ends as an undisturbed run does."""

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
    """Sends a signal to the process, as soon as it exists."""
    command.wait_for(lambda: command.strike(process, number))


def logged(run: Path, stage: str, step: int) -> Callable[[], bool]:
    def is_logged() -> bool:
        text = (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").exists() else ""
        whole = (json.loads(line) for line in text.split("\n")[:-1])
        return any((line["stage"], line["step"]) == (stage, step) for line in whole)

    return is_logged


def test_a_run_whose_processes_die_or_hang_ends_the_same(
    whole: tuple[Path, str], experiment: Path, start: Callable[..., Command]
) -> None:
    run = experiment.parent / "disturbed"
    bounds = "failures={restarts: 9, period_s: 600, timeout_s: 15}"
    first = start("train", str(experiment), f"run_dir={run}", bounds)
    first.wait_for(logged(run, "phase1", 1))
    strike(first, "^ray::VllmEngine.generate", signal.SIGKILL)
    first.wait_for(logged(run, "phase1", 2))
    strike(first, r"^\S+/raylet ", signal.SIGKILL)
    assert first.ended() == 1
    printed = first.output.read_text().strip().splitlines()
    hint = f"continue with `qwenlong resume {run}`"
    assert printed[-1] == f"qwenlong: stopped: Ray's raylet has died; {hint}"
    killed = re.compile(r"rollout-0 on \S+ \(\w+\) died; it is restarted, 1 of 9 restarts")
    assert sum(bool(killed.match(line)) for line in printed) == 1
    assert not re.search(r"Traceback|worker died|Raylet is terminated", first.output.read_text())

    resumed = start("resume", str(run))
    resumed.wait_for(lambda: "continuing from" in resumed.output.read_text())
    second = start("resume", str(run))
    assert second.ended() == 2
    holder = f"process {resumed.process.pid} on "
    assert second.output.read_text().startswith(f"qwenlong: run_dir={run}: {holder}")
    resumed.wait_for(lambda: list((run / "checkpoints").glob("*-phase2-*.partial")))
    strike(resumed, "^ray::LearnerActor", signal.SIGKILL)  # while its checkpoint is being written
    resumed.wait_for(lambda: resumed.output.read_text().count("continuing from") == 2)
    resumed.wait_for(logged(run, "phase2", 2))
    strike(resumed, "^ray::VllmEngine.generate", signal.SIGSTOP)
    assert resumed.ended() == 0, resumed.output.read_text()
    again = resumed.output.read_text()
    assert re.search(r"learner-0 on .* died; all actors are restarted, 1 of 9", again)
    assert re.search(r"rollout-0 on .* gave no answer within 15 s; it is restarted", again)
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
    printed = command.output.read_text()
    assert re.search(
        r"(learner-0|rollout-[01]) on .* died.*; (it is|all actors are) restarted", printed
    )
    assert len(re.findall(r"\d+ of 5 restarts", printed)) == 1
    assert re.search(
        r": no node of the cluster has room; needed 1 CPUs, 0 GPUs, free 0 CPUs", printed
    )
    steps = [line for line in lines(run / "metrics.jsonl") if line["kind"] == "rl"]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert all(line["engine_learner_kl"] < 1e-5 for line in steps)
