"""An arm's own section of docs/findings.md: what it changes, its figures, where it is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qwenlong.report.arms import FIGURES, UNTRAINED, Arm, changes, differences
from qwenlong.report.claims import agreement
from qwenlong.report.markdown import NOTHING, code, each, listed, seeds, table, told
from qwenlong.report.runs import evaluation_rollouts

WRONG_SHOWN = 3
SHARE, CHANGE = ".3f", "+.3f"
_COMPARED = ("difference", "seed by seed", "in sign")


def section(arm: Arm, baseline: Arm, longest: int | None) -> Iterator[str]:
    """The parts of the section, of the finished runs of both; the baseline is its own."""
    own = arm.name == baseline.name
    yield f"## {code(arm.name)}"
    if own:
        yield "What every other arm is compared with."
    elif found := changes(arm.config, baseline.config):
        rows = [[code(key), code(old), code(new)] for key, old, new in found]
        yield table(["key that it changes", code(baseline.name), code(arm.name)], rows, "---")
    else:
        yield "Its configuration is the baseline's: it changes nothing."
    if not arm.outcomes:
        yield "None of its runs is finished."
        return
    stage = arm.outcomes[0].before_stage
    before = "the one that the run began with" if stage == UNTRAINED else f"after {code(stage)}"
    of = seeds([run.seed for run in arm.outcomes])
    yield f"Of {of}. Before RL, the policy is {before}."
    yield _accuracies(arm, baseline, own)
    yield _figures(arm, baseline, own)
    if longest is not None:
        yield from _wrong(arm, longest)


def _accuracies(arm: Arm, baseline: Arm, own: bool) -> str:
    at = [cells for run in arm.outcomes for cells in (run.before, run.end)]
    contexts = sorted({context for cells in at for context in cells})
    rows = [
        [f"{context:,} tokens, {label}", *_row(arm, baseline, own, f"{when} {context}", SHARE)]
        for when, label in (("before", "before RL"), ("end", "at the end"))
        for context in contexts
    ]
    return table(["strict accuracy", *_head(arm, baseline, own)], rows)


def _figures(arm: Arm, baseline: Arm, own: bool) -> str:
    there = [name for name in FIGURES if arm.values(name) or baseline.values(name)]
    rows = [[FIGURES[name][0], *_row(arm, baseline, own, name, FIGURES[name][1])] for name in there]
    return table(["figure", *_head(arm, baseline, own)], rows)


def _head(arm: Arm, baseline: Arm, own: bool) -> list[str]:
    names = [code(arm.name), "seed by seed"]
    return names if own else [code(baseline.name), code(arm.name), *_COMPARED]


def _row(arm: Arm, baseline: Arm, own: bool, name: str, form: str) -> list[str]:
    values = arm.values(name)
    if own:
        return [told(values, form), each(values, form)]
    found = differences(arm, baseline, name)
    signed = "+" + form.removeprefix("+")
    return [
        told(baseline.values(name), form),
        told(values, form),
        told(found, signed),
        each(found, signed),
        agreed(found),
    ]


def agreed(found: Mapping[int, float]) -> str:
    """Whether differences by seed have one sign, in words."""
    if len(found) < 2:
        return "one seed" if found else NOTHING
    if not any(found.values()):
        return "no difference"
    return {1: "all up", -1: "all down", None: "seeds disagree"}[agreement(found)]


def _wrong(arm: Arm, context: int) -> Iterator[str]:
    """The answers that were wrong most often at the end: where a policy cheats, they say how."""
    records = [
        record
        for run in arm.outcomes
        for record in evaluation_rollouts(run.folder, run.end_stage)
        if record.get("context") == context
    ]
    wrong = [record for record in records if record["score"]["value"] != 1.0]
    if not records:
        return
    first: dict[str, Mapping[str, Any]] = {}
    for record in wrong:
        first.setdefault(_answer(record), record)
    counted = Counter(map(_answer, wrong)).most_common(WRONG_SHOWN)
    yield (
        f"Wrong at {context:,} tokens at the end: {len(wrong):,} of {len(records):,} answers."
        + (" The commonest, each with one of its questions:" if wrong else "")
    )
    if wrong:
        yield "\n".join(_wrong_line(answer, n, first[answer]) for answer, n in counted)


def _wrong_line(answer: str, n: int, record: Mapping[str, Any]) -> str:
    said = code(answer) if answer else "no answer found"
    golds: Sequence[Any] = record.get("answers") or ()
    return (
        f"- {n:,} × {said}; asked: {code(str(record.get('question', '')))}, gold:"
        f" {listed([code(str(gold)) for gold in golds]) or NOTHING}, the response:"
        f" {code(str(record.get('response', '')))}"
    )


def _answer(record: Mapping[str, Any]) -> str:
    """As the verifier read it."""
    return str((record["score"].get("breakdown") or {}).get("extracted", ""))
