"""The objectives of reinforcement learning, as pure functions over a micro-batch's responses.

Each joins a surrogate (each token's value, and where the clip acts) and a weighting (how tokens
are averaged); ``OBJECTIVES`` names them. In the equations o_i is response i of |o_i| tokens, A_i
its advantage, r_t = π(o_t) / π_old(o_t) the ratio at a token, and J the objective; the loss is -J.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property

import torch
from torch import Tensor

from qwenlong.config.callables import OBJECTIVE, is_reference, resolve
from qwenlong.types import InputError


@dataclass(frozen=True)
class Responses:
    """N responses with R tokens in all, one after another; log-probabilities are in nats.

    A response without tokens adds nothing to a loss, and is still one of ``Totals.responses``.

    Raises:
        ValueError: shapes that do not fit together.
    """

    logprobs_R: Tensor
    """By the trained policy, at the sampling temperature; carries the gradient."""
    old_logprobs_R: Tensor
    """By the policy from before the step's first update, at the same temperature."""
    advantages_N: Tensor | Sequence[float]
    lengths_N: Tensor | Sequence[int]
    """Tokens of each response; they add up to R."""
    engine_logprobs_R: Tensor | None = None
    """By the engine that sampled them, renormalised over the tokens that its top-p kept."""
    nucleus_logmass_R: Tensor | None = None
    """Log of the probability that top-p keeps under the old policy; zeros if top_p is 1."""
    reference_logprobs_R: Tensor | None = None
    """By the reference policy of the KL term, at the same temperature."""

    def __post_init__(self) -> None:
        shapes = {"R": (sum(self.lengths),), "N": (len(self.lengths),)}
        for name, values in vars(self).items():
            right = shapes.get(name[-1])
            if right and values is not None:
                shape = tuple(values.shape) if isinstance(values, Tensor) else (len(values),)
                if shape != right:
                    raise ValueError(f"{name}.shape={shape}: must be {right} by lengths_N")

    @cached_property
    def lengths(self) -> list[int]:
        lengths = self.lengths_N
        return lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)

    @property
    def log_ratio_R(self) -> Tensor:
        return self.logprobs_R - self.old_logprobs_R.detach()

    def at_tokens(self, values_N: Tensor | Sequence[float]) -> Tensor:
        """Values of responses [N], repeated at each of their tokens [R]."""
        like = self.logprobs_R
        values = torch.as_tensor(values_N, device=like.device, dtype=like.dtype)
        counts = torch.tensor(self.lengths, device=like.device, dtype=torch.long)
        return values.repeat_interleave(counts, output_size=len(like))


@dataclass(frozen=True)
class Totals:
    """Counts over one update: all of its micro-batches on all ranks.

    Losses are divided by them, and not by counts of a micro-batch: an average of averages would
    weigh a token more in a short micro-batch, and would depend on how the rows were packed.
    """

    responses: int
    tokens: int
    """Response tokens of the groups that are kept."""
    limit: int
    """Longest response allowed, in tokens."""


Surrogate = Callable[[Responses, float, float], tuple[Tensor, Tensor]]
"""(responses, clip_low, clip_high) to each token's value [R] and where the clip acts [R, bool]."""
Weighting = Callable[[Responses, Totals], Tensor]
"""(responses, totals) to each token's weight in J [R]."""
Terms = Callable[[Responses, Totals, float, float], tuple[Tensor, Tensor, Tensor]]
"""(responses, totals, clip_low, clip_high) to value, weight and where the clip acts, each [R]."""


def _pessimistic(
    responses: Responses, ratio_R: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    advantages_R = responses.at_tokens(responses.advantages_N)
    plain_R = ratio_R * advantages_R
    clipped_R = ratio_R.clamp(1 - low, 1 + high) * advantages_R
    # The minimum of both: the clip ends what a move away from the old policy can gain, and never
    # hides what it loses.
    return torch.minimum(plain_R, clipped_R), clipped_R < plain_R


def clipped_token_ratio(responses: Responses, low: float, high: float) -> tuple[Tensor, Tensor]:
    """min(r_t A_i, clip(r_t, 1 - low, 1 + high) A_i): PPO's surrogate (arXiv 1707.06347, eq. 7).

    GRPO (arXiv 2402.03300, eq. 3) and Dr. GRPO (arXiv 2503.20783) have low = high, DAPO (arXiv
    2503.14476, eq. 8 and 10) low < high. The clip acts where it takes the gradient away.
    """
    return _pessimistic(responses, responses.log_ratio_R.exp(), low, high)


def clipped_sequence_ratio(responses: Responses, low: float, high: float) -> tuple[Tensor, Tensor]:
    """min(s_i A_i, clip(s_i, 1 - low, 1 + high) A_i) with s_i = exp(1/|o_i| Σ_t log r_t).

    GSPO (arXiv 2507.18071, eq. 5 and 7): the ratio is the response's, at each of its tokens, and
    the clip takes the gradient of whole responses. GSPO-token (eq. 13), whose advantages differ
    within a response, is left out.
    """
    # A geometric mean: the plain product of a long response's ratios would explode or vanish.
    parts = responses.log_ratio_R.split(responses.lengths)
    means = [part.mean().expand_as(part) for part in parts]
    log_ratio_R = torch.cat([responses.log_ratio_R[:0], *means])  # there may be no response
    return _pessimistic(responses, log_ratio_R.exp(), low, high)


def clipped_weight(responses: Responses, low: float, high: float) -> tuple[Tensor, Tensor]:
    """sg(clip(r_t, 1 - low, 1 + high)) A_i log π(o_t), where sg stops the gradient.

    CISPO (MiniMax-M1, arXiv 2506.13585, eq. 4 and 5): every token keeps a gradient, and the clip
    acts where it bounds a token's weight. The token mask of eq. 6 and 7 is left out.
    """
    # Without gradient: it flows through log π alone, so a bounded token still learns.
    ratio_R = responses.log_ratio_R.detach().exp()
    bounded_R = ratio_R.clamp(1 - low, 1 + high)
    weight_R = bounded_R * responses.at_tokens(responses.advantages_N)
    return weight_R * responses.logprobs_R, bounded_R != ratio_R


def response_mean(responses: Responses, totals: Totals) -> Tensor:
    """Tokens within a response, then responses: the 1/G Σ_i 1/|o_i| Σ_t of GRPO (eq. 3).

    A value that all tokens of a response share is averaged over responses alone: the 1/G Σ_i of
    GSPO (eq. 5).
    """
    return 1 / (responses.at_tokens(responses.lengths_N) * totals.responses)


def token_mean(responses: Responses, totals: Totals) -> Tensor:
    """All tokens alike: the 1/Σ_i|o_i| Σ_i Σ_t of DAPO (eq. 8) and CISPO (eq. 4).

    The papers' sums run over the responses to one prompt, whose J are then averaged. Here they run
    over the mini-batch, as they do in TRL.
    """
    return torch.full_like(responses.old_logprobs_R, 1 / max(totals.tokens, 1))


def limit_mean(responses: Responses, totals: Totals) -> Tensor:
    """Every response as if it were of the longest length: 1/(G limit) Σ_i Σ_t.

    Dr. GRPO (arXiv 2503.20783, section 3.2 and listing 1): no length favours a response.
    """
    return torch.full_like(responses.old_logprobs_R, 1 / max(totals.responses * totals.limit, 1))


@dataclass(frozen=True)
class Objective:
    terms: Terms
    clip_low: float
    """As published, like ``clip_high``: a ratio is clipped to [1 - clip_low, 1 + clip_high]."""
    clip_high: float
    drops_flat_groups: bool = False
    """Groups without variance are left out of the update and of its totals."""
    scales_advantages: bool = True
    """Advantages are divided by the group's standard deviation."""


def joined(surrogate: Surrogate, weighting: Weighting) -> Terms:
    def terms(
        responses: Responses, totals: Totals, low: float, high: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        value_R, clipped_R = surrogate(responses, low, high)
        return value_R, weighting(responses, totals), clipped_R

    return terms


OBJECTIVES: dict[str, Objective] = {
    # The paper states no clip range; 0.2 is PPO's. Its process rewards are left out, and its KL
    # (coefficient 0.04) is left to kl_coefficient; QwenLong-L1 has none.
    "grpo": Objective(joined(clipped_token_ratio, response_mean), 0.2, 0.2),
    # No KL. Sampling until the batch is full again (stages.NAME.refill) and the penalty on long
    # responses (advantages.overlong_penalty) are not part of the objective.
    "dapo": Objective(joined(clipped_token_ratio, token_mean), 0.2, 0.28, drops_flat_groups=True),
    # No KL.
    "dr_grpo": Objective(
        joined(clipped_token_ratio, limit_mean), 0.2, 0.2, scales_advantages=False
    ),
    # No KL.
    "gspo": Objective(joined(clipped_sequence_ratio, response_mean), 3e-4, 4e-4),
    # No KL. Groups are dropped as in DAPO. It has no lower bound (a ratio is never below 0); the
    # upper one is not published: a weight of at most 5 is TRL's advice, after ScaleRL.
    "cispo": Objective(joined(clipped_weight, token_mean), 1.0, 4.0, drops_flat_groups=True),
}


def find_objective(name: str) -> Objective:
    """The objective that ``learner.objective`` names, built in or ``module:callable``.

    Raises:
        InputError: there is none of that name, or the function cannot be used.
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    if is_reference(name):
        return Objective(_own_terms(name), 0.2, 0.2)  # PPO's range, unless the experiment sets one
    near = get_close_matches(name, OBJECTIVES, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"learner.objective={name}: must be one of {', '.join(OBJECTIVES)}{hint}")


def _own_terms(reference: str) -> Terms:
    """A user's function, with its results checked; where it clips is not known."""
    function = resolve(reference, "learner.objective", OBJECTIVE)

    def terms(
        responses: Responses, totals: Totals, low: float, high: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        value_R, weight_R = function(responses, totals, low, high)
        right = responses.logprobs_R.shape
        if value_R.shape != right or weight_R.shape != right:
            raise InputError(
                f"learner.objective={reference}: returned tensors of shape {tuple(value_R.shape)}"
                f" and {tuple(weight_R.shape)}; both must be {tuple(right)}, one value a token"
            )
        return value_R, weight_R, torch.zeros_like(value_R, dtype=torch.bool)

    return terms


def objective_loss(
    objective: str | Objective,
    responses: Responses,
    totals: Totals,
    clip_low: float,
    clip_high: float,
    kl_coefficient: float = 0.0,
    importance_cap: float | None = None,
    mask_ratio: float | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """These responses' part of an update's loss. The parts of all micro-batches and ranks add up.

    Args:
        kl_coefficient: β of β KL(π || reference), subtracted from each token's value.
        importance_cap: bounds the weight that corrects for the engine (see ``engine_log_ratio``)
            and multiplies the surrogate, not the KL: truncated importance sampling, min(ρ_t, cap)
            (Yao et al., "Your efficient RL framework secretly brings you off-policy training").
        mask_ratio: m > 1; a token whose ρ_t is outside [1/m, m] has no value and no gradient in
            surrogate or KL, but still counts in ``totals``. With a cap of at least m this is
            IcePop (Ring-1T, arXiv 2510.18855), except that IcePop keeps the masked tokens' KL.

    Returns:
        The loss, and sums over tokens: ``masked``, ``clipped`` (where the clip acts), with a cap
        ``importance_weight`` and ``truncated``, with a KL term ``kl`` (nats). Masked tokens are
        left out of all but the KL.

    Raises:
        ValueError: there is no such objective, or an option needs log-probabilities that are None.
    """
    chosen = find_objective(objective) if isinstance(objective, str) else objective
    _check_options(responses, kl_coefficient, importance_cap, mask_ratio)
    masked_R = _outside(responses, mask_ratio)
    # Through a sequence's ratio a masked token would get a gradient from the other tokens' values.
    detached_R = torch.where(masked_R, responses.logprobs_R.detach(), responses.logprobs_R)
    responses = replace(responses, logprobs_R=detached_R)
    value_R, weight_R, clipped_R = chosen.terms(responses, totals, clip_low, clip_high)
    sums = {"clipped": (clipped_R & ~masked_R).sum(), "masked": masked_R.sum()}
    if importance_cap is not None:
        ratio_R = engine_log_ratio(responses).exp()
        correction_R = ratio_R.clamp(max=importance_cap).masked_fill(masked_R, 0.0)
        value_R = value_R * correction_R
        sums["importance_weight"] = correction_R.sum()
        sums["truncated"] = ((ratio_R > importance_cap) & ~masked_R).sum()
    if kl_coefficient:
        kl_R = reference_kl(responses)
        value_R = value_R - kl_coefficient * kl_R
        sums["kl"] = kl_R.detach().sum()
    # masked_fill, not a product with 0: a masked token's value may be inf or nan.
    loss = -(value_R.masked_fill(masked_R, 0.0) * weight_R).sum()
    # One transfer from the device for all sums.
    counted = torch.stack([each.double() for each in sums.values()]).tolist()
    return loss, dict(zip(sums, counted, strict=True))


def engine_log_ratio(responses: Responses) -> Tensor:
    """log ρ_t [R]: old policy over engine at each token, without gradient.

    The engine's probabilities are renormalised over the nucleus that top-p keeps; the learner's
    cover the whole vocabulary. Renormalised over the learner's own nucleus they can be compared:
    log ρ = old - nucleus_logmass - engine, and equal numerics give ρ = 1. The surrogate's ratio r
    compares whole distributions on both sides, so top-p does not enter it.
    """
    assert responses.nucleus_logmass_R is not None and responses.engine_logprobs_R is not None
    nucleus_R = responses.old_logprobs_R - responses.nucleus_logmass_R
    return (nucleus_R - responses.engine_logprobs_R).detach()


def reference_kl(responses: Responses) -> Tensor:
    """KL(π || reference), estimated at each token [R] in nats; carries the gradient.

    With d = log reference - log π it is exp(d) - d - 1 (DeepSeekMath, arXiv 2402.03300, eq. 4;
    Schulman's k3). Its gradient is taken as it stands, without a ratio for tokens off-policy.
    """
    assert responses.reference_logprobs_R is not None
    gap_R = responses.reference_logprobs_R.detach() - responses.logprobs_R
    return gap_R.expm1() - gap_R


def _outside(responses: Responses, mask_ratio: float | None) -> Tensor:
    """The tokens to mask [R, bool]."""
    if mask_ratio is None:
        return torch.zeros_like(responses.old_logprobs_R, dtype=torch.bool)
    # Negated, so that nan is masked: a comparison with nan is false.
    return ~(engine_log_ratio(responses).abs() <= math.log(mask_ratio))


def _check_options(
    responses: Responses,
    kl_coefficient: float,
    importance_cap: float | None,
    mask_ratio: float | None,
) -> None:
    engine = ("engine_logprobs_R", "nucleus_logmass_R")
    for option, value, least, needs in (
        ("kl_coefficient", kl_coefficient or None, 0, ("reference_logprobs_R",)),
        ("importance_cap", importance_cap, 0, engine),
        ("mask_ratio", mask_ratio, 1, engine),
    ):
        if value is None:
            continue
        if not value > least:
            raise ValueError(f"{option}={value}: must be above {least}")
        for name in needs:
            if getattr(responses, name) is None:
                raise ValueError(f"{name}=None: {option}={value} needs it at each token")
