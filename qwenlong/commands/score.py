"""Scores a file of model answers: what ``qwenlong score`` does, line by line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from qwenlong.config.callables import is_reference
from qwenlong.data.rows import RowError, lines_of, opened, record_of
from qwenlong.rewards import registry
from qwenlong.rewards.hybrid import load_rule
from qwenlong.types import Example, InputError, Score

_OWN = {
    "id", "kind", "question", "answers", "answer", "response", "source", "metadata", "thinking",
    "score",
}  # fmt: skip
_BIG = 8 * 2**20
"""Bytes from which on a file takes long enough to show progress."""
_EVERY = 2**20
"""Bytes between two updates of the progress bar."""
_VERBATIM: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}


@dataclass
class LineCount:
    """Lines of one kind and source."""

    lines: int = 0
    right: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        self.lines += 1
        self.right += value == 1.0
        self.total += value


@dataclass
class Outcome:
    """How many lines of a file were right, by kind and source, and how many could not be scored."""

    by_kind: dict[tuple[str, str], LineCount] = field(default_factory=dict)
    """Keys are kind and source."""
    malformed: int = 0

    def add(self, kind: str, source: str, value: float) -> None:
        self.by_kind.setdefault((kind, source), LineCount()).add(value)


@dataclass(frozen=True)
class Answered:
    """One line: its fields, and the example and the response that they describe."""

    record: dict[str, Any]
    example: Example
    response: str
    thinking: bool


def score_file(
    path: Path,
    kind: str | None = None,
    out: Path | None = None,
    summary: bool = False,
    thinking: bool = False,
) -> Outcome:
    """Writes every line of ``path`` that can be scored, with its score, to ``out`` or stdout.

    Memory does not grow with the file.

    Args:
        kind: the kind of all lines, whatever a line says itself; or a ``module:callable``, whose
            module may be in the working directory.
        thinking: whether the response must close its thinking, where a line does not say so.

    Raises:
        InputError: the file, ``kind`` or ``out`` is wrong; nothing is written then.
    """
    if kind is not None:
        load_rule(kind)
    stderr = Console(stderr=True)
    outcome = Outcome()
    with opened(path) as file, _written(out, path) as sink:
        shown = stderr.is_terminal and (out is not None or not sys.stdout.isatty())
        with _progress(path, stderr, shown) as advance:
            for number, raw in enumerate(lines_of(file), start=1):
                try:
                    line = _scored(raw, number, path.stem, kind, thinking, outcome)
                except (InputError, RowError) as error:
                    outcome.malformed += 1
                    stderr.print(f"{path}:{number}: {error}", **_VERBATIM)
                else:
                    sink.write(line)
                advance(len(raw))
    if summary:
        # Lines on stdout stay alone there, so that they can be piped.
        console = Console() if out else stderr
        console.print(summarised(outcome))
    return outcome


def summarised(outcome: Outcome) -> Table:
    """Accuracy (the share of a score of 1) and mean score, by kind and source."""
    table = Table("kind", box=None, pad_edge=False)
    table.add_column("source", overflow="fold")
    for column in ("lines", "accuracy", "mean score"):
        table.add_column(column, justify="right")
    every = LineCount()
    for (kind, source), tally in sorted(outcome.by_kind.items()):
        table.add_row(kind, source, *_cells(tally))
        every.lines += tally.lines
        every.right += tally.right
        every.total += tally.total
    if len(outcome.by_kind) > 1:
        table.add_row("all", "", *_cells(every), style="bold")
    if outcome.malformed:
        table.add_row("malformed", "", f"{outcome.malformed:,}", "", "", style="red")
    return table


def _cells(tally: LineCount) -> tuple[str, str, str]:
    accuracy, mean = tally.right / tally.lines, tally.total / tally.lines
    return f"{tally.lines:,}", f"{accuracy:.4f}", f"{mean:.4f}"


def _scored(
    raw: bytes, number: int, stem: str, kind: str | None, thinking: bool, outcome: Outcome
) -> bytes:
    """The line with its score; b"" for a blank line."""
    record = record_of(raw, number)
    if record is None:
        return b""
    answered = _read(record, number, stem, kind, thinking)
    score = _score(answered)
    outcome.add(answered.example.kind, answered.example.source, score.value)
    scored = {"value": score.value, "verifier": score.verifier, "breakdown": dict(score.breakdown)}
    return _encoded({**answered.record, "score": scored})


def _score(answered: Answered) -> Score:
    example = answered.example
    try:
        own = is_reference(example.kind)
        verify = load_rule(example.kind) if own else registry.verifier(example)
        return verify(example, answered.response, answered.thinking)
    except InputError:
        raise
    except Exception as error:  # one line that fails must not lose the others
        raise InputError(f"{example.kind} failed: {type(error).__name__}: {error}") from error


def _read(
    record: dict[str, Any], number: int, stem: str, kind: str | None, thinking: bool
) -> Answered:
    """Reads a line as ``data/jsonl.py`` does: a key without a meaning here is metadata."""
    own_kind = _text(record, "kind", "extractive" if kind else None)
    if kind is None and is_reference(own_kind):
        # The person who runs the command decides what code is imported; a file of data must not.
        raise InputError(f"kind={own_kind!r}: only --kind takes a module:callable")
    kind = kind or own_kind
    metadata = record.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise InputError(f"metadata={_shown(metadata)}: must be an object")
    thinks = record.get("thinking")
    if "thinking" in registry.find(kind).takes and isinstance(thinks, str):
        # Such a kind asks for thinking under the same key that says whether the response thinks.
        metadata = {"thinking": thinks, **metadata}
        thinks = None
    if thinks is not None and not isinstance(thinks, bool):
        raise InputError(f"thinking={_shown(thinks)}: must be true or false")
    example = Example(
        id=str(record.get("id") or f"line {number}"),
        source=_text(record, "source", stem) or stem,
        question=_text(record, "question"),
        documents=(),
        answers=_answers(record, kind),
        kind=kind,
        metadata={**{k: v for k, v in record.items() if k not in _OWN}, **metadata},
    )
    return Answered(
        record, example, _text(record, "response"), thinking if thinks is None else thinks
    )


def _answers(record: dict[str, Any], kind: str) -> tuple[str, ...]:
    answers = record.get("answers")
    if answers is None and isinstance(record.get("answer"), str):
        answers = [record["answer"]]
    # A function of the user's own may need no answers.
    answerless = is_reference(kind) or not registry.find(kind).needs_gold
    if answers is None and answerless:
        return ()
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        given = " is missing" if answers is None else f"={_shown(answers)}"
        raise InputError(f"answers{given}: must be a list of texts")
    if not answerless and not any(answer.strip() for answer in answers):
        raise InputError(f"answers={_shown(answers)}: at least one text is needed")
    return tuple(answers)


def _text(record: dict[str, Any], key: str, default: str | None = None) -> str:
    value = record.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        given = " is missing" if key not in record else f"={_shown(value)}"
        raise InputError(f"{key}{given}: must be a text")
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _encoded(record: dict[str, Any]) -> bytes:
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(record).encode() + b"\n"


@contextmanager
def _written(out: Path | None, source: Path) -> Iterator[BinaryIO]:
    """Stdout, or ``out``, which appears when all lines are written."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if out.exists() and out.samefile(source):
        raise InputError(f"--out {out}: is the file to be scored; name another")
    if out.exists() and not out.is_file():
        raise InputError(f"--out {out}: is no file; name one")
    partial = out.with_name(f"{out.name}.partial")
    try:
        file = partial.open("wb")
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from None
    try:
        with file:
            yield file
        os.replace(partial, out)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _progress(path: Path, console: Console, shown: bool) -> Iterator[Callable[[int], None]]:
    """Shows a progress bar for a big file in a terminal, and removes it at the end."""
    size = path.stat().st_size
    bar = Progress(
        TextColumn(f"scoring {path.name} ({decimal(size)})", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar if shown and size >= _BIG else nullcontext():
        task = bar.add_task("", total=size)
        seen = drawn = 0

        def advance(read: int) -> None:
            nonlocal seen, drawn
            seen += read
            if seen - drawn >= _EVERY:
                bar.update(task, completed=seen)
                drawn = seen

        yield advance
