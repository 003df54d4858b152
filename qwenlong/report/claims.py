"""What has been claimed of each arm of experiments/small/, and by which rule a claim holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qwenlong.report.arms import mean_and_spread

HOLDS = "holds at this size"
AGAINST = "against"
NOT_SEEN = "not seen"
OPEN = "cannot be said"
RULE = (
    f"A claim **{HOLDS}** if every seed's difference from the baseline has the claim's sign and"
    " their mean is larger than their spread; the figures speak"
    f" **{AGAINST}** it if the same is so of the other sign; else it is **{NOT_SEEN}**. With fewer"
    f" than two seeds it **{OPEN}**. Where nothing differs, n seeds have a claim's sign by chance"
    " once in 2ⁿ."
)


@dataclass(frozen=True)
class Claim:
    """``says`` is expected to show as a difference of this sign in ``figure``, arm less baseline.

    ``figure`` is a name of ``arms.FIGURES``, or ``end``: accuracy at the longest context.
    """

    says: str
    source: str
    figure: str
    sign: int


_L1 = "QwenLong-L1, arXiv 2505.17667"

# Arms that are not here are compared without a claim.
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "single_stage": (
        Claim("Phases end higher than a single stage", f"{_L1}, ablations", "end", -1),
        Claim(
            "A single stage ends with less entropy, in the paper a collapse",
            f"{_L1}, ablations",
            "entropy_last",
            -1,
        ),
    ),
    "no_sft": (Claim("SFT before RL ends higher", f"{_L1}, ablations", "end", -1),),
    "no_retrospective": (
        Claim("Retrospective sampling adds accuracy", f"{_L1}, ablations", "end", -1),
    ),
    "no_yarn": (
        Claim(
            "YaRN carries a policy beyond its native window",
            "YaRN, arXiv 2309.00071; QwenLong-L1 has no such arm",
            "end",
            -1,
        ),
    ),
    "dynamic_sampling": (
        Claim(
            "Dynamic sampling adds accuracy",
            "DAPO, arXiv 2503.14476, table 1; QwenLong-L1 has no such arm",
            "end",
            1,
        ),
    ),
    "dapo": (
        Claim(
            "DAPO ends higher than GRPO, if by little (68.3 to 68.2 at 14B, 70.7 to 70.3 at 32B)",
            f"{_L1}, main results",
            "end",
            1,
        ),
    ),
    "substring_reward": (
        Claim(
            "Rewarded by the two-way substring, a policy learns to be paid for wrong answers",
            "no paper's: the official rule pays for empty and for listed answers; QwenLong-L1"
            " trains by it and does not report this",
            "paid_more",
            1,
        ),
        Claim(
            "The two-way substring trains better than a stricter rule (72.4 to 69.2)",
            "LoongRL, arXiv 2510.19363, ablation of verifiers",
            "end",
            1,
        ),
    ),
}


def verdict(differences: Mapping[int, float], sign: int) -> str:
    """By ``RULE``; ``differences`` are by seed."""
    if len(differences) < 2:
        return OPEN
    mean, spread = mean_and_spread(list(differences.values()))
    if spread is None or agreement(differences) is None or abs(mean) <= spread:
        return NOT_SEEN
    return HOLDS if mean * sign > 0 else AGAINST


def agreement(differences: Mapping[int, float]) -> int | None:
    """1 or -1 if all differences have that sign, else null."""
    signs = {(value > 0) - (value < 0) for value in differences.values()}
    sign = signs.pop() if len(signs) == 1 else 0
    return sign or None
