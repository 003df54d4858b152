"""Our learner on a CUDA GPU: Qwen3's shapes, long prompts, bf16; beside TRL's loss where it fits.

Weights are random, made from the numbers of the public configurations, so nothing is downloaded.
Both sides compute under bf16 autocast from fp32 weights, with activation checkpointing, from the
same tokens to gradients; clip and optimizer, whose states would add 8 bytes a parameter, are left
out. Ours offloads activations to the host where it would run out of memory otherwise; TRL is tried
with the whole group in one micro-batch and with one row at a time, and the faster counts. What
runs out of memory is recorded as that. Every figure comes from a process of its own, after a step
that is not counted.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
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
    in_new_process,
    quiet,
    random_row,
    seconds_of,
    write_result,
)
from qwenlong.config import LearnerConfig
from qwenlong.plan.shape import KNOWN, Shape

PROMPTS = "8192,32768,131072"
RESPONSE, GROUP = 512, 8
VOCABULARY = 151_936


SHAPES = {size: KNOWN[f"Qwen3-{size}"] for size in ("0.6B", "1.7B", "4B")}
PEAK_TFLOPS = {
    "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200 NVL": 835, "H200": 989, "GH200": 989,
    "A100": 312, "L40S": 362, "L4": 121, "RTX 4090": 165, "RTX 3090": 71,
}  # fmt: skip
"""Dense bf16 with fp32 sums, by the data sheets; the longest name that the card's name holds."""
OUT_OF_MEMORY: dict[str, Any] = {"out_of_memory": True}


def model_flops(shape: Shape, point: Point, shared: bool) -> float:
    """Arithmetic of forward and backward that the model needs, recomputation not counted.

    Forward: 2 for each weight of the blocks' matrices and token, 2 V D for each response token's
    logits, and 4 heads head_dim for each pair of a query and a key that it sees, in each layer.
    Pairs are P²/2 in a prompt, in all layers but the last, where nobody reads what they give, and
    R P + R²/2 for a response. Backward is twice that. With
    ``shared`` the prompt counts once for the group (ours), else with each response (TRL).
    """
    p, r, g = point.prompt, point.response, point.group
    prompts = 1 if shared else g
    attention = 2 * shape.hidden * (shape.heads + shape.kv_heads) * shape.head_dim
    block = attention + 3 * shape.hidden * shape.intermediate
    weights = 2 * shape.layers * block * (prompts * p + g * r)
    logits = 2 * VOCABULARY * shape.hidden * g * r
    of_prompts, of_responses = prompts * p * p / 2, g * (r * p + r * r / 2)
    pairs = (shape.layers - 1) * of_prompts + shape.layers * of_responses
    scores = 4 * shape.heads * shape.head_dim * pairs
    return 3.0 * (weights + logits + scores)


def peak_flops(card: str) -> float | None:
    known = [name for name in PEAK_TFLOPS if name in card]
    return PEAK_TFLOPS[max(known, key=len)] * 1e12 if known else None


def build(folder: str, shape: Shape, window: int) -> None:
    """A policy with random weights in bf16; its tokenizer is the tiny one, and is not used."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    build_policy(Path(folder), window)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=window,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        Qwen3ForCausalLM(config).save_pretrained(folder)


def ours(path: str, point: Point, offload: bool, rounds: int) -> dict[str, Any]:
    config = LearnerConfig(activation_checkpointing=True, offload_activations=offload)
    row = random_row(point, VOCABULARY)
    return timed(lambda: Ours(path, "bfloat16", config, row), Ours.gradients, rounds)


def trl(path: str, point: Point, rows: int, rounds: int) -> dict[str, Any]:
    row = random_row(point, VOCABULARY)
    return timed(
        lambda: Trl(path, row, bf16=True, checkpointing=True),
        partial(Trl.gradients, rows=rows),
        rounds,
    )


def timed(make: Callable[[], Any], gradients: Callable[[Any], None], rounds: int) -> dict[str, Any]:
    """Median seconds and peak memory of ``gradients``, or that memory did not suffice."""

    def step() -> None:
        gradients(side)
        torch.cuda.synchronize()

    try:
        side = make()
        step()
        taken = []
        torch.cuda.reset_peak_memory_stats()
        for _ in range(rounds):
            side.model.zero_grad()
            taken.append(seconds_of(step))
    except torch.OutOfMemoryError:
        return OUT_OF_MEMORY
    return {"seconds": median(taken), "peak_gb": torch.cuda.max_memory_allocated() / 1e9}


def tried(function: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """A process that is killed, as for want of host memory, is recorded as that."""
    try:
        return in_new_process(function, *args)
    except BrokenProcessPool:
        return {"process_died": True}


def measured(name: str, path: str, point: Point, rounds: int, beside: bool) -> dict[str, Any]:
    shape, peak = SHAPES[name], peak_flops(torch.cuda.get_device_name())
    mine: dict[str, Any] = {}
    for offload in (False, True):
        mine = tried(ours, path, point, offload, rounds) | {"offload": offload}
        if "seconds" in mine:
            break
    found: dict[str, Any] = {"model": name, **vars(point), "ours": mine}
    if beside:
        runs = [tried(trl, path, point, n, rounds) | {"rows": n} for n in (point.group, 1)]
        found["trl"] = min(runs, key=lambda run: run.get("seconds", float("inf")))
    tokens = point.prompt + point.group * point.response
    for side, shared in (("ours", True), ("trl", False)):
        seconds = found.get(side, {}).get("seconds")
        if seconds:
            rate = model_flops(shape, point, shared) / seconds
            found[side]["share_of_peak"] = rate / peak if peak else None
            found[side]["tokens_per_s"] = tokens / seconds  # the prompt counted once, for both
    if "seconds" in mine and "seconds" in found.get("trl", {}):
        found["ratio"] = found["trl"]["seconds"] / mine["seconds"]
    return found


def show(points: list[dict[str, Any]], card: str) -> None:
    table = Table(title=f"{card}: forward and backward, {GROUP} responses of {RESPONSE} tokens")
    for name in ("model", "prompt", "", "seconds", "tokens/s", "of peak", "memory", "ratio"):
        table.add_column(name, justify="right")
    for at in points:
        for side in ("ours", "trl"):
            run = at.get(side)
            if not run:
                continue
            how = " offloaded" if run.get("offload") else ""
            head = (at["model"], f"{at['prompt']:,}", f"{side}{how}")
            if "seconds" not in run:
                table.add_row(*head, "out of memory" if "out_of_memory" in run else "process died")
                continue
            share = run["share_of_peak"]
            table.add_row(
                *head,
                f"{run['seconds']:.2f}",
                f"{run['tokens_per_s']:,.0f}",
                f"{share:.0%}" if share else "unknown",
                f"{run['peak_gb']:.1f} GB",
                f"{at['ratio']:.2f}" if side == "trl" and "ratio" in at else "",
            )
    console.print(table)


def main(
    models: Annotated[str, typer.Option(help="any of 0.6B, 1.7B, 4B")] = ",".join(SHAPES),
    prompts: Annotated[str, typer.Option(help="prompt lengths in tokens")] = PROMPTS,
    rounds: Annotated[int, typer.Option(help="timed steps")] = 2,
    beside: Annotated[bool, typer.Option("--trl/--no-trl", help="TRL beside ours")] = True,
) -> None:
    """Our learner's speed and memory on this machine's CUDA GPU."""
    if not torch.cuda.is_available():
        typer.echo("benchmarks/gpu.py needs a CUDA GPU, and PyTorch finds none", err=True)
        raise typer.Exit(2)
    quiet()
    card, lengths = torch.cuda.get_device_name(), sorted(map(int, prompts.split(",")))
    points = []
    for name in models.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            in_new_process(build, scratch, SHAPES[name], lengths[-1] + RESPONSE)
            for length in lengths:
                with console.status(f"Qwen3-{name}, prompt {length:,}"):
                    at = Point(length, RESPONSE, GROUP)
                    points.append(measured(name, scratch, at, rounds, beside))
                console.print(points[-1], highlight=False)
    show(points, card)
    write_result("gpu", {"card": card, "peak_flops": peak_flops(card), "points": points})


if __name__ == "__main__":
    typer.run(main)
