"""``docs/findings.md``: every arm compared with the baseline. ``page.md.j2`` has the words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.findings.arms import UNTRAINED, Arm, changes, differences, finished, gather
from experiments.findings.charts import CHARTS
from experiments.findings.claims import CLAIMS, agreement, verdict
from experiments.findings.markdown import averaged, by_seed, code, count, joined, seeds
from experiments.findings.measures import LAST, MEASURES
from qwenlong.report.drawing import light, style
from qwenlong.report.runs import logged_rollouts
from qwenlong.types import InputError

ROOM = (0.6, 0.95)
"""The baseline's accuracy must lie between these to let an arm end clearly higher or lower."""
WRONG_SHOWN = 3
OVERVIEW = {
    "wrong_last": "rewarded though wrong, end",
    "gap": "reward minus accuracy",
    "entropy_last": "entropy, end",
    "grad_mean": "gradient norm",
    "kl_engine": "engine–learner KL",
    "tokens": "tokens generated",
    "seconds": "seconds",
}
"""Measures in the table of all arms, and their short names."""


def write_findings(run_dirs: Sequence[Path], out: Path) -> Path:
    """Writes the page of the runs to ``out``. Of an unfinished run only the curves are shown.

    The plots are SVG files in a folder that is named like the page without its suffix.

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
    longest = _longest(ended) or _longest(arms) or 0
    cells = [run.end.get(longest) for arm in ended for run in arm.outcomes]
    baseline_end = ended[0].values(f"end {longest}")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions: tuple[Callable[..., Any], ...] = (
        *(agreement, averaged, by_seed, changes, code, contexts, count),
        *(differences, joined, seeds, verdict, wrong_answers),
    )
    environment.globals |= {each.__name__: each for each in functions}
    environment.filters["code"] = code
    text = environment.get_template("page.md.j2").render(
        arms=arms,
        ended=ended,
        baseline=ended[0],
        runs=sum(len(arm.outcomes) for arm in arms),
        longest=longest,
        end=f"end {longest}",
        questions=min((cell.n for cell in cells if cell), default=0),
        baseline_end=baseline_end,
        has_room=ROOM[0] <= sum(baseline_end.values()) / max(1, len(baseline_end)) <= ROOM[1],
        room=ROOM,
        missing=list(_missing(arms)),
        claims=CLAIMS,
        measures=MEASURES,
        overview=OVERVIEW,
        plots=_plots(arms, longest, out.with_suffix("")),
        last=LAST,
        untrained=UNTRAINED,
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


def _plots(arms: Sequence[Arm], longest: int, folder: Path) -> dict[str, str]:
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


def contexts(arm: Arm) -> list[int]:
    """The contexts at which the arm was evaluated before RL or at its end, in tokens."""
    return sorted({context for run in arm.outcomes for context in (*run.before, *run.end)})


def wrong_answers(arm: Arm, context: int) -> dict[str, Any]:
    """The most frequent wrong answers at the end: if the policy cheats, they show how.

    Returns:
        The number of ``questions`` and of ``wrong`` answers, and the ``most`` frequent ones, each
        as the verifier read it, with its number and one of its rollouts.
    """
    records = [
        record
        for run in arm.outcomes
        for record in logged_rollouts(run.folder, f"{run.end_stage}-eval")
        if record.get("context") == context
    ]
    wrong: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if record["score"]["value"] != 1.0:
            answer = str((record["score"].get("breakdown") or {}).get("extracted", ""))
            wrong.setdefault(answer, []).append(record)
    most = sorted(wrong, key=lambda answer: -len(wrong[answer]))[:WRONG_SHOWN]
    return {
        "questions": len(records),
        "wrong": sum(map(len, wrong.values())),
        "most": [(answer, len(wrong[answer]), wrong[answer][0]) for answer in most],
    }
