"""The command line: train, plan, resume, replay, export, report, score, data."""

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
    help="Long-context reasoning RL in phases of growing context.",
)


def _no_folder(out: Path | None) -> Path | None:
    if out and out.is_dir():
        raise InputError(f"{out}: is a folder; name a file to write")
    return out


@app.command()
def train(
    experiment: Annotated[Path, typer.Argument(help="An experiment file (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, any number.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved stages and stop.")
    ] = False,
) -> None:
    """Trains a policy from an experiment file and leaves a report."""
    from qwenlong.config.reading import load_config

    config = load_config(experiment, overrides or [])
    # torch takes seconds to import; a wrong key should not wait for it.
    if dry_run:
        from qwenlong.commands.dry_run import describe

        describe(config, Console())
        return
    from qwenlong.commands.train import train_new

    with _going_on(Path(config.run_dir)):
        train_new(config, Console())


@app.command()
def plan(
    experiment: Annotated[Path, typer.Argument(help="An experiment file (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, any number.")] = None,
    hardware: Annotated[
        str | None, typer.Option(help="Such as A100-80G, or cpu; all that are known if not given.")
    ] = None,
) -> None:
    """Says what a run needs, stage by stage: memory by part, steps, hours, what does not fit.

    Needs no GPU, no data and no weights. The exit code is 1 if something does not fit.
    """
    from qwenlong.config.reading import load_config
    from qwenlong.plan.show import show_plan

    if not show_plan(load_config(experiment, overrides or []), hardware, Console()):
        raise typer.Exit(1)


@app.command()
def resume(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a stopped run.")],
) -> None:
    """Goes on with a stopped run from its last checkpoint."""
    from qwenlong.commands.resume import resume_run

    with _going_on(run_dir):
        resume_run(run_dir, Console())


@app.command()
def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A folder of a run's checkpoints/; or a run: its last one.")
    ],
    out: Annotated[Path, typer.Option(help="The folder that the policy is written to.")],
    best: Annotated[
        bool,
        typer.Option("--best", help="Of a run, the most accurate at the longest context."),
    ] = False,
) -> None:
    """Writes the policy of a checkpoint with its tokenizer and RoPE, as policy/ of a run is."""
    from qwenlong.runs import export as exporting

    taken = exporting.export(checkpoint, out, best, lambda text: print(text, file=sys.stderr))
    print(f"{out}: step {taken.step} of {taken.stage}")


@app.command()
def replay(
    run_dir: Annotated[Path, typer.Argument(help="The directory of a run.")],
    step: Annotated[int, typer.Option(help="A step of RL, from 1.")],
    stage: Annotated[
        str | None, typer.Option(help="The phase it is of, where there are several.")
    ] = None,
) -> None:
    """Makes a step's rollouts again and compares them with those kept; writes nothing into the run.

    The exit code is 1 if they differ.
    """
    from qwenlong.commands.replay import replay_step

    try:
        same = replay_step(run_dir, stage, step, Console())
    except StoppedError as error:
        sys.exit(f"qwenlong: stopped: {_own(error)}; the run is as it was")
    if not same:
        raise typer.Exit(1)


@app.command()
def report(
    run_dirs: Annotated[list[Path], typer.Argument(help="One run, or several side by side.")],
    out: Annotated[
        Path | None, typer.Option(callback=_no_folder, help="The file to write it to.")
    ] = None,
) -> None:
    """Writes report.html, in the run's directory or, of several, in the current one."""
    from qwenlong.report.report import write_report

    own = run_dirs[0] if len(run_dirs) == 1 else Path()
    print(write_report(run_dirs, out or own / "report.html"))


@app.command()
def score(
    file: Annotated[
        Path, typer.Argument(help="Lines of kind, question, answers, response (JSONL).")
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            help="Of all lines, whatever they say; or module:callable, where module may be a file"
            " in the working directory."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write the lines to; else stdout."),
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print accuracy by kind and source.")
    ] = False,
    thinking: Annotated[
        bool,
        typer.Option("--thinking", help="Only responses that close their thinking count."),
    ] = False,
) -> None:
    """Scores a file of model answers: the same lines, each with its score and why.

    A malformed line is reported with its number and left out, and the exit code is 1 then.
    """
    from qwenlong.commands.score import score_file

    outcome = score_file(file, kind, out, summary, thinking)
    if outcome.malformed:
        raise typer.Exit(1)


data_app = typer.Typer(no_args_is_help=True, help="Sets of examples: build, show, check.")
app.add_typer(data_app, name="data")


@data_app.command("build")
def data_build(
    spec: Annotated[Path, typer.Argument(help="What to build (YAML).")],
    out: Annotated[Path, typer.Option(help="The folder that the set is written to.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, any number.")] = None,
) -> None:
    """Builds a set: Parquet files and a manifest. One that is there already is left as it is."""
    from qwenlong.commands.data import build_set

    build_set(spec, out, overrides or [], Console())


@data_app.command("show")
def data_show(
    folder: Annotated[Path, typer.Argument(help="The folder of a built set.")],
    out: Annotated[
        Path | None,
        typer.Option(callback=_no_folder, help="The file to write it to; else in the folder."),
    ] = None,
) -> None:
    """Writes show.html: a page of the set's counts, lengths and kinds, with examples to read."""
    from qwenlong.commands.data import show_set

    print(show_set(folder, out))


@data_app.command("check")
def data_check(
    first: Annotated[Path, typer.Argument(help="A built set or JSONL file: the training's.")],
    second: Annotated[Path, typer.Argument(help="Another: the evaluation's.")],
) -> None:
    """Looks for what of the second set stands in the first; the exit code is 1 if anything does."""
    from qwenlong.commands.data import check_sets

    if not check_sets(first, second, Console()).clean:
        raise typer.Exit(1)


def _own(error: BaseException) -> object:
    """Of an actor's, Ray's wrapper would tell where it was raised, too."""
    return getattr(error, "cause", error)


def main() -> None:
    signals.listen()
    try:
        app()
    except Exception as raised:
        error = _own(raised)
        if isinstance(error, InputError):
            _end(2, str(error))
        if why := _stopped(error):
            _end(1, f"stopped: {why}")
        raise


@contextmanager
def _going_on(run_dir: Path) -> Iterator[None]:
    """Says of a run that ends before its end how it goes on."""
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit) as raised:
        error = _own(raised)
        begun = (run_dir / "config.yaml").is_file()
        how = f"; `qwenlong resume {run_dir}` goes on" if begun else ""
        if isinstance(error, KeyboardInterrupt):
            _end(130, f"stopped by Ctrl-C{how}")
        if isinstance(error, SystemExit) and signals.terminated():  # Ray may exit by another code
            _end(signals.TERMINATED, f"ended by a signal{how}")
        if why := _stopped(error):
            _end(1, f"stopped: {why}{how}")
        raise


def _stopped(error: object) -> str:
    """Why, if it is not a mistake of the library's."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
    return str(error) if isinstance(error, StoppedError) else ""


def _end(code: int, told: str) -> NoReturn:
    print(f"qwenlong: {told}", file=sys.stderr)
    sys.exit(code)
