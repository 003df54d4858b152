"""The run directory: no line that was never finished, none of what was undone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwenlong.config import Config
from qwenlong.config.reading import load_config
from qwenlong.runs.checkpoints import last_checkpoint
from qwenlong.runs.directory import RunDir, evaluation_records, group_records, refuse_taken
from qwenlong.types import Example, Group, InputError, Prompt, Score
from tests.arrays import rollout

EXPERIMENT = """
policy: {path: tiny, window: 64}
stages: {one: {kind: rl, context: 32, response: 8, steps: 3, batch: 8}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "mine.yaml").write_text(EXPERIMENT)
    return load_config(tmp_path / "mine.yaml", [f"run_dir={tmp_path}/runs/mine"])


@pytest.fixture
def run(config: Config) -> RunDir:
    return RunDir.create(config, None)


def test_a_new_run_has_its_configuration_and_goes_on_from_nothing(
    run: RunDir, config: Config
) -> None:
    assert load_config(run.config) == config
    assert run.summary() == {"stages": [], "engine_learner_kl_max": 0.0}
    assert run.logged() == []
    assert last_checkpoint(run.checkpoints, print) is None
    assert RunDir.open(run.root).root == run.root


def lines(*steps: int) -> list[dict[str, Any]]:
    return [{"stage": "one", "step": step, "reward_mean": step / 7} for step in steps]


def test_a_torn_last_line_is_no_line(run: RunDir) -> None:
    for line in lines(1, 2):
        run.log(line)
    with run.metrics.open("a") as file:
        file.write('{"stage": "one", "step": 3, "rew')
    assert run.logged() == lines(1, 2)
    run.rewind(lambda line: True)
    run.log(lines(3)[0])
    assert [json.loads(line) for line in run.metrics.read_text().splitlines()] == lines(1, 2, 3)


def test_rewinding_takes_out_later_lines_only(run: RunDir) -> None:
    for line in lines(1, 2, 3, 4):
        run.log(line)
    run.rewind(lambda line: line["step"] <= 2)
    assert run.logged() == lines(1, 2)
    assert not list(run.root.glob("*.partial"))
    run.rewind(lambda line: False)
    assert run.logged() == []


def test_rewinding_takes_out_rollouts_and_draws_of_what_is_undone(run: RunDir) -> None:
    for step in (1, 2, 3):
        run.log_rollouts(f"one-{step:05d}", [{"step": step}])
        run.log_draws("one", step, 0, [])
    run.log_rollouts("one-eval", [{"step": None}])
    run.rewind(lambda line: (line["stage"], line["kind"], line["step"]) <= ("one", "rl", 2))
    assert sorted(path.name for path in (*run.rollouts.iterdir(), *run.draws.iterdir())) == [
        "one-00001.json", "one-00001.jsonl", "one-00002.json", "one-00002.jsonl", "one-eval.jsonl",
    ]  # fmt: skip


def test_rewinding_takes_out_evaluations_of_what_is_undone(run: RunDir) -> None:
    for stage in ("warm", "one"):
        for line in lines(1, 2):
            run.log({**line, "stage": stage})
    stages = [{"name": name} for name in ("untrained", "warm", "one")]
    run.write_summary({"stages": stages, "engine_learner_kl_max": 0.5})
    run.rewind(lambda line: True)
    assert run.summary()["stages"] == stages
    run.rewind(lambda line: (line["stage"], line["step"]) != ("one", 2))
    assert run.summary() == {"stages": stages[:2], "engine_learner_kl_max": 0.5}


def test_a_run_without_metrics_can_be_rewound(run: RunDir) -> None:
    run.rewind(lambda line: True)
    assert run.logged() == []


def test_a_summary_is_replaced_whole(run: RunDir) -> None:
    run.write_summary({"stages": [{"name": "untrained"}], "engine_learner_kl_max": 0.5})
    assert run.summary()["engine_learner_kl_max"] == 0.5
    assert not list(run.root.glob("*.partial"))


def test_a_taken_directory_is_refused(run: RunDir, config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"run_dir={run.root}: is not empty; .*resume {run.root}"):
        refuse_taken(run.root)
    file = tmp_path / "mine.yaml"
    for taken in (file, file / "run"):
        with pytest.raises(InputError, match=rf"run_dir={taken}: {file} is a file"):
            refuse_taken(taken)
    with pytest.raises(InputError, match="is not empty"):
        RunDir.create(config, None)
    (tmp_path / "empty").mkdir()
    refuse_taken(tmp_path / "empty")
    refuse_taken(tmp_path / "none")


def test_a_run_that_was_killed_while_it_was_made_is_made_anew(
    run: RunDir, config: Config, tmp_path: Path
) -> None:
    policies = [tmp_path / "first", tmp_path / "second"]
    for policy in policies:
        policy.mkdir()
        (policy / policy.name).touch()
    run.config.rename(run.root / "config.yaml.partial")
    policies[0].rename(run.initial_policy)
    again = RunDir.create(config, policies[1])
    assert load_config(again.config) == config
    assert [path.name for path in again.initial_policy.iterdir()] == ["second"]
    assert not list(again.root.glob("*.partial"))
    again.log(lines(1)[0])
    again.config.unlink()
    with pytest.raises(InputError, match="is not empty"):
        refuse_taken(run.root)


def test_a_directory_without_a_run_cannot_be_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        RunDir.open(tmp_path)


def test_rollouts_are_written_with_score_and_breakdown(run: RunDir) -> None:
    example = Example("x", "mine", "Wer ist in Köln?", ("Lang.",), ("Ann",))
    rollouts = tuple(
        rollout([3] * n, [-1.0] * n, version=4, text=text)
        for n, text in ((1, "Ann\u2028é"), (2, "Bob"))
    )
    scores = (Score(1.0, "extractive", {"why": "right"}), Score(0.0, "extractive", {"why": "no"}))
    group = Group(Prompt(example, (1, 2), cut=5), rollouts, scores)
    run.log_rollouts("one-00003", group_records("one", 3, [group], [(1.0, -1.0)]))
    run.log_rollouts("one-eval", evaluation_records("one", {32: [group]}))
    text = (run.rollouts / "one-00003.jsonl").read_text(encoding="utf-8")
    first, second = (json.loads(line) for line in text.rstrip("\n").split("\n"))
    assert first == {
        "stage": "one", "step": 3, "id": "x", "source": "mine", "question": "Wer ist in Köln?",
        "answers": ["Ann"], "prompt_tokens": 2, "prompt_tokens_cut": 5, "response": "Ann\u2028é",
        "response_tokens": 1, "finish_reason": "stop", "version": 4, "advantage": 1.0,
        "score": {"value": 1.0, "verifier": "extractive", "breakdown": {"why": "right"}},
        "response_ids": [3],
    }  # fmt: skip
    assert (second["response"], second["advantage"]) == ("Bob", -1.0)
    evaluated = json.loads((run.rollouts / "one-eval.jsonl").read_text().split("\n")[0])
    assert (evaluated["context"], evaluated["step"], evaluated["advantage"]) == (32, None, None)
    assert "response_ids" not in evaluated  # nobody learns from it
