"""Guards: what they see, when they speak, and how it reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from qwenlong.config import GuardsConfig, LearnerConfig, SftStage
from qwenlong.learner.sft import fine_tune, sft_settings
from qwenlong.model.pretrained import load_policy
from qwenlong.train.guards import (
    Guards,
    folder_bytes,
    memory_gb,
    not_finite_examples,
    zero_steps,
)
from qwenlong.types import Limits, RowMetrics, token_ids

FINE = {
    "loss": 0.1, "grad_norm": 0.5, "engine_learner_kl": 1e-9, "entropy": 0.4, "reward_mean": 0.2,
    "updates_left_out": 0,
}  # fmt: skip
NAN, INF = math.nan, math.inf


def seen(guards: Guards, **metrics: float) -> list[tuple[str, str, str]]:
    breaches = guards.of_step({**FINE, **metrics}, [], [])
    return [(each.guard, each.action, each.message) for each in breaches]


def test_a_step_that_is_well_says_nothing() -> None:
    guards = Guards(GuardsConfig(), [])
    assert not seen(guards) and not guards.of_update(FINE)
    assert not seen(guards, entropy=0.0, engine_learner_kl=0.1)


def test_each_figure_beyond_its_bound() -> None:
    guards = Guards(GuardsConfig(engine_kl="stop", entropy_below=0.3), [])
    assert seen(guards, loss=NAN) == [("non_finite", "stop", "loss is nan")]
    told = "loss is -inf, gradient norm is nan"
    assert seen(guards, loss=-INF, grad_norm=NAN) == [("non_finite", "stop", told)]
    assert [each.message for each in guards.of_update({"loss": 0.1, "grad_norm": INF})] == [
        "gradient norm is inf"
    ]
    told = "engine and learner differ by 0.25 nats a token, more than 0.1"
    assert seen(guards, engine_learner_kl=0.25) == [("engine_kl", "stop", told)]
    assert seen(guards, engine_learner_kl=INF)[0][0] == "engine_kl"
    told = "entropy is 0.25 nats a token, less than 0.3"
    assert seen(guards, entropy=0.25) == [("entropy", "warn", told)]
    # One cause, one line.
    assert [name for name, *_ in seen(guards, loss=NAN, engine_learner_kl=INF)] == ["non_finite"]


def test_no_reward_is_counted_over_a_resume_as_without() -> None:
    config = GuardsConfig(reward_zero_steps=3)
    rewards = [0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0]
    whole = Guards(config, [])
    told = [seen(whole, reward_mean=reward) for reward in rewards]
    spoke = {step: what[0][2] for step, what in enumerate(told, 1) if what}
    assert spoke == {5: "no reward in 3 steps in a row", 8: "no reward in 6 steps in a row"}
    logged: list[dict[str, Any]] = [{"kind": "sft", "loss": 0.2}]
    logged += [{"kind": "rl", "reward_mean": reward} for reward in rewards]
    for stopped in range(1, len(rewards)):
        resumed = Guards(config, logged[: stopped + 1])
        assert [seen(resumed, reward_mean=r) for r in rewards[stopped:]] == told[stopped:]
    assert zero_steps(logged[:10]) == 7 and zero_steps([*logged[:10], logged[0]]) == 7


def test_what_the_learner_is_to_leave_out() -> None:
    assert Guards(GuardsConfig(), []).limits == Limits(True, INF)
    skipping = GuardsConfig(non_finite="warn", engine_kl="skip", engine_kl_above=0.5)
    assert Guards(skipping, []).limits == Limits(False, 0.5)
    assert Guards(replace(skipping, engine_kl="stop"), []).limits == Limits(False, 0.5)


def test_a_message_has_value_bound_examples_and_what_was_done() -> None:
    rows = [RowMetrics(kl, kl != 0.3) for kl in (0.1, 0.3, 0.0, 0.25)]
    assert not_finite_examples(rows, list("abcd")) == "examples b of 4"
    many = not_finite_examples([RowMetrics(NAN, False)] * 5, list("abcad"))
    assert many == "examples a, b, c and 1 more of 4"
    unknown = not_finite_examples(rows[:1], ["a"])
    assert unknown == "in the gradient alone, not in the probabilities of any example"
    guards = Guards(GuardsConfig(engine_kl="skip"), [])
    metrics = {**FINE, "engine_learner_kl": 0.2, "updates_left_out": 2}
    [breach] = guards.of_step(metrics, rows, ["a", "b", "c", "d"])
    assert str(breach) == (
        "guards.engine_kl=skip: engine and learner differ by 0.2 nats a token, more than 0.1;"
        " most in examples b (0.3), d (0.25), a (0.1); 2 updates left out, weights and optimizer"
        " are as before it"
    )


def test_the_disk_is_asked_for_what_a_checkpoint_takes(tmp_path: Path) -> None:
    (tmp_path / "0001-one-00002").mkdir()
    (tmp_path / "0001-one-00002" / "learner.pt").write_bytes(bytes(5000))
    (tmp_path / "0001-one-00002" / "state.json").write_bytes(bytes(20))
    assert folder_bytes(tmp_path / "0001-one-00002") == 5020 and folder_bytes(None) == 0
    roomy, full = GuardsConfig(disk_gb=0.0), GuardsConfig(disk_gb=1e9)
    assert not Guards(roomy, []).of_disk(tmp_path, 5020)
    [breach] = Guards(full, []).of_disk(tmp_path)
    assert (breach.guard, breach.action) == ("disk", "stop")
    assert breach.message.endswith("less than 1,000,000,000.0 (guards.disk_gb)")
    [breach] = Guards(roomy, []).of_disk(tmp_path, 2**60)
    assert breach.message.endswith("less than 1,073,741,824.0 (a checkpoint takes)")


def test_the_machine_is_complained_of_once_until_it_is_better(tmp_path: Path) -> None:
    guards = Guards(GuardsConfig(disk="warn", disk_gb=0.0, memory_gb=1e9), [])
    found = [len(guards.of_disk(tmp_path, n)) for n in (2**60, 2**60, 1, 2**60)]
    assert found == [1, 0, 0, 1]
    assert [len(guards.of_memory()) for _ in range(2)] == [1, 0]
    stopping = Guards(GuardsConfig(disk_gb=1e9), [])
    assert [len(stopping.of_disk(tmp_path)) for _ in range(2)] == [1, 1]


MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8388608 kB\n"
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


def kernel(folder: Path, own: str, groups: dict[str, int | str], names: tuple[str, ...]) -> float:
    """As the kernel writes it: 3 GiB used in every group, 1 of them file cache."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "meminfo").write_text(MEMINFO)
    (folder / "proc" / "self" / "cgroup").write_text(own)
    for name, limit in groups.items():
        group = folder / "cgroup" / name
        group.mkdir(parents=True, exist_ok=True)
        (group / names[0]).write_text(f"{limit}\n")
        (group / names[1]).write_text(f"{3 * 2**30}\n")
        (group / "memory.stat").write_text(f"anon 5\n{names[2]} {2**30}\nfile 7\n")
    return memory_gb(folder / "proc", folder / "cgroup")


@pytest.mark.parametrize(
    ("own", "groups", "names", "left"),
    [
        ("0::/\n", {}, V2, 8.0),
        ("0::/\n", {"": 4 * 2**30}, V2, 2.0),
        ("0::/a/b\n", {"a": 4 * 2**30, "a/b": "max"}, V2, 2.0),
        ("0::/a\n", {"a": 2**40}, V2, 8.0),
        ("0::/a\n", {"a": 2**30}, V2, 0.0),
        ("9:cpu:/x\n5:memory:/a\n0::/\n", {"memory/a": 4 * 2**30}, V1, 2.0),
        ("5:cpu,memory:/gone\n", {"memory": 5 * 2**30}, V1, 3.0),
    ],
)
def test_memory_is_the_machines_or_what_its_container_may_take(
    tmp_path: Path, own: str, groups: dict[str, int | str], names: tuple[str, ...], left: float
) -> None:
    assert kernel(tmp_path, own, groups, names) == pytest.approx(left)


def test_memory_of_this_machine() -> None:
    assert 0 < memory_gb() < 1e6


# SFT, with weights that are broken in truth.

ROWS = [
    (token_ids(prompt), token_ids(answer))
    for prompt, answer in (((5, 6, 7), (8, 9, 10, 11)), ((12, 13), (14, 15, 16, 17)))
] * 4


@pytest.fixture
def tuned(tiny_policy: Path, tmp_path: Path) -> Callable[[str], tuple[list[Any], Any, Any, Path]]:
    """SFT of a policy with one infinite weight, four updates; a checkpoint after every one."""

    def tune(action: str) -> tuple[list[Any], Any, Any, Path]:
        model = load_policy(str(tiny_policy), "float32")
        with torch.no_grad():
            model.model.layers[0].mlp.down_proj.weight[0, 0] = torch.inf
        before = {name: each.detach().clone() for name, each in model.named_parameters()}
        stage = SftStage(context=64, batch=2, epochs=1, checkpoint_every=1)
        settings = sft_settings(stage, LearnerConfig(), ROWS, tmp_path, False, 0)
        logged: list[Any] = []
        tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
        fine_tune(model, tokenizer, ROWS, settings, None, logged.append, action)
        return logged, before, dict(model.named_parameters()), tmp_path

    return tune


@pytest.mark.parametrize(("action", "updates"), [("warn", 4), ("skip", 4), ("stop", 1)])
def test_sft_leaves_out_what_is_not_finite(
    tuned: Callable[[str], tuple[list[Any], Any, Any, Path]], action: str, updates: int
) -> None:
    logged, before, after, folder = tuned(action)
    assert len(logged) == updates and all(math.isnan(each["loss"]) for each in logged)
    assert [len(Guards(GuardsConfig(), []).of_update(each)) for each in logged] == [1] * updates
    same = all(torch.equal(each, after[name]) for name, each in before.items())
    assert same is (action != "warn")
    # A checkpoint at the step that stops would be gone on from as if it had been skipped.
    assert bool(list(folder.glob("checkpoint-*"))) is (action != "stop")
