"""Forward and backward of the GRPO loss over one group: our learner beside TRL's GRPOTrainer.

Both have the same policy (fp32, the quickstart's size, random weights), prompt, responses and
advantages, the same number of threads and temperature 1, and take turns in one process. What is
timed is all that a training step does from tokens to gradients, metrics included: ``step`` of our
learner up to the clip, and TRL's ``compute_loss`` with its backward. Clip and optimizer are the
same AdamW on both sides and are left out of both.

TRL is taken at its best: every size of micro-batch that divides the group is tried once, the two
fastest go into the rounds, and the faster of them is what we compare with. Peak memory is measured
at that size, too, each side in a process of its own after a small step: what the step adds to the
process, and the whole of it.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import (
    Ours,
    Point,
    Trl,
    build_policy,
    console,
    divisors,
    flat_gradient,
    in_new_process,
    memory_of,
    quiet,
    random_row,
    seconds_of,
    write_result,
)
from qwenlong.config import LearnerConfig
from qwenlong.types import Row

POINTS = "1024/64/8,4096/128/8,8192/128/8,4096/128/16"
SMALL = Point(64, 8, 8)
"""What warms a process up, so that libraries it loads on the way are not counted."""
IN_THE_ROUNDS = 2
"""Sizes of TRL's micro-batch that are timed in the rounds: the fastest of the first try."""


def rows_of(path: str, point: Point) -> tuple[Row, Row]:
    """The group to measure, and a small one of as many responses."""
    from transformers import AutoConfig

    vocabulary = AutoConfig.from_pretrained(path).vocab_size
    small = Point(SMALL.prompt, SMALL.response, point.group)
    return random_row(point, vocabulary), random_row(small, vocabulary)


def sides(path: str, row: Row) -> tuple[Ours, Trl]:
    return Ours(path, "float32", LearnerConfig(), row), Trl(path, row)


def times(path: str, point: Point, rounds: int, threads: int) -> dict[str, Any]:
    """Seconds of both sides in turn, after one step of each whose gradients are compared."""
    torch.set_num_threads(threads)
    row, small = rows_of(path, point)
    ours, trl = sides(path, small)
    ours.gradients()
    trl.gradients(point.group)
    ours, trl = sides(path, row)
    ours.gradients()
    trl.gradients(point.group)
    mine, theirs = flat_gradient(ours.model), flat_gradient(trl.model)
    error = ((mine - theirs).norm() / theirs.norm()).item()

    def timed(rows: int | None) -> float:
        ours.model.zero_grad()
        trl.model.zero_grad()
        return seconds_of(partial(trl.gradients, rows) if rows else ours.gradients)

    tried = {rows: timed(rows) for rows in divisors(point.group)}
    fastest = sorted(tried, key=lambda rows: tried[rows])[:IN_THE_ROUNDS]
    taken: dict[int | None, list[float]] = {rows: [] for rows in (None, *fastest)}
    for number in range(1, rounds + 1):
        for rows, seconds in taken.items():
            seconds.append(timed(rows))
        said = ", ".join(f"{s[-1]:.2f} s ({n} rows at once)" for n, s in taken.items() if n)
        console.print(f"{point} {number}/{rounds}: ours {taken[None][-1]:.2f} s, TRL {said}")
    medians = {rows: median(seconds) for rows, seconds in taken.items()}
    best = min(fastest, key=lambda rows: medians[rows])
    return {
        "ours_s": medians[None],
        "trl_s": medians[best],
        "ratio": medians[best] / medians[None],
        "trl_rows": best,
        "trl_tried_s": tried,
        "seconds": {str(rows or "ours"): each for rows, each in taken.items()},
        "grad_rel_error": error,
    }


def memory_of_ours(path: str, point: Point, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    row, small = rows_of(path, point)
    Ours(path, "float32", LearnerConfig(), small).gradients()
    return memory_of(Ours(path, "float32", LearnerConfig(), row).gradients)


def memory_of_trl(path: str, point: Point, rows: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    row, small = rows_of(path, point)
    Trl(path, small).gradients(rows)
    return memory_of(partial(Trl(path, row).gradients, rows))


def measured(path: str, point: Point, rounds: int, threads: int) -> dict[str, Any]:
    found = in_new_process(times, path, point, rounds, threads, threads=threads)
    ours = in_new_process(memory_of_ours, path, point, threads, threads=threads)
    trl, whole = (
        in_new_process(memory_of_trl, path, point, rows, threads, threads=threads)
        for rows in (found["trl_rows"], point.group)
    )
    return {
        **vars(point),
        **found,
        "ours_peak_mb": ours["added"],
        "trl_peak_mb": trl["added"],
        "trl_whole_group_peak_mb": whole["added"],
        "ours_peak_absolute_mb": ours["absolute"],
        "trl_peak_absolute_mb": trl["absolute"],
        "trl_whole_group_peak_absolute_mb": whole["absolute"],
    }


def show(points: list[dict[str, Any]], threads: int) -> None:
    table = Table(title=f"Forward and backward of one group, fp32, {threads} threads, medians")
    names = ("group", "ours", "TRL", "rows at once", "ratio")
    for name in (*names, "ours adds", "TRL adds", "gradients differ"):
        table.add_column(name, justify="right")
    for at in points:
        table.add_row(
            str(Point(at["prompt"], at["response"], at["group"])),
            f"{at['ours_s']:.3f} s",
            f"{at['trl_s']:.3f} s",
            f"{at['trl_rows']}",
            f"{at['ratio']:.2f}",
            f"{at['ours_peak_mb']:,.0f} MB",
            f"{at['trl_peak_mb']:,.0f} MB",
            f"{at['grad_rel_error']:.1e}",
        )
    console.print(table)


def main(
    points: Annotated[str, typer.Option(help="prompt/response/group, with commas")] = POINTS,
    rounds: Annotated[int, typer.Option(help="timed steps of each side")] = 3,
    threads: Annotated[int, typer.Option(help="threads of both sides")] = 2,
) -> None:
    """Our learner beside TRL's GRPOTrainer on the same groups."""
    quiet()
    wanted = [Point.read(text) for text in points.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        window = max(each.prompt + each.response for each in wanted)
        path = build_policy(Path(scratch), window)
        found = [measured(path, point, rounds, threads) for point in wanted]
    show(found, threads)
    write_result("learner", {"rounds": rounds, "points": found}, threads)


if __name__ == "__main__":
    typer.run(main)
