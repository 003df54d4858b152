"""``docs/findings.md``: arms of an experiment beside their baseline, its prose computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from matplotlib.figure import Figure

from qwenlong.report import arm_charts
from qwenlong.report.arm_section import CHANGE, SHARE, agreed, section
from qwenlong.report.arms import FIGURES, LAST, Arm, differences, finished, gather
from qwenlong.report.claims import CLAIMS, RULE, verdict
from qwenlong.report.markdown import code, count, each, listed, seeds, table, told
from qwenlong.report.paid import Strict
from qwenlong.report.palette import light, style
from qwenlong.types import InputError

ROOM = (0.6, 0.95)
"""Accuracy of a baseline that leaves its arms room to differ in both directions."""
_OVERVIEW = {
    "paid_last": "paid though wrong, end",
    "gap": "reward less accuracy",
    "entropy_last": "entropy, end",
    "grad_mean": "gradient norm",
    "kl_engine": "engine–learner KL",
    "tokens": "tokens generated",
    "seconds": "seconds",
}

# file: (title, what it shows)
PLOTS = {
    "accuracy-tokens": (
        "Accuracy over generated tokens",
        "Strict accuracy at the longest context after each stage, from the last before RL on."
        " Groups that refilling samples and sets aside count.",
    ),
    "accuracy-context": ("Accuracy by context", "Strict accuracy at the end of finished runs."),
    "reward": (
        "Reward and accuracy",
        f"Mean training reward of the last {LAST} RL steps beside strict accuracy at that phase's"
        " context, a line a seed. Training samples at the run's temperature and evaluation at its"
        " own, over other questions, so an honest policy has a gap, too. What is paid though wrong"
        " is counted apart, in the tables: training's own responses, scored again by the strict"
        " verifier.",
    ),
    "entropy": ("Entropy", "Nats a token, smoothed within each phase."),
    "gradient-norm": ("Gradient norm", "Before clipping, smoothed within each phase."),
}


def write_findings(run_dirs: Sequence[Path], out: Path, strict: Strict) -> Path:
    """Writes the page of the runs to ``out``, as far as each has come, its plots beside it.

    The plots are SVG files in the folder that is named as the page is without its suffix.
    ``strict`` scores logged rollouts again, by the verifier that it is told.

    Raises:
        InputError: no page's name, a folder that is no run, a file in it that cannot be read, or
            a seed that an arm has twice.
    """
    out = Path(out)
    if out.suffix != ".md":
        raise InputError(f"--findings={out}: must be the name of a Markdown file, such as out.md")
    known = {name: place for place, name in enumerate(CLAIMS)}
    baseline, *others = gather(run_dirs, strict)
    others.sort(key=lambda arm: known.get(arm.name, len(known)))
    arms = [baseline, *others]
    ended = [finished(arm) for arm in arms]
    longest = _longest(ended) or _longest(arms)
    parts = [
        "# Findings",
        *_opening(arms, ended, longest),
        *_not_there(arms),
        "## Claims",
        *_claims(ended, longest),
        "## All arms",
        *_overview(arms, ended, longest),
        *_plots(arms, ended, longest, out),
    ]
    for arm in ended:
        parts += section(arm, ended[0], longest)
    out.write_text("\n\n".join(parts) + "\n", encoding="utf-8", newline="\n")
    return out


def _longest(arms: Sequence[Arm]) -> int | None:
    """The longest context that the baseline was evaluated at, else any arm."""
    for some in (arms[:1], arms):
        tracks = [accuracy for arm in some for run in arm.outcomes for _, accuracy in run.track]
        if contexts := [context for accuracy in tracks for context in accuracy]:
            return max(contexts)
    return None


def _opening(arms: Sequence[Arm], ended: Sequence[Arm], longest: int | None) -> Iterator[str]:
    runs = sum(len(arm.outcomes) for arm in arms)
    name = code(arms[0].name)
    yield (
        f"Made by `qwenlong report RUN… --findings` from {count(runs, 'run')} of"
        f" {count(len(arms), 'arm')}; nothing is written by hand but the claims and their sources."
        f" Each arm is compared with {name} over the seeds that both have finished. ± is the sample"
        " standard deviation (n − 1) over seeds. With so few seeds nothing here is a test of"
        " significance: what counts is whether the seeds agree in sign."
    )
    cells = [run.end.get(longest or 0) for arm in ended for run in arm.outcomes]
    asked = [cell.n for cell in cells if cell]
    if longest is None or not asked:
        yield "No run is finished yet, so there is nothing to compare."
        return
    least = min(asked)
    yield (
        "Accuracy is strict: the share of held-out questions answered right by each example's own"
        f" verifier, whatever a run rewards. At {longest:,} tokens, the longest context, there are"
        f" {least:,} questions, so one run's accuracy has a standard error of up to"
        f" {0.5 / max(least, 1) ** 0.5:.3f}."
    )
    if final := ended[0].values(f"end {longest}"):
        mean = sum(final.values()) / len(final)
        room = (
            "which leaves the arms room to differ in both directions."
            if ROOM[0] <= mean <= ROOM[1]
            else f"outside of {ROOM[0]:g} to {ROOM[1]:g}: the task hides differences on one side."
        )
        yield f"{name} ends at {told(final, SHARE)} there, {room}"


def _not_there(arms: Sequence[Arm]) -> Iterator[str]:
    everywhere = {run.seed for arm in arms for run in arm.outcomes}
    lines = []
    for arm in arms:
        if lacking := everywhere - {run.seed for run in arm.outcomes}:
            lines.append(f"- {code(arm.name)}: no run of {seeds(lacking)}.")
        for run in arm.outcomes:
            where = f"- {code(arm.name)}, seed {run.seed}"
            if run.waiting:
                steps = count(len(run.run.rl_steps), "RL step")
                coming = listed([*map(code, run.waiting)])
                lines.append(
                    f"{where}: not finished, {steps} so far; still to come: {coming}. It is left"
                    " out of all but the curves."
                )
            others = [what for what in run.run.missing if not what.startswith("not finished")]
            lines += [f"{where}: {code(what)}." for what in others]
    names = {arm.name for arm in arms}
    absent = [code(name) for name in CLAIMS if name not in names]
    if absent and names & set(CLAIMS):
        lines.append(f"- No runs of {listed(absent)}.")
    if lines:
        yield from ("## What is not there", "\n".join(lines))


def _claims(ended: Sequence[Arm], longest: int | None) -> Iterator[str]:
    yield RULE
    lines = []
    for arm in ended[1:]:
        for claim in CLAIMS.get(arm.name, ()):
            found = differences(arm, ended[0], _figure(claim.figure, longest))
            lines.append(
                f"- {code(arm.name)}: **{verdict(found, claim.sign)}**. *{claim.says}*"
                f" ({claim.source}). {_compared(claim.figure, found, longest)}"
            )
        if arm.name not in CLAIMS:
            found = differences(arm, ended[0], _figure("end", longest))
            lines.append(f"- {code(arm.name)}: no claim. {_compared('end', found, longest)}")
    yield "\n".join(lines) or "There is no arm but the baseline."


def _figure(name: str, longest: int | None) -> str:
    return f"end {longest or 0}" if name == "end" else name


def _compared(name: str, found: Mapping[int, float], longest: int | None) -> str:
    """The sentence of a difference."""
    label = f"Accuracy at {longest or 0:,} tokens" if name == "end" else FIGURES[name][0]
    label = label[0].upper() + label[1:]
    if not found:
        return f"{label}: no seed that it and the baseline have finished has that."
    return (
        f"{label}, less the baseline's: {told(found, CHANGE)} over {seeds(found)}"
        f" ({each(found, CHANGE)}): {agreed(found)}."
    )


def _overview(arms: Sequence[Arm], ended: Sequence[Arm], longest: int | None) -> tuple[str, str]:
    at = f"at {longest or 0:,} tokens"
    accuracy, others = [], []
    for arm, own in zip(arms, ended, strict=True):
        name = _figure("end", longest)
        found = {} if own is ended[0] else differences(own, ended[0], name)
        before = own.values(f"before {longest or 0}")
        accuracy.append(
            [
                code(arm.name),
                f"{len(own.outcomes)} of {len(arm.outcomes)}",
                told(before, SHARE),
                told(own.values(name), SHARE),
                told(found, CHANGE),
                agreed(found),
            ]
        )
        figures = [told(own.values(name), FIGURES[name][1]) for name in _OVERVIEW]
        others.append([code(arm.name), *figures])
    head = ["arm", "finished", f"before RL, {at}", f"end, {at}", "less the baseline's", "seeds"]
    return table(head, accuracy), table(["arm", *_OVERVIEW.values()], others)


def _plots(
    arms: Sequence[Arm], ended: Sequence[Arm], longest: int | None, out: Path
) -> Iterator[str]:
    folder = out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, what) in PLOTS.items():
        file = folder / f"{name}.svg"
        with style():
            figure = _drawn(name, arms, ended, longest)
            if figure is None:
                file.unlink(missing_ok=True)
                continue
            figure.savefig(file, facecolor=light("paper"), metadata={"Date": None})
        grey = "" if name == "reward" else " Thin lines are seeds; the baseline is grey."
        yield f"### {title}"
        yield f"![{title}]({quote(folder.name)}/{file.name})"
        yield what + grey


def _drawn(
    name: str, arms: Sequence[Arm], ended: Sequence[Arm], longest: int | None
) -> Figure | None:
    match name:
        case "accuracy-tokens":
            return arm_charts.accuracy_over_tokens(arms, longest) if longest else None
        case "accuracy-context":
            return arm_charts.accuracy_by_context(ended)
        case "reward":
            return arm_charts.reward_and_accuracy(ended)
        case "entropy":
            return arm_charts.over_steps(arms, "entropy", "nats a token")
        case _:
            return arm_charts.over_steps(arms, "grad_norm", "norm")
