"""Rule and judge together, source by source, as the experiment file has it.

QwenLong-L1 (arXiv 2505.17667, section 3.3) takes max(rule, judge), both 0 or 1; ``COMBINE``
names the others. Where the judge gives no verdict, the run's policy decides: ``stop``, ``rule``
(the rule's score alone) or ``drop``, and the score is marked: its breakdown has "unjudged", and
one to be dropped has the value NaN, so that nobody can take it for a 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from importlib import import_module
from numbers import Real
from typing import Any

from qwenlong.config import RewardConfig
from qwenlong.rewards.answer import extract
from qwenlong.rewards.judge import Judge, Verdict
from qwenlong.rewards.judge_prompt import Case
from qwenlong.rewards.registry import VERIFIERS, Verifier, verifier
from qwenlong.types import Example, InputError, Score, StoppedError

COMBINE: dict[str, Callable[[float, float], float]] = {
    "rule": lambda rule, judge: rule,
    "judge": lambda rule, judge: judge,
    "max": max,
    "min": min,
    "mean": lambda rule, judge: (rule + judge) / 2,
}
"""Name to a function of the rule's and the judge's value."""

POLICIES = ("stop", "rule", "drop")
EVERY = "*"
"""The sources that have no reward of their own."""

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

    def of(self, source: str) -> RewardConfig:
        return self.by_source.get(source) or self.by_source.get(EVERY) or RewardConfig(EVERY)


class UnjudgedError(StoppedError):
    """The judge gave no verdict, and the run's policy is to stop."""


def check(rewards: Rewards, examples: Iterable[Example]) -> None:
    """Reads every gold answer as its source's rule will, before a run needs it.

    Raises:
        InputError: one that cannot be read, or a kind that is not there.
    """
    for example in examples:
        rule = rewards.of(example.source).rule
        if rule is None or ":" not in rule:
            verifier(replace(example, kind=rule or example.kind))


def check_rules(rewards: Rewards, sources: Collection[str]) -> None:
    """Finds before a run rules that are not there, and rewards of none of the ``sources``.

    Raises:
        InputError: with the key, its value and what would be right.
    """
    for source, reward in rewards.by_source.items():
        if reward.rule is not None:
            try:
                load_rule(reward.rule)
            except InputError as error:
                raise InputError(f"rewards.by_source: {error}") from None
        if source not in sources and source != EVERY:
            raise InputError(
                f"rewards.by_source: source={source}: no example is of that source; there are"
                f" {', '.join(sorted(sources))}"
            )


def score(rewards: Rewards, example: Example, response: str) -> Score:
    """The score of one response; of many, ``score_all`` asks the judge for all at once."""
    return score_all(rewards, [(example, response)])[0]


def score_all(rewards: Rewards, answered: Sequence[tuple[Example, str]]) -> list[Score]:
    """Scores in the order of ``answered``; the judge is asked where it can change the score.

    Raises:
        UnjudgedError: the judge gave no verdict, and the policy is ``stop``.
    """
    rules = [ruled(rewards, example, response) for example, response in answered]
    cases: dict[int, Case] = {}
    for i, ((example, response), rule) in enumerate(zip(answered, rules, strict=True)):
        combine = rewards.of(example.source).combine
        if combine == "rule" or _SETTLED.get(combine) == rule.value:
            continue
        answer = extract(response, rewards.thinking).answer
        if answer is not None:
            cases[i] = Case(example.question, example.answers, answer)
    verdicts = dict(zip(cases, _verdicts(rewards, list(cases.values())), strict=True))
    return [
        combined(rewards, answered[i][0], rules[i], verdicts.get(i)) for i in range(len(answered))
    ]


def ruled(rewards: Rewards, example: Example, response: str) -> Score:
    """The rule's part of a score."""
    rule = rewards.of(example.source).rule
    return load_rule(rule or example.kind)(example, response, rewards.thinking)


def combined(rewards: Rewards, example: Example, rule: Score, verdict: Verdict | None) -> Score:
    """The score of rule and judge. Without a verdict the judge was not asked."""
    combine = rewards.of(example.source).combine
    if combine == "rule":
        return rule
    name = f"{combine}({rule.verifier}, judge)"
    why = rule.breakdown.get("why", "")
    parts = {**rule.breakdown, "rule_score": f"{rule.value:g}", "rule_why": why}
    if verdict is None and _SETTLED.get(combine) == rule.value:
        return Score(rule.value, name, {**parts, "judge_score": "not asked: the rule decides"})
    if verdict is None:
        verdict = Verdict(True, 0.0, "no answer: the judge has nothing to read")
    parts["judge_why"] = verdict.why
    if verdict.value is None:
        return _unjudged(rewards, example, Score(rule.value, name, parts), verdict.why)
    parts["judge_score"] = f"{verdict.value:g}"
    value = COMBINE[combine](rule.value, verdict.value)
    word = "right" if value == 1.0 else "partly" if value else "wrong"
    parts["why"] = f"{word}: {combine} of rule ({why}) and judge ({verdict.why})"
    return Score(value, name, parts)


def load_rule(name: str) -> Verifier:
    """The verifier of a kind, or of ``module:callable``.

    Raises:
        InputError: there is no such kind, or nothing that can be called under that name.
    """
    if ":" not in name:
        if name not in VERIFIERS:
            raise InputError(
                f"rule={name}: must be module:callable or one of {', '.join(VERIFIERS)}"
            )
        return VERIFIERS[name]
    return _imported(name)


@cache
def _imported(name: str) -> Verifier:
    module, _, attributes = name.partition(":")
    try:
        found: Any = reduce(getattr, attributes.split("."), import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"rule={name}: cannot be imported: {error}") from None
    if not callable(found):
        raise InputError(f"rule={name}: cannot be called; it is {type(found).__name__}")
    return _as_verifier(name, found)


def _as_verifier(name: str, rule: Callable[[Example, str, bool], Any]) -> Verifier:
    def scored(example: Example, response: str, thinking: bool = True) -> Score:
        given = rule(example, response, thinking)
        result = given if isinstance(given, Score) else None
        if result is None and isinstance(given, Real):
            result = Score(float(given), name, {"rule": name, "why": f"{name} gave {given}"})
        if result is None or not 0.0 <= result.value <= 1.0:
            raise ValueError(
                f"rule={name} gave {given!r} for example {example.id!r}: must be a Score or a"
                " number from 0 to 1"
            )
        return result

    return scored


def _verdicts(rewards: Rewards, cases: Sequence[Case]) -> list[Verdict]:
    if not cases:
        return []
    if not rewards.judge:
        return [Verdict(False, None, "there is no judge")] * len(cases)
    return rewards.judge.verdicts(cases)


def _unjudged(rewards: Rewards, example: Example, rule: Score, why: str) -> Score:
    if rewards.unjudged == "stop":
        raise UnjudgedError(
            f"example {example.id!r} of source {example.source!r}: the judge gave no verdict:"
            f" {why} (unjudged=stop)"
        )
    marked = {**rule.breakdown, "judge_score": "unjudged", "unjudged": rewards.unjudged}
    if rewards.unjudged == "drop":
        return Score(math.nan, rule.verifier, {**marked, "why": f"unjudged, dropped: {why}"})
    told = f"{rule.breakdown['rule_why']} (the rule alone, for the judge gave no verdict: {why})"
    return Score(rule.value, rule.verifier, {**marked, "why": told})
