"""The experiments that are shipped: each loads and shows itself, and holds its paper's settings."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from transformers import Qwen3Config

from qwenlong.cli import main
from qwenlong.config import Config, RlStage
from qwenlong.config.reading import load_config

FOLDER = Path(__file__).parents[2] / "experiments"
SHIPPED = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.yaml"))
OWN_FOLDERS = (".", "..", "runs")
"""How the path of a policy begins that a run here has made before; all others are of the hub."""

L1 = {  # arXiv 2505.17667v2, sections 2.2 to 2.4, 3.1 to 3.3 and Table 3
    "stages.sft.context": 20_000 + 10_000,
    "stages.sft.epochs": 3,
    "stages.sft.batch": 128,
    "stages.sft.learning_rate": 5e-6,
    "stages.*.lengths": "band",
    "stages.phase1.context": 20_000,
    "stages.phase2.context": 60_000,
    "stages.*.response": 10_000,
    "stages.*.group": 8,
    "stages.*.batch": 128 * 8,
    "stages.*.mini_batch": 32 * 8,
    "stages.*.learning_rate": 2e-6,
    "stages.phase1.sampler.replay": 0.0,
    "stages.phase2.sampler.replay_by": "difficulty",
    "rollout.temperature": 0.7,
    "rollout.top_p": 0.95,
    "learner.kl_coefficient": 0.0,
    "learner.advantage": "group",
    "rewards.by_source.0.source": "*",
    "rewards.by_source.0.rule": None,
    "rewards.by_source.0.combine": "max",
    "rewards.judge.model": "Qwen/Qwen2.5-1.5B-Instruct",
    "data.train.0.source": "docqa_rl",
    "evaluation.contexts": [20_000, 60_000, 120_000],
    "evaluation.examples": 824 + 6 * 200,
    "evaluation.response": 10_000,
    "evaluation.temperature": 0.7,
    "evaluation.top_p": 0.95,
}
GRPO = {
    "learner.objective": "grpo",
    "stages.*.refill": 0,
    "learner.clip_low": 0.2,
    "learner.clip_high": 0.2,
    "learner.overlong_buffer": 0,
}
DAPO = {
    "learner.objective": "dapo",
    "stages.*.refill": 9,
    "stages.*.staleness": 0,
    "learner.clip_low": 0.2,
    "learner.clip_high": 0.28,
    "learner.overlong_buffer": 2_000,
}
L1_5 = {  # arXiv 2512.12967v1, sections 2.2, 4.1 to 4.4 and 5.1
    "policy.path": "Qwen/Qwen3-30B-A3B-Thinking-2507",
    "stages.stage1.context": 20_000,
    "stages.stage1.response": 12_000,
    "stages.stage2.context": 60_000,
    "stages.stage2.response": 20_000,
    "stages.stage3.context": 120_000,
    "stages.stage3.response": 50_000,
    "stages.*.group": 8,
    "stages.*.batch": 128 * 8,
    "stages.*.mini_batch": None,
    "stages.*.learning_rate": 2e-6,
    "stages.*.sampler.balance": ["kind", "pass_rate"],
    "stages.stage2.sampler.replay_by": "difficulty",
    "rollout.temperature": 0.7,
    "rollout.top_p": 0.95,
    "learner.objective": "dapo",
    "learner.advantage": "task",
    "learner.kl_coefficient": 0.0,
    "learner.overlong_buffer": 0,
    "rewards.judge.model": "openai/gpt-oss-120b",
    "data.over_long": "middle",
    "evaluation.response": 50_000,
    "evaluation.temperature": 0.7,
    "evaluation.top_p": 0.95,
}
LOONG = {  # arXiv 2510.19363v2, sections 3.2.1, 3.2.2 and 4.1 and Table 1
    "policy.path": "Qwen/Qwen2.5-7B-Instruct",
    "stages.warm_up.steps": 42,
    "stages.stage1.steps": 168,
    "stages.stage2.steps": 118,
    "stages.stage1.context": 16_384,
    "stages.stage2.context": 16_384,
    "stages.*.response": 4_096,
    "stages.*.group": 8,
    "stages.*.batch": 512 * 8,
    "stages.*.learning_rate": 1e-6,
    "stages.stage2.sampler.rest_solved": 42 + 168 + 118,
    "rollout.temperature": 0.6,
    "rollout.top_p": 0.95,
    "learner.objective": "grpo",
    "learner.advantage": "group",
    "learner.kl_coefficient": 0.001,
    "learner.max_grad_norm": 1.0,
    "rewards.by_source.1.rule": "official_docqa",
    "rewards.by_source.1.combine": "rule",
    "evaluation.response": 10_000,
    "evaluation.temperature": 0.6,
}
LARGE = {
    "policy.path": "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
    "stages.sft.context": 20_000,  # what fits
}
PAPERS: dict[str, dict[str, Any]] = {
    "qwenlong_l1_14b_grpo": L1 | GRPO | {"policy.path": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"},
    "qwenlong_l1_14b_dapo": L1 | DAPO | {"policy.path": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"},
    "qwenlong_l1_32b_grpo": L1 | GRPO | LARGE,
    "qwenlong_l1_32b_dapo": L1 | DAPO | LARGE,
    "qwenlong_l1_5_30b_a3b": L1_5,
    "loongrl_7b": LOONG,
}


def flat(config: Config) -> dict[str, Any]:
    """Every key with its value, where it was not set, too."""
    found: dict[str, Any] = {}

    def walk(value: Any, at: str) -> None:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = {str(i): item for i, item in enumerate(value)}
        if not isinstance(value, dict):
            found[at] = value
            return
        for key, item in value.items():
            walk(item, f"{at}.{key}" if at else key)

    stages = {name: asdict(stage) for name, stage in config.stages.items()}
    walk({**asdict(config), "stages": stages}, "")
    return found


def experiment(name: str) -> Config:
    return load_config(FOLDER / f"{name}.yaml")


def test_the_shipped_experiments_are_found() -> None:
    names = {path.stem for path in SHIPPED}
    assert {"quickstart", *PAPERS} <= names


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_a_dry_run_shows_every_stage_and_needs_neither_data_nor_network(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = tmp_path / "elsewhere" / "experiments" / path
    shutil.copytree(FOLDER, tmp_path / "elsewhere" / "experiments")
    monkeypatch.chdir(tmp_path / "elsewhere")
    policy = load_config(copy).policy
    if policy.path.split("/")[0] in OWN_FOLDERS:
        Qwen3Config(max_position_embeddings=512).save_pretrained(policy.path)
    config = load_config(copy)
    there = sorted(tmp_path.rglob("*"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "argv", ["qwenlong", "train", str(copy), "--dry-run"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    shown = capsys.readouterr().out
    words = shown.split()
    for name, stage in config.stages.items():
        assert name in words
        assert f"{stage.context:,}" in words
        assert f"{stage.learning_rate:g}" in words
        if isinstance(stage, RlStage):
            assert f"{stage.response:,}" in words
            assert f"YaRN {stage.yarn_factor:g}" in shown or stage.yarn_factor == 1
    for source in (*config.data.train, *config.data.held_out):
        assert not source.path or f"(not there: {source.path})" in shown
    assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.parametrize("name", PAPERS)
def test_a_baseline_has_its_papers_settings(name: str) -> None:
    config = experiment(name)
    settings = flat(config)
    for key, value in PAPERS[name].items():
        some, star, rest = key.partition("*.")
        keys = [f"{some}{n}.{rest}" for n, s in config.stages.items() if isinstance(s, RlStage)]
        for each in keys if star else [key]:
            assert settings[each] == value, each


@pytest.mark.parametrize("size", ["14b", "32b"])
def test_dapo_differs_from_grpo_in_what_is_its_own_alone(size: str) -> None:
    grpo = flat(experiment(f"qwenlong_l1_{size}_grpo"))
    dapo = flat(experiment(f"qwenlong_l1_{size}_dapo"))
    assert grpo.keys() == dapo.keys()
    changed = {key for key in grpo if grpo[key] != dapo[key]}
    assert changed == {
        *(f"stages.phase{n}.{key}" for n in (1, 2) for key in ("refill", "staleness")),
        *(f"learner.{key}" for key in ("objective", "clip_high", "overlong_buffer")),
        "run_dir",
    }


@pytest.mark.parametrize("objective", ["grpo", "dapo"])
def test_32b_differs_from_14b_in_the_policy_and_in_what_fits(objective: str) -> None:
    small = flat(experiment(f"qwenlong_l1_14b_{objective}"))
    large = flat(experiment(f"qwenlong_l1_32b_{objective}"))
    changed = {key for key in small | large if small[key] != large[key]}
    assert changed == {"policy.path", "run_dir", "stages.sft.context"}


def test_the_sets_that_the_papers_evaluate_on() -> None:
    qa = {f"longbench {s}": 200 for s in ("2wikimqa", "hotpotqa", "musique", "narrativeqa")}
    qa["longbench qasper"] = 200
    shapes = ("complong", "compshort", "simplong", "simpshort")
    whole = [*(f"docmath {s}_testmini" for s in shapes), *(f"mrcr {n}needle" for n in (2, 4, 8))]
    sets: dict[str, dict[str, int | None]] = {
        "qwenlong_l1_14b_grpo": {"docmath None": 200, "frames None": 824, **qa},
        "qwenlong_l1_5_30b_a3b": {
            **dict.fromkeys(whole),
            "longbench_v2 None": 503,
            "frames None": 824,
            **qa,
        },
        "loongrl_7b": {**qa},
    }
    for name, expected in sets.items():
        held_out = experiment(name).data.held_out
        assert {f"{s.source} {s.subset}": s.examples for s in held_out} == expected


def test_loongrl_hides_2500_questions_of_each_set_and_asks_2500_plainly() -> None:
    sources = experiment("loongrl_7b").data.train
    sets = ("hotpotqa", "musique", "wikimultihop")
    hidden = {s.source: s.examples for s in sources if s.hide}
    plain = {s.source: s.examples for s in sources if not s.hide}
    assert hidden == dict.fromkeys(sets, 2_500)
    assert plain == dict.fromkeys(sets, 2_500) | {"needles": 1_024}
    warm_up, *later = experiment("loongrl_7b").phases
    for source in sources:
        longest = source.lengthen or source.max_tokens or 0
        assert (longest <= warm_up.context) is not source.hide
        assert all(longest <= phase.context for phase in later)
