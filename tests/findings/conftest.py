"""Runs that the tests of arms and of the page share."""

from pathlib import Path

import pytest

from experiments.findings.arms import Arm, gather
from tests.findings.arm_runs import three

SUBSTRING = "rewards.by_source=[{source: facts, rule: official_docqa}]"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A baseline; a stage less, clearly worse; another reward, paid without being right."""
    root = tmp_path_factory.mktemp("small")
    longest = "stages.phase1.context=512"
    return [
        *three(root, "substring_reward", (0.4, 0.5, 0.45), SUBSTRING, right=0.4375, wrong="a"),
        *three(root, "dapo", (0.85, 0.75, 0.85), "learner.objective=dapo", kl=0.02),
        *three(root, "baseline", (0.75, 0.8, 0.85)),
        *three(root, "single_stage", (0.6, 0.65, 0.75), longest, entropy=0.2),
    ]


@pytest.fixture(scope="session")
def arms(runs: list[Path]) -> dict[str, Arm]:
    return {arm.name: arm for arm in gather([*runs, runs[0]])}
