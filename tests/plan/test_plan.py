"""Published settings fit; problems name keys that help; the command prints and exits so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwenlong.cli import app
from qwenlong.config.reading import load_config
from qwenlong.plan.engine import at_once, engine_of
from qwenlong.plan.hardware import CARDS, find_card
from qwenlong.plan.learner import learner_gib
from qwenlong.plan.plan import plan
from qwenlong.plan.shape import KNOWN, shape_of
from qwenlong.plan.time import forward_flops
from qwenlong.types import InputError

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PUBLISHED = [EXPERIMENTS / f"qwenlong_l1_{size}_grpo.yaml" for size in ("14b", "32b")]
OTHERS = ["qwenlong_l1_14b_dapo", "qwenlong_l1_32b_dapo", "qwenlong_l1_5_30b_a3b", "loongrl_7b"]
A100 = CARDS["A100-80G"]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_published_settings_fit_32_cards(path: Path) -> None:
    found = plan(load_config(path), A100)
    assert not found.problems
    config = load_config(path)
    engines = config.rollout.actors * config.rollout.tensor_parallel_size
    assert config.learner.processes + engines + 1 <= 32  # one for the judge
    phases = [stage for stage in found.stages if stage.is_rl]
    assert phases[-1].row == 60_000 + 8 * 10_000
    assert all(0.3 < stage.learner_gib / A100.memory_gib < 0.95 for stage in phases)


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_baselines_fit_their_cards(name: str) -> None:
    assert not plan(load_config(EXPERIMENTS / f"{name}.yaml"), A100).problems


def test_sft_rows_of_30k_are_too_long_for_the_32b() -> None:
    problems = plan(load_config(PUBLISHED[1], ["stages.sft.context=30000"]), A100).problems
    (problem,) = problems
    assert problem.startswith("stages.sft: the learner needs") and "learner.data_ranks=" in problem


@pytest.mark.parametrize(
    ("overrides", "card", "key"),
    [
        (["learner.activation_checkpointing=false"], "A100-80G", "activation_checkpointing=true"),
        (["learner.sequence_ranks=2", "learner.data_ranks=8"], "A100-80G", "sequence_ranks="),
        (["stages.sft.micro_batch=128"], "A100-80G", "stages.sft.micro_batch=16"),
        (
            ["learner.data_ranks=1", "learner.sequence_ranks=4", "stages.sft.micro_batch=4"],
            "A100-80G",
            "data_ranks=",
        ),
    ],
)
def test_the_named_keys_help(overrides: list[str], card: str, key: str) -> None:
    found = plan(load_config(PUBLISHED[0], overrides), CARDS[card])
    assert found.problems
    assert key in "\n".join(found.problems)
    for problem in found.problems:
        name = re.match(r"stages\.(\w+): the learner needs", problem)
        assert name
        helping = re.search(r"; (\S.*) brings? it to ([\d.]+)$", problem)
        assert helping, problem
        config = load_config(PUBLISHED[0], [*overrides, *helping[1].split()])
        parts = learner_gib(config, found.shape, CARDS[card], name[1])[1]
        assert sum(parts.values()) == pytest.approx(float(helping[2]), abs=0.06)
        assert sum(parts.values()) <= found.learner_limit


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rollout.kv_cache_gb=1", r"rollout\.kv_cache_gb=1\.0: .*; make it"),
        ("rollout.kv_cache_gb=79", r"rollout\.kv_cache_gb=79\.0: .*lower it"),
        ("rollout.tensor_parallel_size=3", r"rollout\.tensor_parallel_size=3: must divide"),
    ],
)
def test_an_engine_that_cannot_start_is_a_problem(override: str, said: str) -> None:
    problems = plan(load_config(PUBLISHED[0], [override]), A100).problems
    assert any(re.match(said, problem) for problem in problems), problems


def test_an_engine_without_room_gets_an_advice_that_helps() -> None:
    overrides = ["rollout.tensor_parallel_size=1", "rollout.gpus=1"]
    problems = plan(load_config(PUBLISHED[1], overrides), A100).problems
    (problem,) = [each for each in problems if each.startswith("rollout.")]
    size = int(re.findall(r"make it (\d+)", problem)[0])
    again = load_config(PUBLISHED[1], [f"rollout.tensor_parallel_size={size}"])
    assert not [each for each in plan(again, A100).problems if each.startswith("rollout.")]


def test_rollouts_at_once_share_their_prompt() -> None:
    config = load_config(PUBLISHED[0]).rollout
    shape = KNOWN["DeepSeek-R1-Distill-Qwen-14B"]
    engine = engine_of(shape, config, 2, A100.memory_gib * 2**30, on_cpu=False)
    # 2 × 48 layers × 1,024 × 2 bytes over 4 cards: 48 KiB a token.
    assert engine.kv_token == 48 * 1024
    together = at_once(engine, 61_440, 10_240, 8, 256)
    prompts, rest = divmod(together, 8)
    tokens = prompts * 61_440 + (61_440 if rest else 0) + together * 10_240
    assert tokens <= engine.tokens < tokens + 61_440 + 10_240
    assert at_once(engine, 100, 10, 8, 16) == 16


def test_arithmetic_counts_the_prompt_once() -> None:
    shape = KNOWN["Qwen3-4B"]
    shared = forward_flops(shape, 10_000, 500, 8)
    alone = forward_flops(shape, 10_000, 500, 1)
    prompt = forward_flops(shape, 10_000, 0, 0)
    assert shared == pytest.approx(prompt + 8 * (alone - prompt))
    # Twice the parameters a token, where attention is negligible.
    assert forward_flops(shape, 0, 1, 1) == pytest.approx(2 * shape.parameters, rel=0.001)


def test_the_quickstart_fits_this_machine_kind() -> None:
    config = load_config(EXPERIMENTS / "quickstart.yaml")
    found = plan(config, find_card("cpu"))
    assert [stage.steps for stage in found.stages] == [300, 200, 20, 16, 20, 42]
    assert found.stages[-1].tokens == 16 * 2048 + 256 * 48
    assert found.shape == shape_of(config.policy)


def test_unknown_hardware_is_refused() -> None:
    with pytest.raises(InputError, match=r"--hardware=V100: must be one of A100-40G"):
        find_card("V100")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["quickstart.yaml"], 0, "Hardware that holds the run"),
        (["qwenlong_l1_14b_grpo.yaml", "--hardware", "RTX-4090"], 1, "Does not fit: stages.sft"),
        (["qwenlong_l1_14b_grpo.yaml", "--hardware", "H200-141G"], 0, "Fits H200-141G."),
        (["qwenlong_l1_32b_grpo.yaml", "--hardware", "A100-80G"], 0, "but narrowly: 7"),
    ],
)
def test_the_command_says_it_and_exits_so(arguments: list[str], code: int, said: str) -> None:
    file, *rest = arguments
    result = CliRunner().invoke(app, ["plan", str(EXPERIMENTS / file), *rest])
    assert result.exit_code == code
    assert said in result.output
