"""Forward and backward of the GRPO loss over one group: our learner and TRL's GRPOTrainer.

Both have the same policy (fp32, the quickstart's size, random weights), prompt, responses and
advantages, the same number of threads and temperature 1. They take turns in one process. Timed is
what a training step does from tokens to gradients, metrics included: ``step`` of our learner up to
the clip, and TRL's ``compute_loss`` with its backward pass. Clip and optimizer are the same on both
sides and are left out.

TRL is measured at its best: every size of micro-batch that divides the group is tried once, the two
fastest are timed in all rounds, and the faster of them is compared with ours. Peak memory is
measured at that size, each side in a process of its own after a small step: what the step adds to
the process, and the whole process.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

from benchmarks import common
from qwenlong.config import LearnerConfig
from qwenlong.types import Row

POINTS = "1024/64/8,4096/128/8,8192/128/8,4096/128/16"
SMALL = common.Point(64, 8, 8)
"""A first step of this size loads the libraries, so that they are not counted."""
IN_THE_ROUNDS = 2
"""Sizes of TRL's micro-batch that are timed in all rounds: the fastest of the first try."""


def rows_of(path: str, point: common.Point) -> tuple[Row, Row]:
    """The group to measure, and a small group with the same number of responses."""
    from transformers import AutoConfig

    vocabulary = AutoConfig.from_pretrained(path).vocab_size
    small = common.Point(SMALL.prompt, SMALL.response, point.group)
    return common.random_row(point, vocabulary), common.random_row(small, vocabulary)


def sides(path: str, row: Row) -> tuple[common.Ours, common.Trl]:
    return common.Ours(path, "float32", LearnerConfig(), row), common.Trl(path, row)


def times(path: str, point: common.Point, rounds: int, threads: int) -> dict[str, Any]:
    """Seconds of both sides, which take turns, after one step that compares their gradients."""
    torch.set_num_threads(threads)
    row, small = rows_of(path, point)
    ours, trl = sides(path, small)
    ours.gradients()
    trl.gradients(point.group)
    ours, trl = sides(path, row)
    ours.gradients()
    trl.gradients(point.group)
    mine, theirs = common.flat_gradient(ours.model), common.flat_gradient(trl.model)
    error = ((mine - theirs).norm() / theirs.norm()).item()

    def timed(rows: int | None) -> float:
        ours.model.zero_grad()
        trl.model.zero_grad()
        return common.seconds_of(partial(trl.gradients, rows) if rows else ours.gradients)

    tried = {rows: timed(rows) for rows in common.divisors(point.group)}
    fastest = sorted(tried, key=lambda rows: tried[rows])[:IN_THE_ROUNDS]
    taken: dict[int | None, list[float]] = {rows: [] for rows in (None, *fastest)}
    for number in range(1, rounds + 1):
        for rows, seconds in taken.items():
            seconds.append(timed(rows))
        said = ", ".join(f"{s[-1]:.2f} s ({n} rows at once)" for n, s in taken.items() if n)
        common.console.print(f"{point} {number}/{rounds}: ours {taken[None][-1]:.2f} s, TRL {said}")
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


def memory_of_ours(path: str, point: common.Point, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    row, small = rows_of(path, point)
    common.Ours(path, "float32", LearnerConfig(), small).gradients()
    return common.memory_of(common.Ours(path, "float32", LearnerConfig(), row).gradients)


def memory_of_trl(path: str, point: common.Point, rows: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    row, small = rows_of(path, point)
    common.Trl(path, small).gradients(rows)
    return common.memory_of(partial(common.Trl(path, row).gradients, rows))


def measure(path: str, point: common.Point, rounds: int, threads: int) -> dict[str, Any]:
    found = common.in_new_process(times, path, point, rounds, threads, threads=threads)
    ours = common.in_new_process(memory_of_ours, path, point, threads, threads=threads)
    trl, whole = (
        common.in_new_process(memory_of_trl, path, point, rows, threads, threads=threads)
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


COLUMNS = {
    "group": "{prompt}/{response}/{group}",
    "ours": "{ours_s:.3f} s",
    "TRL": "{trl_s:.3f} s",
    "rows at once": "{trl_rows}",
    "TRL / ours": "{ratio:.2f}",
    "ours adds": "{ours_peak_mb:,.0f} MB",
    "TRL adds": "{trl_peak_mb:,.0f} MB",
    "gradients differ": "{grad_rel_error:.1e}",
}


def main(
    points: Annotated[str, typer.Option(help="prompt/response/group, with commas")] = POINTS,
    rounds: Annotated[int, typer.Option(help="timed steps of each side")] = 3,
    threads: Annotated[int, typer.Option(help="threads of both sides")] = 2,
) -> None:
    """Compares our learner with TRL's GRPOTrainer on the same groups."""
    common.quiet()
    wanted = [common.Point.read(text) for text in points.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        window = max(each.prompt + each.response for each in wanted)
        path = common.build_policy(Path(scratch), window)
        found = [measure(path, point, rounds, threads) for point in wanted]
    title = f"Forward and backward of one group, fp32, {threads} threads, medians"
    common.print_table(title, COLUMNS, found)
    common.write_result("learner", {"rounds": rounds, "points": found}, threads)


if __name__ == "__main__":
    typer.run(main)
