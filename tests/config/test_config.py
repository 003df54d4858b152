"""Experiment files: what is inherited, overridden, anchored, saved, and refused by a dry run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qwenlong.cli import main
from qwenlong.config import Config, RlStage, SftStage
from qwenlong.config.checks import check_rope
from qwenlong.config.reading import as_yaml, load_config
from qwenlong.types import InputError

EXPERIMENT = """
policy: {path: tiny, window: 256}
data:
  sft: [{source: facts, examples: 9}]
  train: [{source: jsonl, path: data/mine.jsonl}, {source: jsonl, path: /abs/mine.jsonl}]
  held_out: [{source: jsonl, path: ../held_out.jsonl}]
stages:
  warm: {kind: sft, context: 256, batch: 32, learning_rate: 1e-3}
  phase1: {kind: rl, context: 200, response: 48, steps: 3, batch: 32, learning_rate: 1e-4}
  again: {kind: sft, epochs: 2}
  phase2: {kind: rl, context: 1000, yarn_factor: 4.5, group: 4}
  phase3: {kind: rl, steps: 9}
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    folder = tmp_path / "experiments"
    folder.mkdir()
    path = folder / "mine.yaml"
    path.write_text(EXPERIMENT)
    return path


def rl(config: Config, name: str) -> RlStage:
    stage = config.stages[name]
    assert isinstance(stage, RlStage)
    return stage


def test_a_stage_inherits_from_the_last_of_its_kind(experiment: Path) -> None:
    config = load_config(experiment)
    assert list(config.stages) == ["warm", "phase1", "again", "phase2", "phase3"]
    assert config.stages["warm"] == SftStage(context=256, batch=32, learning_rate=1e-3)
    assert config.stages["again"] == SftStage(context=256, batch=32, learning_rate=1e-3, epochs=2)
    first = RlStage(context=200, response=48, steps=3, batch=32, learning_rate=1e-4)
    assert rl(config, "phase1") == first
    assert rl(config, "phase2") == RlStage(
        context=1000, response=48, steps=3, batch=32, learning_rate=1e-4, yarn_factor=4.5, group=4
    )
    assert rl(config, "phase3") == RlStage(
        context=1000, response=48, steps=9, batch=32, learning_rate=1e-4, yarn_factor=4.5, group=4
    )
    assert [phase.context for phase in config.phases] == [200, 1000, 1000]
    assert config.contexts == [200, 256, 1000]
    assert config.longest_response == 48


def test_overrides_reach_every_depth_and_are_inherited_too(experiment: Path) -> None:
    config = load_config(
        experiment,
        [
            "stages.phase1.steps=2",
            "stages.phase2.learning_rate=3e-5",
            "policy.tiny.layers=2",
            "data.train.0.examples=7",
            "data.held_out=[{source: facts, examples: 3}]",
            "evaluation.contexts=[100, 50]",
            "run_dir=a=b",
            "rollout.threads=null",
        ],
    )
    steps = [phase.steps for phase in config.phases]
    assert steps == [2, 2, 9]
    assert [phase.learning_rate for phase in config.phases] == [1e-4, 3e-5, 3e-5]
    assert config.policy.tiny.layers == 2
    assert config.data.train[0].examples == 7
    assert config.data.train[0].path == str(experiment.parent / "data/mine.jsonl")
    assert [source.source for source in config.data.held_out] == ["facts"]
    assert config.contexts == [50, 100]
    assert config.run_dir == "a=b"
    assert config.rollout.threads is None


def test_a_stage_can_be_added_by_an_override(experiment: Path) -> None:
    config = load_config(experiment, ["stages.phase4={kind: rl, context: 1100}"])
    assert rl(config, "phase4").context == 1100
    assert rl(config, "phase4").steps == 9


def test_relative_paths_are_the_experiment_files(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = experiment.parent
    monkeypatch.chdir(folder.parent)
    for path in (experiment, Path("experiments/mine.yaml")):
        data = load_config(path).data
        assert [source.path for source in (*data.train, *data.held_out)] == [
            str(folder / "data/mine.jsonl"),
            "/abs/mine.jsonl",
            str(folder.parent / "held_out.jsonl"),
        ]
        assert data.sft[0].path is None


def test_the_run_directory_is_named_after_the_file(experiment: Path) -> None:
    assert load_config(experiment).run_dir == "runs/mine"
    assert load_config(experiment, ["run_dir=/else/where"]).run_dir == "/else/where"


def test_a_saved_configuration_loads_as_it_was(experiment: Path, tmp_path: Path) -> None:
    config = load_config(experiment, ["seed=7", "stages.phase1.mini_batch=16", "loggers=[wandb]"])
    saved = tmp_path / "elsewhere" / "config.yaml"
    saved.parent.mkdir()
    saved.write_text(as_yaml(config))
    again = load_config(saved)
    assert again == config
    saved.with_name("twice.yaml").write_text(as_yaml(again))
    assert saved.with_name("twice.yaml").read_text() == saved.read_text()


def test_rope_bounds_prompt_and_response_together(experiment: Path) -> None:
    check_rope(load_config(experiment), 256)
    check_rope(load_config(experiment, ["stages.phase1.response=56"]), 256)
    with pytest.raises(InputError, match=r"stages\.phase1\.context=200: a row of 257 .* 256 "):
        check_rope(load_config(experiment, ["stages.phase1.response=57"]), 256)
    with pytest.raises(InputError, match=r"stages\.phase2\.context=1000: .*yarn_factor >= 4\.09"):
        check_rope(load_config(experiment, ["stages.phase2.yarn_factor=4.08"]), 256)


def test_a_dry_run_takes_overrides_and_refuses_what_a_run_would(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["qwenlong", "train", str(experiment), "--dry-run", "stages.phase3.steps=1234"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit):
        main()
    assert "1234" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*arguments, "policy.window=128"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "beyond the 128 that RoPE allows" in capsys.readouterr().err
