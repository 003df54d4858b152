"""How often actors may be restarted, what is said of them, and one run at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qwenlong.cluster.supervision import WITH_NODE, Place, Watch, last_words
from qwenlong.config import FailuresConfig
from qwenlong.disk import signals
from qwenlong.disk.lock import only_one
from qwenlong.types import InputError, StoppedError
from tests.command import ROOT

HOLDING = """
import sys
from pathlib import Path
from qwenlong.disk.lock import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_restarts_are_counted_within_the_period(tmp_path: Path) -> None:
    now, said = [0.0], list[str]()
    bounds = FailuresConfig(restarts=2, period_s=60.0)
    watch = Watch(bounds, said.append, clock=lambda: now[0])
    log = tmp_path / "rollout-1.log"
    log.write_text("loading\n\nCUDA error\nout of memory\n")
    place = Place("rollout-1", log, 1, lambda: None)
    for now[0] in (0.0, 50.0, 61.0):  # the first is forgotten when the third comes
        watch.restarting(place, "10.0.0.7 (0a1b2c3d)", "died", "it is")
    assert said[0] == (
        "rollout-1 on 10.0.0.7 (0a1b2c3d) died; it is restarted, 1 of 2 restarts within 60 s"
    )
    assert [line.split(", ")[1][0] for line in said] == ["1", "2", "2"]
    with pytest.raises(StoppedError) as stopped:
        watch.restarting(place, "10.0.0.7 (0a1b2c3d)", "died", "it is")
    assert str(stopped.value) == (
        "rollout-1 on 10.0.0.7 (0a1b2c3d) died, and failures.restarts allows 2 restarts within"
        f" 60 s; {log}: CUDA error | out of memory"
    )


def test_a_node_that_leaves_counts_once_however_many_were_on_it() -> None:
    said = list[str]()
    watch = Watch(FailuresConfig(restarts=2), said.append)
    for node in ("a", "a", "b", "a", "b"):
        place = Place(f"rollout-{len(said)}", Path("log"), len(said), lambda: None)
        watch.restarting(place, node, WITH_NODE, "it is")
    assert said[1] == "rollout-1 on a died with its node, too; it is restarted"
    with pytest.raises(StoppedError):
        watch.restarting(place, "c", WITH_NODE, "it is")


def test_no_restart_at_all_may_be_allowed() -> None:
    watch = Watch(FailuresConfig(restarts=0), print)
    with pytest.raises(StoppedError, match="allows 0 restarts"):
        watch.restarting(Place("judge-0", Path("none"), 2, lambda: None), "here", "died", "it is")


def test_the_last_words_of_a_log_are_one_short_line(tmp_path: Path) -> None:
    log = tmp_path / "learner-0.log"
    assert last_words(log) == f"its log is not here ({log})"
    log.write_text("")
    nothing = f"its log, {log}, shows no error"
    assert last_words(log) == nothing
    log.write_text("step 1\nWARNING it may be slow\nWriting model shards: 100%\n")
    assert last_words(log) == nothing
    log.write_bytes(b"\xff" * 10_000 + b"\nKeyError: 1\n  a\nRuntimeError: CUDA\n\n b\t\nc\nd")
    assert last_words(log) == f"{log}: RuntimeError: CUDA | b | c"
    log.write_text("ValueError: " + "x" * 3_000)
    assert len(last_words(log)) < 700


def test_a_directory_is_held_by_one_and_freed_by_its_death(tmp_path: Path) -> None:
    run = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(run)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout and holder.stdout.readline() == "held\n"
    with (
        pytest.raises(InputError, match=f"run_dir={run}: process {holder.pid} on .* is at work"),
        only_one(run),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with only_one(run):
        assert (run / "lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_signal_that_was_swallowed_is_raised_again() -> None:
    code = """
import os, signal
from qwenlong.disk import signals
signal.signal(signal.SIGINT, signal.default_int_handler)
signals.listen()
class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass
Swallows()
print("went on", flush=True)
try:
    signals.check()
except KeyboardInterrupt:
    print("heard")
"""
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert told.stdout == "went on\nheard\n", told.stderr


def test_a_signal_waits_for_a_block_to_end() -> None:
    undone, before = list[bool](), signal.getsignal(signal.SIGINT)

    def interrupted() -> None:
        with signals.deferred(lambda: undone.append(True)):
            signal.raise_signal(signal.SIGINT)
            assert not undone

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        signal.signal(signal.SIGINT, before)
    assert undone == [True]
