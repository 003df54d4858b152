"""Rule and judge together, source by source, as the experiment file has it.

QwenLong-L1 (arXiv 2505.17667, section 3.3) takes max(rule, judge), both 0 or 1; ``COMBINE`` has the
other ways. Where the judge gives no verdict, ``rewards.unjudged`` decides: ``stop`` the run, take
the ``rule``'s score alone, or ``drop`` the response. The breakdown then has "unjudged", and a
dropped response has the value NaN, so that nobody can take it for a 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

from qwenlong.config import RewardConfig
from qwenlong.config.callables import REWARD, VERIFIER, is_reference, resolve
from qwenlong.rewards.judge.judge import Judge, Verdict
from qwenlong.rewards.judge.prompt import Case
from qwenlong.rewards.kind import JudgeView, Kind, Verifier
from qwenlong.rewards.registry import find, kinds, verifier
from qwenlong.types import Example, InputError, Score, StoppedError

COMBINE: dict[str, Callable[[float, float], float]] = {
    "rule": lambda rule, judge: rule,
    "judge": lambda rule, judge: judge,
    "max": max,
    "min": min,
    "mean": lambda rule, judge: (rule + judge) / 2,
}
"""Name to a function of the rule's and the judge's value."""

EVERY = "*"
"""Stands for all sources that have no reward of their own."""
BY_FUNCTION = "combine"
"""In a breakdown, what decided on a response without a verdict: the user's own function."""

_SETTLED: dict[str, float] = {"max": 1.0, "min": 0.0}
"""The rule's value after which the judge cannot change anything."""


@dataclass(frozen=True)
class Rewards:
    """The rewards of a run, ready to be used."""

    by_source: Mapping[str, RewardConfig] = field(default_factory=dict)
    """``*`` is that of all other sources."""
    judge: Judge | None = None
    unjudged: str = "stop"
    """stop, rule or drop."""
    thinking: bool = True
    """Whether only responses that close their thinking count; else they are read whole."""

    def of(self, source: str) -> RewardConfig:
        return self.by_source.get(source) or self.by_source.get(EVERY) or RewardConfig(EVERY)


class UnjudgedError(StoppedError):
    """The judge gave no verdict, and the run's policy is to stop."""


def check(rewards: Rewards, examples: Iterable[Example]) -> None:
    """Reads every gold answer as its source's rule will, before a run needs it.

    Raises:
        InputError: a gold answer cannot be read, its kind is unknown, or a judge must not replace
            the rule of its kind.
    """
    for example in examples:
        reward = rewards.of(example.source)
        kind = _kind(reward, example)
        if reward.combine != "rule" and not is_reference(reward.combine):
            _view(reward, example)
        # A judge is shown the gold answers as the kind reads them, whatever the rule is.
        shown = reward.combine != "rule" and kind.judge is not None
        if shown or reward.rule is None or not is_reference(reward.rule):
            verifier(replace(example, kind=kind.name))


def check_sources(rewards: Rewards, sources: Collection[str]) -> None:
    """Finds before a run that a reward's source has no examples, or that its rule is no rule.

    Raises:
        InputError: with the key, its value and what would be right.
    """
    for i, (source, reward) in enumerate(rewards.by_source.items()):
        if source not in sources and source != EVERY:
            raise InputError(
                f"rewards.by_source.{i}.source={source}: no example is of that source; there are"
                f" {', '.join(sorted(sources))}"
            )
        if reward.rule is not None:
            load_rule(reward.rule, f"rewards.by_source.{i}.rule")


def score_all(rewards: Rewards, answered: Sequence[tuple[Example, str]]) -> list[Score]:
    """Scores in the order of ``answered``; the judge is asked where it can change the score.

    Raises:
        UnjudgedError: the judge gave no verdict, and the policy is ``stop``.
    """
    rules = [rule_score(rewards, example, response) for example, response in answered]
    verdicts: dict[int, Verdict] = {}
    cases: dict[int, Case] = {}
    for i, ((example, response), rule) in enumerate(zip(answered, rules, strict=True)):
        reward = rewards.of(example.source)
        if is_reference(reward.combine):  # a user's function can do without a verdict
            asks_judge = rewards.judge is not None and _kind(reward, example).judge is not None
        else:  # only a verdict that can change the score is asked for
            asks_judge = reward.combine != "rule" and _SETTLED.get(reward.combine) != rule.value
        if not asks_judge:
            continue
        view = _view(reward, example)
        answer = view.answer(response, rewards.thinking)
        if answer:
            cases[i] = replace(view.case(example), answer=answer)
        elif rule.value > 0 or rule.breakdown.get("extracted"):
            why = "the rule found an answer of which the judge can be shown nothing"
            verdicts[i] = Verdict(None, why)
        else:
            verdicts[i] = Verdict(0.0, "no answer: the judge has nothing to read")
    # All cases at once: the judge batches them, and asks equal ones once.
    cases = _with_decoys(rewards, [example for example, _ in answered], cases)
    if rewards.judge:
        verdicts |= zip(cases, rewards.judge.verdicts(list(cases.values())), strict=True)
    else:
        verdicts |= dict.fromkeys(cases, Verdict(None, "there is no judge"))
    return [
        combine(rewards, example, response, rule, verdicts.get(i))
        for i, ((example, response), rule) in enumerate(zip(answered, rules, strict=True))
    ]


def rule_score(rewards: Rewards, example: Example, response: str) -> Score:
    """The rule's part of a score."""
    rule = rewards.of(example.source).rule
    return load_rule(rule or example.kind)(example, response, rewards.thinking)


def combine(
    rewards: Rewards, example: Example, response: str, rule: Score, verdict: Verdict | None
) -> Score:
    """The score of rule and judge. Without a verdict the rule decides, or the user's function."""
    way = rewards.of(example.source).combine
    if way == "rule":
        return rule
    if is_reference(way):
        return _combined_by_function(way, example, response, rule, verdict)
    name = f"{way}({rule.verifier}, judge)"
    parts, why = _rule_parts(rule), rule.breakdown.get("why", "")
    if verdict is None:
        return Score(rule.value, name, {**parts, "judge_score": "not asked: the rule decides"})
    parts["judge_why"] = verdict.why
    if verdict.value is None:
        return _unjudged(rewards, example, Score(rule.value, name, parts), verdict.why)
    parts["judge_score"] = f"{verdict.value:g}"
    value = COMBINE[way](rule.value, verdict.value)
    word = "right" if value == 1.0 else "partly" if value else "wrong"
    parts["why"] = f"{word}: {way} of rule ({why}) and judge ({verdict.why})"
    return Score(value, name, parts)


def load_rule(name: str, key: str = "rule") -> Verifier:
    """The verifier of a kind, or of ``module:callable``.

    Args:
        key: the key that names the rule, for messages.

    Raises:
        InputError: there is no such kind, or no such function.
    """
    if is_reference(name):
        return _as_verifier(name, resolve(name, key, VERIFIER))
    if name not in kinds():
        raise InputError(f"{key}={name}: must be module:callable or one of {', '.join(kinds())}")
    return find(name).score


def _as_verifier(name: str, rule: Callable[..., Any]) -> Verifier:
    def scored(example: Example, response: str, thinking: bool = True) -> Score:
        result = rule(example, response, thinking)
        if isinstance(result, Real):
            result = Score(float(result), name, {"rule": name, "why": f"{name} gave {result}"})
        if not isinstance(result, Score) or not 0.0 <= result.value <= 1.0:
            raise ValueError(
                f"rule={name} gave {result!r} for example {example.id!r}: must be a Score or a"
                " number from 0 to 1"
            )
        return result

    return scored


def _combined_by_function(
    name: str, example: Example, response: str, rule: Score, verdict: Verdict | None
) -> Score:
    judge = verdict.value if verdict else None
    value = resolve(name, "combine", REWARD)(example, response, rule, judge)
    if not isinstance(value, Real) or not 0.0 <= float(value) <= 1.0:
        raise ValueError(
            f"combine={name} gave {value!r} for example {example.id!r}: must be a number from 0 to"
            " 1"
        )
    parts = {
        **_rule_parts(rule),
        "judge_score": "no verdict" if judge is None else f"{judge:g}",
        "judge_why": verdict.why if verdict else "not asked",
        "why": f"{name} gave {value}",
    }
    if verdict and judge is None:
        parts["unjudged"] = BY_FUNCTION
    return Score(float(value), f"{name}({rule.verifier}, judge)", parts)


def _rule_parts(rule: Score) -> dict[str, str]:
    why = rule.breakdown.get("why", "")
    return {**rule.breakdown, "rule_score": f"{rule.value:g}", "rule_why": why}


def _kind(reward: RewardConfig, example: Example) -> Kind:
    """The kind as which the gold answers are read: a user's rule has none of its own."""
    own = reward.rule is None or is_reference(reward.rule)
    return find(example.kind if own else str(reward.rule))


def _view(reward: RewardConfig, example: Example) -> JudgeView:
    kind = _kind(reward, example)
    if kind.judge is None:
        raise InputError(
            f"example {example.id!r} of source={example.source} and kind={kind.name}: its rewards"
            f" have combine={reward.combine}, but a judge cannot replace the rule of this kind;"
            " give the source a line with combine=rule in rewards.by_source"
        )
    return kind.judge


def _with_decoys(
    rewards: Rewards, examples: Sequence[Example], cases: Mapping[int, Case]
) -> dict[int, Case]:
    """Adds the gold answer of another example of the same source and kind, for the control.

    A gold answer that the rule accepts for this example, too, is no control.
    """
    decoys: dict[tuple[str, str], dict[str, None]] = {}
    for i, case in cases.items():
        decoys.setdefault((examples[i].source, examples[i].kind), {})[case.golds[0]] = None

    def decoy(example: Example, case: Case) -> str:
        rule = _kind(rewards.of(example.source), example).score
        for gold in decoys[example.source, example.kind]:
            accepted = rule(example, f"\\boxed{{{gold}}}", False).value == 1.0
            if gold not in case.golds and not accepted:
                return gold
        return ""

    return {
        i: case if case.decoy else replace(case, decoy=decoy(examples[i], case))
        for i, case in cases.items()
    }


def _unjudged(rewards: Rewards, example: Example, rule: Score, why: str) -> Score:
    if rewards.unjudged == "stop":
        raise UnjudgedError(
            f"example {example.id!r} of source {example.source!r}: the judge gave no verdict:"
            f" {why} (rewards.unjudged=stop)"
        )
    marked = {**rule.breakdown, "judge_score": "unjudged", "unjudged": rewards.unjudged}
    if rewards.unjudged == "drop":
        return Score(math.nan, rule.verifier, {**marked, "why": f"unjudged, dropped: {why}"})
    rule_why = rule.breakdown["rule_why"]
    alone = f"{rule_why} (the rule alone, because the judge gave no verdict: {why})"
    return Score(rule.value, rule.verifier, {**marked, "why": alone})
