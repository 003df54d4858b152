"""Replay: which checkpoint it starts from, and what it says of two sets of rollouts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qwenlong.config import Config
from qwenlong.config.reading import load_config
from qwenlong.disk.manifest import Written
from qwenlong.runs.checkpoints import Checkpoint, RunState, Saver
from qwenlong.runs.directory import RunDir, group_records
from qwenlong.runs.replay import (
    checkpoint_before,
    compare,
    copy_for_replay,
    find_phase,
    replay_plan,
)
from qwenlong.types import Example, Group, InputError, Prompt, Request, Rope, Score, token_ids
from tests.arrays import rollout

EXPERIMENT = """
policy: {path: tiny, window: 64}
data: {sft: [{source: facts}], train: [{source: facts}], held_out: [{source: facts}]}
stages:
  one: {kind: rl, context: 32, response: 8, steps: 3, batch: 8, learning_rate: 1e-3}
  warm: {kind: sft, context: 64}
  two: {kind: rl, context: 48}
"""

ROPE = Rope(theta=10_000.0, window=256)


class Nothing:
    """A learner without state."""

    def save_state(self, folder: Path) -> None: ...

    def saved(self, wait: bool) -> list[Written | None]:
        return [Written({}, "")]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "mine.yaml").write_text(EXPERIMENT)
    return load_config(tmp_path / "mine.yaml", [f"run_dir={tmp_path}/runs/mine"])


def group(name: str, *texts: str) -> Group:
    prompt = Prompt(Example(name, "mine", "Who?", ("Long.",), ("Ann",)), (1, 2))
    rollouts = tuple(rollout([3, 4], [-1.0, -2.0], version=4, text=text) for text in texts)
    return Group(prompt, rollouts, tuple(Score(0.0, "extractive") for _ in texts))


def log(run: RunDir, groups: list[Group], stage: str = "one", step: int = 2) -> None:
    advantages = [[0.5] * len(each.rollouts) for each in groups]
    run.log_rollouts(f"{stage}-{step:05d}", group_records(stage, step, groups, advantages))
    requests = [Request(token_ids(each.prompt.ids), 7 + i) for i, each in enumerate(groups)]
    run.log_draws(stage, step, 4, [([each.prompt for each in groups], requests)])


GROUPS = [group("a", "Ann\u2028or not", "Bob"), group("b", "x" * 50 + "yz", "Dan")]


@pytest.fixture
def run(config: Config) -> RunDir:
    run = RunDir.create(config, None)
    log(run, GROUPS)
    return run


def test_a_steps_draws_are_noted(run: RunDir) -> None:
    assert json.loads((run.draws / "one-00002.json").read_text()) == {
        "stage": "one", "step": 2, "version": 4, "draws": [{"ids": ["a", "b"], "seeds": [7, 8]}],
    }  # fmt: skip


def test_the_step_must_be_there(run: RunDir, config: Config) -> None:
    assert find_phase(config, run, "one", 2) == "one"
    only = replace(config, stages={"one": config.stages["one"]})
    assert find_phase(only, run, None, 2) == "one"
    for stage, step, wrong in (
        (None, 3, f"--step=3: {run.root} has rollouts of "),
        ("warm", 2, "--stage=warm: must be one of one, two"),
        ("one", 3, rf"--step=3: {run.root} has rollouts of 1 steps of one"),
    ):
        with pytest.raises(InputError, match=wrong):
            find_phase(config, run, stage, step)


def test_the_nearest_checkpoint_before_the_step(run: RunDir, config: Config) -> None:
    assert checkpoint_before(config, run, "two", 3, print) is None
    saver = Saver(run.checkpoints, 9, Nothing())
    for stage, step in (("one", 2), ("one", 3), ("warm", 5), ("two", 2)):
        saver.begin(RunState(stage, step, 1, ROPE, {}))
        saver.confirm()
    for at, nearest in (
        (("one", 2), None), (("one", 3), ("one", 2)), (("two", 1), ("warm", 5)),
        (("two", 2), ("warm", 5)), (("two", 3), ("two", 2)),
    ):  # fmt: skip
        found = checkpoint_before(config, run, *at, print)
        assert (found and (found.state.stage, found.state.step)) == nearest, at


def test_how_far_it_has_to_go_is_said() -> None:
    at = Checkpoint(Path(), RunState("one", 2, 3, ROPE, {}))
    assert replay_plan(at, "one", 3) == (
        "samples step 3 of one again from the checkpoint just before it"
    )
    assert replay_plan(at, "two", 1) == (
        "samples step 1 of two again from step 2 of one, the nearest checkpoint before it; all"
        " steps between are trained again"
    )
    assert replay_plan(None, "one", 3) == (
        "samples step 3 of one again from the beginning, because no checkpoint precedes it; all"
        " steps between are trained again"
    )


def test_equal_rollouts_are_said_to_be(run: RunDir, tmp_path: Path) -> None:
    again = copy_for_replay(run, tmp_path / "again")
    log(again, GROUPS)
    compared = compare(run, again, "one", 2)
    assert (compared.rollouts, compared.differing, compared.first) == (4, 0, "")
    assert str(compared) == "step 2 of one: all 4 rollouts are equal"


def test_where_rollouts_differ_is_said(run: RunDir, tmp_path: Path) -> None:
    again = copy_for_replay(run, tmp_path / "again")
    log(again, [GROUPS[0], group("b", "x" * 50 + "yZ", "Don")])
    assert str(compare(run, again, "one", 2)) == (
        'step 2 of one: 2 of 4 rollouts differ; first rollout 3 (example b): response: "'
        + "x" * 19 + 'yz" was kept, "' + "x" * 19 + 'yZ" was sampled, from character 51 on'
    )  # fmt: skip
    log(again, GROUPS[:1])
    found = compare(run, again, "one", 2)
    assert found.differing == 2 and found.first.startswith("draws: ")
    (run.draws / "one-00002.json").unlink()  # of a run from before they were noted
    assert compare(run, again, "one", 2).first == "rollout 3 is missing"


def test_nothing_is_written_into_the_run(run: RunDir, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}
    again = copy_for_replay(run, tmp_path / "again")
    log(again, GROUPS[:1])
    again.log({"stage": "one", "kind": "rl", "step": 2})
    assert {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()} == before
