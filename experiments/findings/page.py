"""``docs/findings.md``: every arm compared with the baseline. ``page.md.j2`` has the words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.findings.arms import UNTRAINED, Arm, changes, differences, finished, gather
from experiments.findings.charts import CHARTS
from experiments.findings.claims import CLAIMS, RULE, Claim, agreement, verdict
from experiments.findings.markdown import averaged, by_seed, code, count, joined, seeds, table
from experiments.findings.measures import LAST, MEASURES
from qwenlong.report.drawing import light, style
from qwenlong.report.runs import logged_rollouts
from qwenlong.types import InputError

ROOM = (0.6, 0.95)
"""The baseline's accuracy must lie between these to let an arm end clearly higher or lower."""
WRONG_SHOWN = 3
SHARE, CHANGE = ".3f", "+.3f"
# Measures in the table of all arms, and their short names.
_OVERVIEW = {
    "wrong_last": "rewarded though wrong, end",
    "gap": "reward minus accuracy",
    "entropy_last": "entropy, end",
    "grad_mean": "gradient norm",
    "kl_engine": "engine–learner KL",
    "tokens": "tokens generated",
    "seconds": "seconds",
}


def write_findings(run_dirs: Sequence[Path], out: Path) -> Path:
    """Writes the page of the runs to ``out``. Of an unfinished run only the curves are shown.

    The plots are SVG files in a folder beside the page, named like it without its suffix.

    Raises:
        InputError: ``out`` is not a Markdown file, a folder is not a run, a file cannot be read,
            or an arm has two runs of one seed.
    """
    if out.suffix != ".md":
        raise InputError(f"--out={out}: must be the name of a Markdown file, such as findings.md")
    order = {name: place for place, name in enumerate(CLAIMS)}
    baseline, *others = gather(run_dirs)
    others.sort(key=lambda arm: order.get(arm.name, len(order)))
    arms = [baseline, *others]
    ended = [finished(arm) for arm in arms]
    longest = _longest(ended) or _longest(arms)
    end = f"end {longest or 0}"
    cells = [run.end.get(longest or 0) for arm in ended for run in arm.outcomes]
    baseline_end = ended[0].values(end)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (agreement, averaged, by_seed, code, count, joined, seeds)
    environment.globals |= {each.__name__: each for each in words}
    text = environment.get_template("page.md.j2").render(
        runs=sum(len(arm.outcomes) for arm in arms),
        baseline=code(baseline.name),
        longest=longest,
        questions=min((cell.n for cell in cells if cell), default=0),
        baseline_end=baseline_end,
        has_room=ROOM[0] <= sum(baseline_end.values()) / max(1, len(baseline_end)) <= ROOM[1],
        room=ROOM,
        missing=list(_missing(arms)),
        rule=RULE,
        claims=list(_claims(ended, end)),
        accuracies=_accuracies(arms, ended, longest),
        overview=table(
            ["arm", *_OVERVIEW.values()],
            [
                [code(arm.name)]
                + [averaged(arm.values(name), MEASURES[name][1]) for name in _OVERVIEW]
                for arm in ended
            ],
        ),
        plots=_plots(arms, longest, out.with_suffix("")),
        last=LAST,
        sections=[_section(arm, ended[0], longest) for arm in ended],
    )
    out.write_text(re.sub("\n{3,}", "\n\n", text).strip() + "\n", encoding="utf-8", newline="\n")
    return out


def _longest(arms: Sequence[Arm]) -> int | None:
    """The longest context that the baseline was evaluated at; if there is none, that of any arm."""
    for some in (arms[:1], arms):
        tracks = [accuracy for arm in some for run in arm.outcomes for _, accuracy in run.track]
        if contexts := [context for accuracy in tracks for context in accuracy]:
            return max(contexts)
    return None


def _missing(arms: Sequence[Arm]) -> Iterator[str]:
    all_seeds = {run.seed for arm in arms for run in arm.outcomes}
    for arm in arms:
        if lacking := all_seeds - {run.seed for run in arm.outcomes}:
            yield f"{code(arm.name)}: no run of {seeds(lacking)}."
        for run in arm.outcomes:
            where = f"{code(arm.name)}, seed {run.seed}"
            if run.waiting:
                yield (
                    f"{where}: not finished, {count(len(run.run.rl_steps), 'RL step')} so far;"
                    f" still to come: {joined([*map(code, run.waiting)])}. Only the curves show it."
                )
            for what in run.run.missing:
                if not what.startswith("not finished"):
                    yield f"{where}: {code(what)}."
    names = {arm.name for arm in arms}
    absent = [code(name) for name in CLAIMS if name not in names]
    if absent and names & set(CLAIMS):
        yield f"No runs of {joined(absent)}."


def _claims(
    ended: Sequence[Arm], end: str
) -> Iterator[tuple[str, Claim | None, str, str, Mapping[int, float]]]:
    """Arm, claim, verdict, the measure's label, and the arm's differences from the baseline."""
    for arm in ended[1:]:
        for claim in CLAIMS.get(arm.name, (None,)):
            measure = claim.measure if claim else "end"
            label = f"accuracy at {int(end.split()[1]):,} tokens"
            if measure != "end":
                label = MEASURES[measure][0]
            found = differences(arm, ended[0], end if measure == "end" else measure)
            yield code(arm.name), claim, verdict(found, claim.sign if claim else 1), label, found


def _accuracies(arms: Sequence[Arm], ended: Sequence[Arm], longest: int | None) -> str:
    at, end = f"at {longest or 0:,} tokens", f"end {longest or 0}"
    rows = []
    for arm, own in zip(arms, ended, strict=True):
        found = {} if own is ended[0] else differences(own, ended[0], end)
        before, after = own.values(f"before {longest or 0}"), own.values(end)
        numbers = [averaged(before, SHARE), averaged(after, SHARE), averaged(found, CHANGE)]
        runs = f"{len(own.outcomes)} of {len(arm.outcomes)}"
        rows.append([code(arm.name), runs, *numbers, agreement(found)])
    head = ["arm", "finished", f"before RL, {at}", f"end, {at}", "minus the baseline's", "seeds"]
    return table(head, rows)


def _plots(arms: Sequence[Arm], longest: int | None, folder: Path) -> dict[str, str]:
    """Draws the charts; the links to their files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    links = {}
    for name, draw in CHARTS.items():
        file = folder / f"{name}.svg"
        with style():
            figure = draw(arms, longest)
            if figure is None:
                file.unlink(missing_ok=True)
                continue
            figure.savefig(file, facecolor=light("paper"), metadata={"Date": None})
        links[name] = f"{quote(folder.name)}/{file.name}"
    return links


def _section(arm: Arm, baseline: Arm, longest: int | None) -> dict[str, Any]:
    """What the template shows of an arm's finished runs."""
    changed = [[*map(code, row)] for row in changes(arm.config, baseline.config)]
    stage = arm.outcomes[0].before_stage if arm.outcomes else UNTRAINED
    ends = [cells for run in arm.outcomes for cells in (run.before, run.end)]
    accuracies = {
        f"{context:,} tokens, {label}": (f"{when} {context}", SHARE)
        for when, label in (("before", "before RL"), ("end", "at the end"))
        for context in sorted({context for cells in ends for context in cells})
    }
    measures = {
        label: (name, spec)
        for name, (label, spec) in MEASURES.items()
        if arm.values(name) or baseline.values(name)
    }
    head = ["changed key", code(baseline.name), code(arm.name)]
    return {
        "name": code(arm.name),
        "changes": table(head, changed, align="---") if changed else "",
        "seeds": [run.seed for run in arm.outcomes],
        "before": "the one that the run began with"
        if stage == UNTRAINED
        else f"after {code(stage)}",
        "accuracies": _compared("strict accuracy", accuracies, arm, baseline),
        "measures": _compared("measure", measures, arm, baseline),
        **_wrong_answers(arm, longest),
    }


def _compared(title: str, rows: Mapping[str, tuple[str, str]], arm: Arm, baseline: Arm) -> str:
    """A table of measures by label; the baseline's own has no differences."""
    if arm.name == baseline.name:
        head = [title, code(arm.name), "seed by seed"]
        own = {label: (arm.values(name), spec) for label, (name, spec) in rows.items()}
        return table(
            head, [[label, averaged(*each), by_seed(*each)] for label, each in own.items()]
        )
    head = [title, code(baseline.name), code(arm.name), "difference", "seed by seed", "in sign"]
    cells = []
    for label, (name, spec) in rows.items():
        found, signed = differences(arm, baseline, name), "+" + spec.removeprefix("+")
        values = [averaged(each.values(name), spec) for each in (baseline, arm)]
        change = [averaged(found, signed), by_seed(found, signed), agreement(found)]
        cells.append([label, *values, *change])
    return table(head, cells)


def _wrong_answers(arm: Arm, context: int | None) -> dict[str, Any]:
    """The most frequent wrong answers at the end: if the policy cheats, they show how."""
    records = [
        record
        for run in arm.outcomes
        for record in logged_rollouts(run.folder, f"{run.end_stage}-eval")
        if record.get("context") == context
    ]
    # The answers as the verifier read them.
    wrong = [
        (str((record["score"].get("breakdown") or {}).get("extracted", "")), record)
        for record in records
        if record["score"]["value"] != 1.0
    ]
    first = dict(reversed(wrong))
    most = Counter(answer for answer, _ in wrong).most_common(WRONG_SHOWN)
    return {
        "answers": len(records),
        "wrong": wrong,
        "most_wrong": [
            (
                times,
                answer,
                str(first[answer].get("question", "")),
                [code(str(gold)) for gold in first[answer].get("answers") or ()],
                str(first[answer].get("response", "")),
            )
            for answer, times in most
        ],
    }
