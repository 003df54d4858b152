"""How time and memory of one GRPO step grow with the prompt, and what the log-probabilities add.

A step is all of it: forward and backward over one group, clip, AdamW. The policy is two layers of
the quickstart's width in fp32 with activation checkpointing; the group has 8 responses of 64
tokens. Each prompt length has a process of its own, warmed up with a small step. Memory is what
the step adds to the process (``added_gb``), and the whole of it (``absolute_gb``); GB are 1e9
bytes. docs/benchmarks/growth.png draws both beside their ideals for a row of T = P + 512 tokens:
memory in proportion to T, and time a T + b T² with the a, b >= 0 that fit best.

The log-probabilities: 16,384 response tokens over Qwen3's vocabulary of 151,936. What counts is
the resident memory that their forward and backward add to hidden states, head and token ids, less
the head's own gradient [V, D], which any method has to hold and which is given on its own. The
hidden width is Qwen3-0.6B's.
"""

from __future__ import annotations

import sys
import tempfile
from math import log10
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import (
    Point,
    build_policy,
    console,
    in_new_process,
    memory_of,
    quiet,
    random_row,
    seconds_of,
    write_result,
)
from qwenlong.config import LearnerConfig
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.logprobs import token_stats
from qwenlong.report.drawing import light, style
from qwenlong.types import Batch

PROMPTS = "1024,4096,16384,65536,131072"
RESPONSE, GROUP = 64, 8
LAYERS = 2
VOCABULARY, TOKENS, WIDTH = 151_936, 16_384, 1024
LIMIT_GB = 1.5
"""Most that the log-probabilities may add."""
GB = 1000
"""In MB."""
CHART = Path(__file__).parent.parent / "docs" / "benchmarks" / "growth.png"


def one_step(path: str, prompt: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    learner = GrpoLearner(path, "float32", LearnerConfig(activation_checkpointing=True))
    vocabulary = learner.model.config.vocab_size

    def batch(prompt: int) -> Batch:
        row = random_row(Point(prompt, RESPONSE, GROUP), vocabulary)
        return Batch((row,), mini_batch=1, learning_rate=1e-6, response_limit=RESPONSE)

    learner.step(batch(64))
    measured, taken = batch(prompt), []
    memory = memory_of(lambda: taken.append(seconds_of(lambda: learner.step(measured))))
    return {
        "prompt": prompt,
        "seconds": taken[0],
        "added_gb": memory["added"] / GB,
        "absolute_gb": memory["absolute"] / GB,
    }


def logprobs(top_p: float, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)

    def both_ways(tokens: Tensor, hidden: Tensor, head: Tensor) -> None:
        token_stats(hidden, head, tokens, 1.0, top_p).logprobs.sum().backward()

    def drawn(tokens: int, vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
        hidden = torch.randn(tokens, WIDTH, requires_grad=True)
        head = (torch.randn(vocabulary, WIDTH) / WIDTH**0.5).requires_grad_()
        return torch.randint(vocabulary, (tokens,)), hidden, head

    both_ways(*drawn(8, 100))
    tokens, hidden, head = drawn(TOKENS, VOCABULARY)
    memory = memory_of(lambda: both_ways(tokens, hidden, head))
    assert head.grad is not None
    of_head = head.grad.nbytes / 1e9
    return {
        "top_p": top_p,
        "added_gb": memory["added"] / GB - of_head,
        "head_gradient_gb": of_head,
        "all_logits_gb": TOKENS * VOCABULARY * 4 / 1e9,
        "limit_gb": LIMIT_GB,
    }


def fitted(points: list[dict[str, Any]]) -> tuple[float, float, float]:
    """a and b of time a T + b T², and GB a token, with the least squared relative errors."""
    prompts, seconds, added = (
        torch.tensor([at[name] for at in points], dtype=torch.float64)
        for name in ("prompt", "seconds", "added_gb")
    )
    tokens = prompts + RESPONSE * GROUP
    terms = torch.stack([tokens / seconds, tokens**2 / seconds], 1)
    ones = torch.ones(len(points), 1, dtype=torch.float64)

    def solved(columns: Tensor) -> list[float]:
        return torch.linalg.lstsq(columns, ones).solution[:, 0].tolist()

    def error(of: tuple[float, float]) -> float:
        return (terms @ torch.tensor(of, dtype=torch.float64) - 1).square().sum().item()

    # With one term below zero the best that is left is the other alone.
    alone = [solved(terms[:, i : i + 1])[0] for i in (0, 1)]
    candidates = [(alone[0], 0.0), (0.0, alone[1])]
    if len(points) > 1 and min(both := solved(terms)) >= 0:
        candidates.append((both[0], both[1]))
    linear, square = min(candidates, key=error)
    (a_token,) = solved((tokens / added)[:, None])
    return linear, square, a_token


def draw(points: list[dict[str, Any]], path: Path) -> None:
    linear, square, a_token = fitted(points)
    prompts = [at["prompt"] for at in points]
    curve = torch.logspace(log10(min(prompts)), log10(max(prompts)), 100, dtype=torch.float64)
    tokens = curve + RESPONSE * GROUP
    ideals = (linear * tokens + square * tokens**2, a_token * tokens)
    labels = ("ideal: a T + b T², fitted", f"ideal: {a_token * 1e6:.0f} kB a token")
    titles = ("Seconds of one step", "GB that the step adds")
    with style():
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        for i, (axes, name) in enumerate(
            zip(figure.subplots(1, 2), ("seconds", "added_gb"), strict=True)
        ):
            axes.plot(curve, ideals[i], color=light("untrained"), label=labels[i])
            axes.plot(
                prompts, [at[name] for at in points], "o", color=light(f"hue-{i}"), ms=8,
                label="measured",
            )  # fmt: skip
            for at in points:
                axes.annotate(
                    f"{at[name]:.2g}" if at[name] < 10 else f"{at[name]:.0f}",
                    (at["prompt"], at[name]), (9, -13), textcoords="offset points",
                )  # fmt: skip
            _dress(axes, titles[i], prompts)
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=144, facecolor="white", metadata={"Software": None})


def _dress(axes: Axes, title: str, prompts: list[int]) -> None:
    axes.set(xscale="log", yscale="log", title=title, xlabel="prompt, tokens")
    axes.margins(x=0.12, y=0.12)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xticks(prompts, [f"{n // 1024}K" if n % 1024 == 0 else f"{n:,}" for n in prompts])
    axes.grid(True, which="major", axis="both")
    axes.legend(frameon=False, loc="upper left")


def show(points: list[dict[str, Any]], stats: list[dict[str, Any]]) -> None:
    table = Table(title=f"One GRPO step, {LAYERS} layers, {GROUP} responses of {RESPONSE} tokens")
    for name in ("prompt", "seconds", "adds", "process in all"):
        table.add_column(name, justify="right")
    for at in points:
        memory = (f"{at[name]:.2f} GB" for name in ("added_gb", "absolute_gb"))
        table.add_row(f"{at['prompt']:,}", f"{at['seconds']:.2f}", *memory)
    console.print(table)
    for at in stats:
        console.print(
            f"log-probabilities of {TOKENS:,} tokens, vocabulary {VOCABULARY:,}, top-p"
            f" {at['top_p']}: add {at['added_gb']:.2f} GB (limit {LIMIT_GB} GB); all logits would"
            f" be {at['all_logits_gb']:.1f} GB"
        )


def main(
    prompts: Annotated[str, typer.Option(help="prompt lengths in tokens, with commas")] = PROMPTS,
    threads: Annotated[int, typer.Option()] = 2,
) -> None:
    """Time and memory of one GRPO step by prompt length, and of the log-probabilities."""
    quiet()
    lengths = sorted(map(int, prompts.split(",")))
    points, stats = [], []
    with tempfile.TemporaryDirectory() as scratch:
        path = build_policy(Path(scratch), lengths[-1] + RESPONSE, LAYERS)
        for i, length in enumerate(lengths, 1):
            with console.status(f"prompt {length:,}"):
                at = in_new_process(one_step, path, length, threads, threads=threads)
            points.append(at)
            told = f"{at['seconds']:.1f} s, {at['added_gb']:.2f} GB"
            console.print(f"{i}/{len(lengths)} prompt {length:,}: {told}", highlight=False)
    for top_p in (1.0, 0.95):
        with console.status(f"log-probabilities, top-p {top_p}"):
            stats.append(in_new_process(logprobs, top_p, threads, threads=threads))
    show(points, stats)
    linear, square, a_token = fitted(points)
    fit = {"seconds_a": linear, "seconds_b": square, "gb_a_token": a_token}
    write_result("memory", {"points": points, "fit": fit, "logprobs": stats}, threads)
    draw(points, CHART)
    console.print(f"drawn in {CHART}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
