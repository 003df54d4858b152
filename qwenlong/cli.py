"""The command line: arguments, help texts, exit codes. The work is in ``qwenlong.commands``."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from qwenlong.disk import signals
from qwenlong.types import InputError, StoppedError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Trains long-context reasoning by RL, in phases of growing context.",
)

Experiment = Annotated[Path, typer.Argument(help="An experiment file (YAML).")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Keys to change: key=value …")]


def _no_folder(out: Path | None) -> Path | None:
    if out and out.is_dir():
        raise InputError(f"{out}: is a folder; name a file to write")
    return out


# Each command imports its work when it runs: torch takes seconds, and a wrong key needs none of it.


@app.command()
def train(
    experiment: Experiment,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved stages and stop.")
    ] = False,
) -> None:
    """Train a policy from an experiment file and write a report."""
    from qwenlong.config.reading import load_config

    config = load_config(experiment, overrides or [])
    if dry_run:
        from qwenlong.commands.dry_run import describe

        describe(config, Console())
        return
    from qwenlong.commands.train import train_new

    with _resumable(Path(config.run_dir)):
        train_new(config, Console())


@app.command("config")
def show_config(
    key: Annotated[
        str | None,
        typer.Argument(help="A key or a section, such as learner.objective; all if not given."),
    ] = None,
) -> None:
    """Print the keys of an experiment with meaning, default and allowed values."""
    from qwenlong.commands.config import show_keys

    show_keys(key, Console())


@app.command()
def plan(
    experiment: Experiment,
    overrides: Overrides = None,
    hardware: Annotated[
        str | None,
        typer.Option(help="Hardware such as A100-80G or cpu; all known ones if not given."),
    ] = None,
) -> None:
    """Print what a run needs by stage: memory, steps, hours, and what does not fit.

    Needs no GPU, no data and no weights. The exit code is 1 if something does not fit.
    """
    from qwenlong.commands.plan import plan_run

    if not plan_run(experiment, overrides or [], hardware, Console()):
        raise typer.Exit(1)


@app.command()
def resume(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a stopped run.")],
) -> None:
    """Continue a stopped run from its last checkpoint."""
    from qwenlong.commands.resume import resume_run

    with _resumable(run_dir):
        resume_run(run_dir, Console())


@app.command()
def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A folder of a run's checkpoints/, or a run (its last one).")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write the policy to.")],
    best: Annotated[
        bool,
        typer.Option(
            "--best", help="Take the run's most accurate checkpoint at the longest context."
        ),
    ] = False,
) -> None:
    """Write a checkpoint's policy with tokenizer and RoPE, in the form of a run's policy/."""
    from qwenlong.commands import export as exporting

    taken = exporting.export(checkpoint, out, best, lambda text: print(text, file=sys.stderr))
    print(f"{out}: step {taken.step} of {taken.stage}")


@app.command()
def replay(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a run.")],
    step: Annotated[int, typer.Option(help="An RL step, counted from 1.")],
    stage: Annotated[
        str | None, typer.Option(help="The phase of the step, if the run has several.")
    ] = None,
) -> None:
    """Sample a step's rollouts again and compare them with the logged ones.

    Writes nothing into the run. The exit code is 1 if they differ.
    """
    from qwenlong.commands.replay import replay_step

    try:
        same = replay_step(run_dir, stage, step, Console())
    except StoppedError as error:
        sys.exit(f"qwenlong: stopped: {_cause(error)}; the run has not changed")
    if not same:
        raise typer.Exit(1)


@app.command()
def report(
    run_dirs: Annotated[list[Path], typer.Argument(help="One run, or several to compare.")],
    out: Annotated[
        Path | None, typer.Option(callback=_no_folder, help="The file to write.")
    ] = None,
) -> None:
    """Write report.html into the run's directory; for several runs, into the current one."""
    from qwenlong.report.report import write_report

    own = run_dirs[0] if len(run_dirs) == 1 else Path()
    print(write_report(run_dirs, out or own / "report.html"))


@app.command()
def score(
    file: Annotated[
        Path, typer.Argument(help="JSON lines with kind, question, answers and response.")
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            help="Score all lines as this kind of answer, or by module:callable, where module may"
            " be a file in the working directory."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write the lines to; stdout if not given."),
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print accuracy by kind and source.")
    ] = False,
    thinking: Annotated[
        bool,
        typer.Option("--thinking", help="Count only responses that close their thinking."),
    ] = False,
) -> None:
    """Score a file of model answers: writes the same lines, each with its score and the reason.

    A malformed line is reported with its number and left out; the exit code is then 1.
    """
    from qwenlong.commands.score import score_file

    outcome = score_file(file, kind, out, summary, thinking)
    if outcome.malformed:
        raise typer.Exit(1)


data_app = typer.Typer(no_args_is_help=True, help="Build, show and check sets of examples.")
app.add_typer(data_app, name="data")


@data_app.command("build")
def data_build(
    spec: Annotated[Path, typer.Argument(help="What to build (YAML).")],
    out: Annotated[Path, typer.Option(help="The folder to write the set to.")],
    overrides: Overrides = None,
) -> None:
    """Build a set: Parquet files and a manifest. A set that is already there is not changed."""
    from qwenlong.commands.data import build_set

    build_set(spec, out, overrides or [], Console())


@data_app.command("show")
def data_show(
    folder: Annotated[Path, typer.Argument(help="The folder of a built set.")],
    out: Annotated[
        Path | None,
        typer.Option(callback=_no_folder, help="The file to write; in the folder if not given."),
    ] = None,
) -> None:
    """Write show.html: the set's counts, lengths and kinds of answer, with examples to read."""
    from qwenlong.commands.data import show_set

    print(show_set(folder, out))


@data_app.command("check")
def data_check(
    first: Annotated[Path, typer.Argument(help="The training set: built, or a JSONL file.")],
    second: Annotated[Path, typer.Argument(help="The evaluation set.")],
) -> None:
    """Look for examples of the second set in the first; the exit code is 1 if there are any."""
    from qwenlong.commands.data import check_sets

    if not check_sets(first, second, Console()).clean:
        raise typer.Exit(1)


def main() -> None:
    """Runs the command line. Exit codes: 2 for wrong input, 1 for a run that had to stop."""
    signals.listen()
    try:
        app()
    except Exception as raised:
        error = _cause(raised)
        if isinstance(error, InputError):
            _exit(2, str(error))
        if why := _why_stopped(error):
            _exit(1, f"stopped: {why}")
        raise


@contextmanager
def _resumable(run_dir: Path) -> Iterator[None]:
    """Ends with one line for a run that stops, which says how to continue it."""
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit) as raised:
        error = _cause(raised)
        started = (run_dir / "config.yaml").is_file()
        how = f"; continue with `qwenlong resume {run_dir}`" if started else ""
        if isinstance(error, KeyboardInterrupt):
            _exit(130, f"stopped by Ctrl-C{how}")
        if isinstance(error, SystemExit) and signals.terminated():  # Ray may exit by another code
            _exit(signals.TERMINATED, f"ended by a signal{how}")
        if why := _why_stopped(error):
            _exit(1, f"stopped: {why}{how}")
        raise


def _cause(error: BaseException) -> object:
    """The error that an actor raised; Ray's wrapper around it would add a traceback."""
    return getattr(error, "cause", error)


def _why_stopped(error: object) -> str:
    """The reason in one line; empty for a mistake in this library."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
    return str(error) if isinstance(error, StoppedError) else ""


def _exit(code: int, message: str) -> NoReturn:
    print(f"qwenlong: {message}", file=sys.stderr)
    sys.exit(code)
