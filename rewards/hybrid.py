"""Rule and judge together, source by source, as the experiment file has it.

QwenLong-L1 (arXiv 2505.17667, section 3.3) takes max(rule, judge), both 0 or 1; ``COMBINE``
names the others. Where the judge gives no verdict, the run's policy decides: ``stop``, ``rule``
(the rule's score alone) or ``drop``, and the score is marked: its breakdown has "unjudged", and
one to be dropped has the value NaN, so that nobody can take it for a 0.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from importlib import import_module
from numbers import Real
from typing import Any

from qwenlong.config import RewardConfig
from qwenlong.rewards import extractive
from qwenlong.rewards.judge.judge import Judge, Verdict
from qwenlong.rewards.judge.prompt import Case
from qwenlong.rewards.judged import Shown, shown
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
    """Whether only responses that close their thinking count; else they are read whole."""

    def of(self, source: str) -> RewardConfig:
        return self.by_source.get(source) or self.by_source.get(EVERY) or RewardConfig(EVERY)


class UnjudgedError(StoppedError):
    """The judge gave no verdict, and the run's policy is to stop."""


def check(rewards: Rewards, examples: Iterable[Example]) -> None:
    """Reads every gold answer as its source's rule will, before a run needs it.

    Raises:
        InputError: one that cannot be read, a kind that is not there, or one whose rule a judge
            must not replace.
    """
    for example in examples:
        reward = rewards.of(example.source)
        kind, judged = _kind(reward, example), reward.combine != "rule"
        if judged:
            _shown(reward, example)
        # A judge is shown the gold answers as those of their kind, whatever the rule.
        if reward.rule is None or ":" not in reward.rule or (judged and kind in VERIFIERS):
            verifier(replace(example, kind=kind))


def check_sources(rewards: Rewards, sources: Collection[str]) -> None:
    """Finds before a run rewards of none of the ``sources``.

    Raises:
        InputError: with the key, its value and what would be right.
    """
    for i, source in enumerate(rewards.by_source):
        if source not in sources and source != EVERY:
            raise InputError(
                f"rewards.by_source.{i}.source={source}: no example is of that source; there are"
                f" {', '.join(sorted(sources))}"
            )


def score_all(rewards: Rewards, answered: Sequence[tuple[Example, str]]) -> list[Score]:
    """Scores in the order of ``answered``; the judge is asked where it can change the score.

    Raises:
        UnjudgedError: the judge gave no verdict, and the policy is ``stop``.
    """
    rules = [ruled(rewards, example, response) for example, response in answered]
    verdicts: dict[int, Verdict] = {}
    cases: dict[int, Case] = {}
    for i, ((example, response), rule) in enumerate(zip(answered, rules, strict=True)):
        reward = rewards.of(example.source)
        if reward.combine == "rule" or _SETTLED.get(reward.combine) == rule.value:
            continue
        answer = _shown(reward, example).answer(response, rewards.thinking)
        asked = _asked(_shown(reward, example), example, answer, rule)
        if isinstance(asked, Case):
            cases[i] = asked
        else:
            verdicts[i] = asked
    cases = _with_decoys(rewards, [example for example, _ in answered], cases)
    verdicts |= zip(cases, _verdicts(rewards, list(cases.values())), strict=True)
    return [
        combined(rewards, example, rule, verdicts.get(i))
        for i, ((example, _), rule) in enumerate(zip(answered, rules, strict=True))
    ]


def ruled(rewards: Rewards, example: Example, response: str) -> Score:
    """The rule's part of a score."""
    rule = rewards.of(example.source).rule
    return load_rule(rule or example.kind)(example, response, rewards.thinking)


def combined(rewards: Rewards, example: Example, rule: Score, verdict: Verdict | None) -> Score:
    """The score of rule and judge; without a verdict the rule decides."""
    combine = rewards.of(example.source).combine
    if combine == "rule":
        return rule
    name = f"{combine}({rule.verifier}, judge)"
    why = rule.breakdown.get("why", "")
    parts = {**rule.breakdown, "rule_score": f"{rule.value:g}", "rule_why": why}
    if verdict is None:
        return Score(rule.value, name, {**parts, "judge_score": "not asked: the rule decides"})
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


def _imported(name: str) -> Verifier:
    module, _, attributes = name.partition(":")
    if os.getcwd() not in sys.path:  # where one's own rules stand; last, so that it hides nothing
        sys.path.append(os.getcwd())
    try:
        found: Any = reduce(getattr, attributes.split("."), import_module(module))
    except Exception as error:  # whatever a module of the user's raises
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"rule={name}: cannot be imported: {told}") from None
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


def _kind(reward: RewardConfig, example: Example) -> str:
    """The kind by which the gold answers are to be read."""
    return example.kind if reward.rule is None or ":" in reward.rule else reward.rule


def _shown(reward: RewardConfig, example: Example) -> Shown:
    kind = _kind(reward, example)
    found = shown(kind)
    if found is None:
        raise InputError(
            f"example {example.id!r} of source={example.source} and kind={kind}: its rewards have"
            f" combine={reward.combine}, but a judge cannot replace the rule of this kind; give"
            " the source a line with combine=rule in rewards.by_source"
        )
    return found


def _asked(kind: Shown, example: Example, answer: str | None, rule: Score) -> Case | Verdict:
    """What the judge is asked, or its verdict where there is nothing to ask."""
    if answer:
        return replace(kind.case(example), answer=answer)
    if rule.value > 0 or rule.breakdown.get("extracted"):
        return Verdict(None, "the rule found an answer of which the judge can be shown nothing")
    return Verdict(0.0, "no answer: the judge has nothing to read")


def _with_decoys(
    rewards: Rewards, examples: Sequence[Example], cases: Mapping[int, Case]
) -> dict[int, Case]:
    """For the judge's control: the gold answer of another example of the same source and kind.

    One that the rule accepts here, too, is none.
    """
    decoys: dict[tuple[str, str], dict[str, None]] = {}
    for i, case in cases.items():
        decoys.setdefault((examples[i].source, examples[i].kind), {})[case.golds[0]] = None

    def decoy(example: Example, case: Case) -> str:
        kind = _kind(rewards.of(example.source), example)
        rule = VERIFIERS.get(kind, extractive.score)
        for gold in decoys[example.source, example.kind]:
            said = rule(example, f"\\boxed{{{gold}}}", False)
            if gold not in case.golds and said.value < 1.0:
                return gold
        return ""

    return {
        i: case if case.decoy else replace(case, decoy=decoy(examples[i], case))
        for i, case in cases.items()
    }


def _verdicts(rewards: Rewards, cases: Sequence[Case]) -> list[Verdict]:
    if not cases:
        return []
    if not rewards.judge:
        return [Verdict(None, "there is no judge")] * len(cases)
    return rewards.judge.verdicts(cases)


def _unjudged(rewards: Rewards, example: Example, rule: Score, why: str) -> Score:
    if rewards.unjudged == "stop":
        raise UnjudgedError(
            f"example {example.id!r} of source {example.source!r}: the judge gave no verdict:"
            f" {why} (rewards.unjudged=stop)"
        )
    marked = {**rule.breakdown, "judge_score": "unjudged", "unjudged": rewards.unjudged}
    if rewards.unjudged == "drop":
        return Score(math.nan, rule.verifier, {**marked, "why": f"unjudged, dropped: {why}"})
    told = f"{rule.breakdown['rule_why']} (the rule alone, for the judge gave no verdict: {why})"
    return Score(rule.value, rule.verifier, {**marked, "why": told})
