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
from collections.abc import Callable
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
IN_THE_ROUNDS = 2
"""Sizes of TRL's micro-batch that are timed in all rounds: the fastest of the first try."""


def groups(path: str, point: common.Point) -> tuple[Row, Row]:
    """A small group with the same number of responses, and the group to measure."""
    from transformers import AutoConfig

    vocabulary = AutoConfig.from_pretrained(path).vocab_size
    small = common.Point(common.SMALL, 8, point.group)
    return common.random_row(small, vocabulary), common.random_row(point, vocabulary)


def times(path: str, point: common.Point, rounds: int) -> dict[str, Any]:
    """Seconds of both sides, which take turns, after one step that compares their gradients."""
    for row in groups(path, point):
        ours = common.Ours(path, "float32", LearnerConfig(), row)
        trl = common.Trl(path, row)
        ours.gradients()
        trl.gradients(point.group)
    mine, theirs = (
        torch.cat([p.grad.double().flatten() for p in model.parameters()])
        for model in (ours.model, trl.model)
    )

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
        "grad_rel_error": ((mine - theirs).norm() / theirs.norm()).item(),
    }


def memory(path: str, point: common.Point, rows: int | None) -> dict[str, float]:
    """Memory of our step, or of TRL's with ``rows`` at once."""

    def side(row: Row) -> Callable[[], None]:
        if rows:
            return partial(common.Trl(path, row).gradients, rows)
        return common.Ours(path, "float32", LearnerConfig(), row).gradients

    small, row = groups(path, point)
    side(small)()
    return common.memory_of(side(row))


def measure(path: str, point: common.Point, rounds: int, threads: int) -> dict[str, Any]:
    found = common.in_new_process(times, path, point, rounds, threads=threads)
    sizes = {"ours": None, "trl": found["trl_rows"], "trl_whole_group": point.group}
    for name, rows in sizes.items():
        peak = common.in_new_process(memory, path, point, rows, threads=threads)
        found |= {f"{name}_peak_mb": peak["added"], f"{name}_peak_absolute_mb": peak["absolute"]}
    return {**vars(point), **found}


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
    threads: common.Threads = 2,
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
