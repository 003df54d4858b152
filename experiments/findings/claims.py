"""The claims of ``claims.toml``, and whether the runs support one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.findings.markdown import NOTHING, mean_and_spread

HOLDS = "holds at this size"
AGAINST = "against"
NOT_SEEN = "not seen"
OPEN = "cannot be said"
# page.md.j2 states the rule of these verdicts.


@dataclass(frozen=True)
class Claim:
    """The keys are explained in ``claims.toml``."""

    claim: str
    source: str
    measure: str
    sign: int


_TEXT = Path(__file__).with_name("claims.toml").read_text(encoding="utf-8")
CLAIMS = {arm: tuple(Claim(**of) for of in claims) for arm, claims in tomllib.loads(_TEXT).items()}


def verdict(differences: Mapping[int, float], sign: int) -> str:
    """The verdict about a claim. ``differences`` are by seed."""
    if len(differences) < 2:
        return OPEN
    mean, spread = mean_and_spread(differences)
    if spread is None or common_sign(differences) is None or abs(mean) <= spread:
        return NOT_SEEN
    return HOLDS if mean * sign > 0 else AGAINST


def common_sign(differences: Mapping[int, float]) -> int | None:
    """1 or −1 if all differences have that sign, else None."""
    signs = {(value > 0) - (value < 0) for value in differences.values()}
    sign = signs.pop() if len(signs) == 1 else 0
    return sign or None


def agreement(differences: Mapping[int, float]) -> str:
    """Whether the seeds' differences agree in sign, in words."""
    if len(differences) < 2:
        return "one seed" if differences else NOTHING
    if not any(differences.values()):
        return "no difference"
    return {1: "all up", -1: "all down", None: "seeds disagree"}[common_sign(differences)]
