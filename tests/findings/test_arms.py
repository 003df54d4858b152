"""Runs gathered into arms, compared and drawn; their numbers are made up."""

import json
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import yaml

from experiments.findings import charts
from experiments.findings.arms import Arm, arm_name, changes, differences, gather
from experiments.findings.claims import AGAINST, CLAIMS, HOLDS, NOT_SEEN, OPEN, verdict
from experiments.findings.measures import MEASURES
from qwenlong.types import InputError
from tests.findings.arm_runs import write_run


def test_runs_that_differ_in_their_seed_alone_are_an_arm(arms: dict[str, Arm]) -> None:
    assert list(arms) == ["baseline", "substring_reward", "dapo", "single_stage"]
    assert all([each.seed for each in arm.outcomes] == [0, 1, 2] for arm in arms.values())


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("small/no_yarn-seed2", "no_yarn"),
        ("small/no_yarn_Seed=12", "no_yarn"),
        ("small/seed1-no_yarn", "no_yarn"),
        ("no_yarn/seed0", "no_yarn"),
        ("no_yarn/3", "no_yarn"),
        ("small/seedling", "seedling"),
    ],
)
def test_an_arm_is_named_after_its_directories(folder: str, name: str) -> None:
    assert arm_name(Path("runs") / folder) == name


def test_names_separate_runs_of_one_configuration_only_if_a_seed_occurs_twice(
    tmp_path: Path,
) -> None:
    apart = [write_run(tmp_path, name, 0) for name in ("baseline", "forgot_its_key")]
    assert [arm.name for arm in gather(apart)] == ["baseline", "forgot_its_key"]
    one = [write_run(tmp_path / "b", name, seed) for seed, name in enumerate(("first", "again"))]
    assert [arm.name for arm in gather(one)] == ["first"]
    twin = write_run(tmp_path / "c", "baseline", 0)
    with pytest.raises(InputError, match=r"seed=0: .* are the same experiment; leave one out"):
        gather([apart[0], twin])
    other = write_run(tmp_path / "d", "baseline", 0, "learner.clip_high=0.3")
    assert [arm.name for arm in gather([apart[0], other])] == ["baseline", "baseline (2)"]


def test_measures_are_what_the_run_logged(arms: dict[str, Arm]) -> None:
    run = arms["dapo"].outcomes[1]
    # 14 steps of 16 responses of 10 tokens, 3.1 seconds each; 3 steps of SFT, 4 seconds each.
    assert run.measures["tokens"] == pytest.approx(14 * 16 * 10)
    assert run.measures["steps"] == 14
    assert run.measures["seconds"] == pytest.approx(14 * 3.1 + 3 * 4)
    assert run.measures["evaluation"] == 4 * 2.5
    assert (run.measures["kl_sft"], run.measures["kl_engine"]) == (0.02, 1e-13)
    assert run.measures["reward"] == 11 / 16
    assert run.measures["strict"] == run.end[512].value == 0.75
    assert run.measures["gap"] == 11 / 16 - 0.75
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    entropy = [line["entropy"] for line in map(json.loads, lines) if line["kind"] == "rl"]
    assert run.measures["entropy_first"] == pytest.approx(fmean(entropy[:5]))
    assert run.measures["entropy_last"] == pytest.approx(fmean(entropy[-5:]))
    assert run.before_stage == "sft" and run.before[512].value == 0.25
    assert [tokens for tokens, _ in run.track] == pytest.approx([0, 6 * 160, 14 * 160])
    assert "kl_sft" not in arms["baseline"].outcomes[0].measures


def test_rewarded_though_wrong_is_found_by_scoring_responses_again(arms: dict[str, Arm]) -> None:
    # The policy answers "a", which the substring rule rewards, from the second phase on.
    for outcome in arms["substring_reward"].outcomes:
        shares = [outcome.measures[name] for name in ("wrong_first", "wrong_last", "wrong_growth")]
        assert shares == [0.0, 0.5625, 0.5625]
        assert outcome.measures["reward"] == 1.0
    assert all(each.measures["wrong_last"] == 0.0 for each in arms["dapo"].outcomes)


def test_what_cannot_be_scored_again_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, "baseline", 0)
    evaluated = run / "rollouts" / "phase2-eval.jsonl"
    # This verifier reads more than a rollout's line holds.
    evaluated.write_text(evaluated.read_text().replace('"extractive"', '"citation"'))
    arm = gather([run])[0]
    assert not arm.values("wrong_last") and arm.values("gap")


def test_arms_are_compared_seed_by_seed(arms: dict[str, Arm]) -> None:
    baseline, *others = arms.values()
    found = {arm.name: differences(arm, baseline, "end 512") for arm in others}
    assert found["dapo"] == pytest.approx({0: 0.1, 1: -0.05, 2: 0.0})
    assert found["single_stage"] == pytest.approx({0: -0.15, 1: -0.15, 2: -0.1})
    assert differences(baseline, baseline, "kl_sft") == {}


@pytest.mark.parametrize(
    ("found", "sign", "said"),
    [
        ((-0.1, -0.2, -0.12), -1, HOLDS),
        ((-0.1, -0.2, -0.12), 1, AGAINST),
        ((0.1, 0.2, -0.01), 1, NOT_SEEN),
        ((0.01, 0.3, 0.02), 1, NOT_SEEN),
        ((0.1, 0.2, 0.0), 1, NOT_SEEN),
        ((0.0, 0.0, 0.0), 1, NOT_SEEN),
        ((0.1, 0.1), 1, HOLDS),
        ((0.5,), 1, OPEN),
        ((), 1, OPEN),
    ],
)
def test_verdicts_follow_the_rule(found: tuple[float, ...], sign: int, said: str) -> None:
    assert verdict(dict(enumerate(found)), sign) == said


def test_claims_name_measures_that_exist() -> None:
    claims = [claim for of_arm in CLAIMS.values() for claim in of_arm]
    assert {claim.measure for claim in claims} <= {"end", *MEASURES}
    assert all(abs(claim.sign) == 1 for claim in claims)


def test_curves_are_the_runs_own(arms: dict[str, Arm]) -> None:
    figure = charts.accuracy_over_tokens([arms["baseline"], arms["single_stage"]], 512)
    assert figure
    grey, *seeds, mean = [np.asarray(line.get_ydata()).round(3) for line in figure.axes[1].lines]
    assert grey.tolist() == [0.267, 0.533, 0.8]
    assert [line[-1] for line in seeds] == [0.6, 0.65, 0.75]
    assert mean[-1] == 0.667


def test_a_mean_curve_is_of_finished_runs(runs: list[Path], tmp_path: Path) -> None:
    cut = write_run(tmp_path, "dapo", 3, "learner.objective=dapo", entropy=2, stop="phase2", kl=0.1)
    [arm] = gather([*runs[3:6], cut])
    assert [each.waiting for each in arm.outcomes] == [(), (), (), ("phase2",)]
    assert list(arm.values("end 512")) == [0, 1, 2]
    figure = charts.over_steps([arm], "entropy", "nats")
    assert figure
    *seeds, mean = [np.asarray(line.get_ydata()) for line in figure.axes[0].lines]
    assert [len(line) for line in seeds] == [14, 14, 14, 7]
    assert mean[6] == pytest.approx(np.mean([line[6] for line in seeds[:3]]))


def test_an_arm_without_rl_has_fewer_measures(tmp_path: Path) -> None:
    run = write_run(tmp_path, "sft_alone", 0, end=0.8)
    config = yaml.safe_load((run / "config.yaml").read_text())
    summary = json.loads((run / "summary.json").read_text())
    config["stages"] = {"sft": config["stages"]["sft"]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "summary.json").write_text(json.dumps(summary | {"stages": summary["stages"][:2]}))
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:3]))
    outcome = gather([run])[0].outcomes[0]
    assert (outcome.waiting, outcome.before_stage) == ((), "sft")
    assert outcome.before == outcome.end and outcome.end[512].n == 20
    assert set(outcome.measures) == {"steps", "tokens", "seconds", "evaluation"}
    assert outcome.measures["tokens"] == 0


def test_changes_are_the_differences() -> None:
    old = {"a": 1, "b": {"c": [1, {"d": 2}], "e": None}, "gone": {"x": 1}}
    new = {"a": 1, "b": {"c": [1, {"d": 3}], "e": [1, 2]}, "more": "y"}
    assert changes(new, old) == [
        ("b.c.1.d", "2", "3"),
        ("b.e", "null", "[1, 2]"),
        ("gone", "{x: 1}", "–"),
        ("more", "–", "y"),
    ]
