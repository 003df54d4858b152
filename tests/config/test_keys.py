"""Every key is declared once, with meaning and rules; ``qwenlong config`` prints them."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwenlong.cli import main
from qwenlong.config import BuildConfig, Config, LearnerConfig, RewardConfig, RewardsConfig
from qwenlong.config.keys import REQUIRED, Key, all_keys, declaration
from qwenlong.config.reading import load_config
from qwenlong.learner.objectives import OBJECTIVES
from qwenlong.rewards.hybrid import COMBINE
from qwenlong.types import InputError

KEYS = [*all_keys(Config), *all_keys(BuildConfig, "build")]
GOOD: dict[str, Any] = {
    "policy": {"path": "tiny", "window": 256},
    "stages": {"sft": {"kind": "sft", "context": 256}},
    "evaluation": {"response": 16},
}
OWN = """
def objective(responses, totals, clip_low, clip_high): ...
def advantage(rewards): ...
def sampler(prompts, n, history, rng): ...
def source(config, split, count_tokens, seed): ...
def rule(example, response, thinking): ...
def reward(example, response, rule, judge): ...
def wrong(): ...
"""


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.name}-{key.kind}")
def test_every_key_says_what_it_means_and_its_default_is_allowed(key: Key) -> None:
    meaning = key.declaration.meaning
    assert meaning.endswith(".") and meaning[0].isupper() and len(meaning) > 5
    assert key.allowed
    if key.default is not REQUIRED and not is_dataclass(key.hint):
        key.declaration.check(key.name, key.default)


def test_names_that_the_configuration_allows_are_those_of_the_rooms() -> None:
    assert set(declaration(LearnerConfig, "objective").one_of) == set(OBJECTIVES)
    assert set(declaration(RewardConfig, "combine").one_of) == set(COMBINE)
    assert set(declaration(RewardsConfig, "unjudged").one_of) == {"stop", "rule", "drop"}


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_functions.py").write_text(OWN)
    rl = {"kind": "rl", "context": 200, "response": 16, "steps": 1, "batch": 8}
    stages = {**GOOD["stages"], "rl": rl}
    data = {part: [{"source": "facts"}] for part in ("sft", "train", "held_out")}
    rewards = {"by_source": [{"source": "*"}]}
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_functions", raising=False)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, "stages": stages, "data": data, "rewards": rewards}))
    return path


def wrong_values(key: Key) -> list[str]:
    """Overrides that break a rule of the key, or its type."""
    declared = key.declaration
    if declared.names:
        return []
    if declared.is_name:
        found = ["nonsense"]
    else:
        limits = {
            declared.at_least: -1.0, declared.above: 0.0, declared.at_most: 1.0, declared.below: 0.0
        }  # fmt: skip
        found = [f"{limit + step:g}" for limit, step in limits.items() if limit is not None]
        found += ["many"] if "number" in key.allowed else []
        found += ["perhaps"] if key.hint is bool else []
    if str(key.hint).startswith("list"):
        return [f"[{value}]" for value in found] + ["nonsense"]
    return [f"{{facts: {value}}}" for value in found] if str(key.hint).startswith("dict") else found


@pytest.mark.parametrize("key", list(all_keys(Config)), ids=lambda key: f"{key.name}-{key.kind}")
def test_every_key_refuses_what_it_does_not_allow(key: Key, experiment: Path) -> None:
    if key.schemas:
        return
    name = key.name.replace(".NAME.", f".{key.kind}.").replace(".N.", ".0.")
    for value in wrong_values(key):
        with pytest.raises(InputError) as error:
            load_config(experiment, ["rewards.by_source.0.combine=rule", f"{name}={value}"])
        line = str(error.value)
        assert line.startswith(name), value
        assert "\n" not in line and "=" in line


HOOKS = {
    "learner.objective": "objective",
    "learner.advantage": "advantage",
    "stages.rl.sampler.draw": "sampler",
    "data.train.0.source": "source",
    "rewards.by_source.0.rule": "rule",
    "rewards.by_source.0.combine": "reward",
}


@pytest.mark.parametrize("key", HOOKS)
def test_a_function_of_ones_own_is_found_beside_the_experiment_and_checked(
    key: str, experiment: Path
) -> None:
    config = load_config(experiment, [f"{key}=own_functions:{HOOKS[key]}"])
    found: object = config
    for part in key.split("."):
        if isinstance(found, dict):
            found = found[part]
        else:
            found = found[int(part)] if isinstance(found, list) else getattr(found, part)
    # Absolute, so that the saved configuration is read again from the run's directory.
    assert found == f"{experiment.parent}/own_functions.py:{HOOKS[key]}"
    for wrong, right in (
        ("own_functions:wrong", "must take the arguments ("),
        ("own_functions:absent", "cannot be imported: AttributeError"),
        ("own_function:wrong", "cannot be imported: ModuleNotFoundError"),
    ):
        with pytest.raises(InputError) as error:
            load_config(experiment, [f"{key}={wrong}"])
        assert str(error.value).startswith(f"{key}=") and right in str(error.value)


def test_a_function_that_draws_goes_without_balance_and_mix(experiment: Path) -> None:
    draw = "stages.rl.sampler.draw=own_functions:sampler"
    for other in ("stages.rl.sampler.balance=[kind]", "stages.rl.mix={facts: 1}"):
        with pytest.raises(InputError, match=r"^stages\.rl\.sampler\.draw=.*: draws in place of"):
            load_config(experiment, [draw, other])
    with pytest.raises(InputError, match=r"draw=often: must be module:callable$"):
        load_config(experiment, ["stages.rl.sampler.draw=often"])


# The command.


def shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["qwenlong", "config", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), " ".join(out.split()), err


def test_all_keys_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = shown(capsys, monkeypatch)
    assert code == 0
    for key in KEYS:
        repeated = re_placed(key.name) != key.name
        assert repeated or key.name in out
        assert key.declaration.meaning in out
    assert out.count("Tokens to which distractors lengthen every prompt") == 1
    assert "data.held_out Examples for evaluation" in out
    assert "Its keys are those of data.sft." in out


def re_placed(name: str) -> str:
    """Keys of a source are printed once, as those of data.sft."""
    for part in ("data.train.N", "data.held_out.N", "build.sources.N"):
        name = name.replace(part, "data.sft.N")
    return name


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("learner.objective", "learner.objective = grpo Objective of the RL phases. Allowed: one of"
         " grpo, dapo, dr_grpo, gspo, cispo or module:callable. module:callable is called with"
         " (responses, totals, clip_low, clip_high)."),
        ("objective", "learner.objective = grpo Objective of the RL phases."),
        ("stages.phase1.target", "stages.NAME.target (rl) = null Mean reward of the last 5 steps"),
        ("stages.phase1.target", "Allowed: number, above 0 and at most 1, or null."),
        ("data.train.0.source", "data.train.N.source must be set"),
        ("data.train.source", "Allowed: a source of docs/data.md or module:callable."),
        ("rule", "Names: choice, citation, date, extractive,"),
        ("data.train.0.source", "hotpotqa, jsonl, keychain,"),
        ("sampler", "stages.NAME.sampler.replay_by (rl) = difficulty"),
        ("checkpoint", "checkpoint.keep = 2"),
        ("build", "build.tokenizer must be set"),
        ("loggers", "Allowed: list, each one of tensorboard, trackio, wandb."),
    ],
)  # fmt: skip
def test_a_key_or_a_section_is_printed(
    name: str,
    wanted: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, out, _ = shown(capsys, monkeypatch, name)
    assert code == 0
    assert wanted in out


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("learner.objectve", "did you mean learner.objective?"),
        ("stages.phase1.contxt", "did you mean stages.NAME.context?"),
        ("contxt", "did you mean context?"),
        ("xyz", "sections are policy, data, stages,"),
        ("", "sections are policy,"),
    ],
)
def test_a_key_that_there_is_not_is_answered_by_the_nearest(
    name: str, right: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = shown(capsys, monkeypatch, name)
    assert (code, out) == (2, "")
    assert err.startswith(f"qwenlong: {name}: there is no such key; ") and right in err
    assert err.count("\n") == 1


def test_the_command_answers_at_once_and_loads_no_torch() -> None:
    code = (
        "import atexit, sys\n"
        "heavy = ('torch', 'transformers', 'ray', 'vllm')\n"
        "atexit.register(lambda: print('loaded', [m for m in heavy if m in sys.modules]))\n"
        "from qwenlong.cli import main\n"
        "main()"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, "config", "learner"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert time.monotonic() - start < 10  # 0.7 s alone; tests share the machine
