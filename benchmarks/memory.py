"""How time and memory of one GRPO step grow with the prompt, and what the log-probabilities add.

A step is forward and backward over one group, clip and AdamW. The policy has two layers of the
quickstart's width, in fp32 with activation checkpointing; the group has 8 responses of 64 tokens.
Each prompt length has a process of its own, which does a small step first. Memory is what the step
adds to the process (``added_gb``) and the whole process (``absolute_gb``); GB are 1e9 bytes.
docs/benchmarks/growth.png shows both with an ideal curve for a row of T = P + 512 tokens: memory
proportional to T, and time a T + b T² with the a, b >= 0 that fit best.

The log-probabilities are those of 16,384 response tokens over Qwen3's vocabulary of 151,936, with
the hidden width of Qwen3-0.6B. Counted is the resident memory that their forward and backward add
to hidden states, head and token ids, without the head's own gradient [V, D]: any method has to hold
that, and it is given separately.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import common
from qwenlong.config import LearnerConfig
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.logprobs import token_stats
from qwenlong.report.drawing import light, new_figure, style
from qwenlong.types import Batch

PROMPTS = "1024,4096,16384,65536,131072"
RESPONSE, GROUP = 64, 8
LAYERS = 2
VOCABULARY, TOKENS, WIDTH = 151_936, 16_384, 1024
LIMIT_GB = 1.5
"""The most that the log-probabilities may add."""
GB = 1000
"""MB in a GB."""
CHART = Path(__file__).parent.parent / "docs" / "benchmarks" / "growth.png"


def one_step(path: str, prompt: int) -> dict[str, Any]:
    learner = GrpoLearner(path, "float32", LearnerConfig(activation_checkpointing=True))
    vocabulary = learner.model.config.vocab_size

    def batch(prompt: int) -> Batch:
        row = common.random_row(common.Point(prompt, RESPONSE, GROUP), vocabulary)
        return Batch((row,), mini_batch=1, learning_rate=1e-6, response_limit=RESPONSE)

    learner.step(batch(common.SMALL))
    measured, taken = batch(prompt), []
    memory = common.memory_of(
        lambda: taken.append(common.seconds_of(lambda: learner.step(measured)))
    )
    return {
        "prompt": prompt,
        "seconds": taken[0],
        "added_gb": memory["added"] / GB,
        "absolute_gb": memory["absolute"] / GB,
    }


def logprobs(top_p: float) -> dict[str, Any]:
    torch.manual_seed(0)

    def both_ways(tokens: Tensor, hidden: Tensor, head: Tensor) -> None:
        token_stats(hidden, head, tokens, 1.0, top_p).logprobs.sum().backward()

    def drawn(tokens: int, vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
        hidden = torch.randn(tokens, WIDTH, requires_grad=True)
        head = (torch.randn(vocabulary, WIDTH) / WIDTH**0.5).requires_grad_()
        return torch.randint(vocabulary, (tokens,)), hidden, head

    both_ways(*drawn(8, 100))
    tokens, hidden, head = drawn(TOKENS, VOCABULARY)
    memory = common.memory_of(lambda: both_ways(tokens, hidden, head))
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
    """a and b of the time a T + b T², and GB a token, by least squares of the relative errors."""
    names = ("prompt", "seconds", "added_gb")
    prompts, seconds, added = (np.array([at[name] for at in points]) for name in names)
    tokens = prompts + RESPONSE * GROUP
    terms = np.stack([tokens / seconds, tokens**2 / seconds], axis=1)

    def solve(columns: NDArray[Any]) -> NDArray[Any]:
        return np.linalg.lstsq(columns, np.ones(len(points)), rcond=None)[0]

    # If the best fit has a negative term, the best with a, b >= 0 has only one of the two.
    linear_only = np.array([solve(terms[:, :1])[0], 0.0])
    square_only = np.array([0.0, solve(terms[:, 1:])[0]])
    fits = (solve(terms), linear_only, square_only)
    allowed = [fit for fit in fits if min(fit) >= 0]
    linear, square = min(allowed, key=lambda fit: float(np.square(terms @ fit - 1).sum()))
    return float(linear), float(square), float(solve((tokens / added)[:, None])[0])


def draw(points: list[dict[str, Any]], path: Path) -> None:
    linear, square, a_token = fitted(points)
    prompts = [at["prompt"] for at in points]
    curve = np.geomspace(min(prompts), max(prompts), 100)
    tokens = curve + RESPONSE * GROUP
    ideals = (linear * tokens + square * tokens**2, a_token * tokens)
    labels = ("ideal: a T + b T², fitted", f"ideal: {a_token * 1e6:.0f} kB a token")
    titles = ("Seconds of one step", "GB that the step adds")
    with style():
        figure, panels = new_figure(792, 331.2, columns=2)
        for i, (axes, name) in enumerate(zip(panels, ("seconds", "added_gb"), strict=True)):
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
            _label(axes, titles[i], prompts)
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=144, facecolor="white", metadata={"Software": None})


def _label(axes: Axes, title: str, prompts: list[int]) -> None:
    axes.set(xscale="log", yscale="log", title=title, xlabel="prompt, tokens")
    axes.margins(x=0.12, y=0.12)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xticks(prompts, [f"{n // 1024}K" if n % 1024 == 0 else f"{n:,}" for n in prompts])
    axes.grid(True, which="major", axis="both")
    axes.legend(frameon=False, loc="upper left")


COLUMNS = {
    "prompt": "{prompt:,}",
    "seconds": "{seconds:.2f}",
    "adds": "{added_gb:.2f} GB",
    "whole process": "{absolute_gb:.2f} GB",
}


def main(
    prompts: Annotated[str, typer.Option(help="prompt lengths in tokens, with commas")] = PROMPTS,
    threads: common.Threads = 2,
) -> None:
    """Time and memory of one GRPO step by prompt length, and of the log-probabilities."""
    common.quiet()
    lengths = sorted(map(int, prompts.split(",")))
    points, stats = [], []
    with tempfile.TemporaryDirectory() as scratch:
        path = common.build_policy(Path(scratch), lengths[-1] + RESPONSE, LAYERS)
        for i, length in enumerate(lengths, 1):
            with common.console.status(f"prompt {length:,}"):
                at = common.in_new_process(one_step, path, length, threads=threads)
            points.append(at)
            result = f"{at['seconds']:.1f} s, {at['added_gb']:.2f} GB"
            common.console.print(f"{i}/{len(lengths)} prompt {length:,}: {result}", highlight=False)
    for top_p in (1.0, 0.95):
        with common.console.status(f"log-probabilities, top-p {top_p}"):
            stats.append(common.in_new_process(logprobs, top_p, threads=threads))
    title = f"One GRPO step, {LAYERS} layers, {GROUP} responses of {RESPONSE} tokens"
    common.print_table(title, COLUMNS, points)
    title = f"Log-probabilities of {TOKENS:,} tokens, vocabulary {VOCABULARY:,}"
    columns = {"top-p": "{top_p}", "add": "{added_gb:.2f} GB", "limit": "{limit_gb} GB"}
    common.print_table(title, {**columns, "all logits": "{all_logits_gb:.1f} GB"}, stats)
    linear, square, a_token = fitted(points)
    fit = {"seconds_a": linear, "seconds_b": square, "gb_a_token": a_token}
    common.write_result("memory", {"points": points, "fit": fit, "logprobs": stats}, threads)
    draw(points, CHART)
    common.console.print(f"drawn in {CHART}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
