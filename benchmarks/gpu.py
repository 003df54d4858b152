"""Our learner and TRL's loss on a CUDA GPU: Qwen3's shapes, long prompts, bf16.

Weights are random and have the sizes of the public configurations, so nothing is downloaded. Both
sides compute gradients from the same tokens, under bf16 autocast from fp32 weights, with activation
checkpointing. Clip and optimizer, whose states would add 8 bytes a parameter, are left out. Ours
offloads activations to the host if it runs out of memory otherwise. TRL is tried with the whole
group in one micro-batch and with one row at a time. Running out of memory is
recorded as a result. Every measurement has a process of its own, and its first step is not counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

from benchmarks import common
from qwenlong.config import LearnerConfig
from qwenlong.plan.shape import KNOWN, Shape
from qwenlong.plan.time import forward_flops

PROMPTS = "8192,32768,131072"
RESPONSE, GROUP = 512, 8
VOCABULARY = 151_936
SHAPES = {size: KNOWN[f"Qwen3-{size}"] for size in ("0.6B", "1.7B", "4B")}
PEAK_TFLOPS = {
    "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200 NVL": 835, "H200": 989, "GH200": 989,
    "A100": 312, "L40S": 362, "L4": 121, "RTX 4090": 165, "RTX 3090": 71,
}  # fmt: skip
"""Dense bf16 with fp32 sums, by the data sheets; the longest name within the card's name counts."""


def build(folder: str, shape: Shape, window: int) -> None:
    """Writes a policy with random weights in bf16. Its tokenizer is a tiny one that is not used."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    common.build_policy(Path(folder), window)
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


def gradients(
    path: str, point: common.Point, rounds: int, offload: bool, rows: int | None
) -> dict[str, Any]:
    """Median seconds and peak memory of our gradients, or of TRL's with ``rows`` at once."""
    row = common.random_row(point, VOCABULARY)
    action: Callable[[], object]
    try:
        if rows:
            trl = common.Trl(path, row, bf16=True, checkpointing=True)
            model, action = trl.model, partial(trl.gradients, rows)
        else:
            config = LearnerConfig(activation_checkpointing=True, offload_activations=offload)
            ours = common.Ours(path, "bfloat16", config, row)
            model, action = ours.model, ours.gradients

        def step() -> None:
            action()
            torch.cuda.synchronize()

        step()
        taken = []
        torch.cuda.reset_peak_memory_stats()
        for _ in range(rounds):
            model.zero_grad()
            taken.append(common.seconds_of(step))
    except torch.OutOfMemoryError:
        return {"failure": "out of memory"}
    return {"seconds": median(taken), "peak_gb": torch.cuda.max_memory_allocated() / 1e9}


def measure(name: str, path: str, point: common.Point, rounds: int) -> list[dict[str, Any]]:
    """A record for each side, and for each way to compute it."""
    sides = {
        "ours": (False, None),
        "ours, offloaded": (True, None),
        "TRL, whole group": (False, point.group),
        "TRL, one row at once": (False, 1),
    }
    peak = peak_flops(torch.cuda.get_device_name())
    records: list[dict[str, Any]] = []
    p, r, g = point.prompt, point.response, point.group
    for side, (offload, rows) in sides.items():
        if offload and "failure" not in records[-1]:
            continue
        record: dict[str, Any] = {"model": name, **vars(point), "side": side}
        try:
            record |= common.in_new_process(gradients, path, point, rounds, offload, rows)
        except BrokenProcessPool:  # the system killed it, for instance without host memory
            record["failure"] = "process died"
        if seconds := record.get("seconds"):
            # As `qwenlong plan` counts; backward is twice the forward pass. TRL repeats the prompt.
            shape = SHAPES[name]
            forward = g * forward_flops(shape, p, r, 1) if rows else forward_flops(shape, p, r, g)
            record |= {"share_of_peak": 3 * forward / seconds / peak} if peak else {}
            record["tokens_per_s"] = (p + g * r) / seconds  # the prompt counted once, for both
        common.console.print(record, highlight=False)
        records.append(record)
    return records


def peak_flops(card: str) -> float | None:
    known = [name for name in PEAK_TFLOPS if name in card]
    return PEAK_TFLOPS[max(known, key=len)] * 1e12 if known else None


COLUMNS = {
    "model": "{model}",
    "prompt": "{prompt:,}",
    "": "{side}",
    "seconds": "{seconds:.2f}",
    "tokens/s": "{tokens_per_s:,.0f}",
    "of peak": "{share_of_peak:.0%}",
    "memory": "{peak_gb:.1f} GB",
    "failure": "{failure}",
}


def main(
    models: Annotated[str, typer.Option(help="any of 0.6B, 1.7B, 4B")] = ",".join(SHAPES),
    prompts: Annotated[str, typer.Option(help="prompt lengths in tokens")] = PROMPTS,
    rounds: Annotated[int, typer.Option(help="timed steps")] = 2,
) -> None:
    """Our learner's speed and memory on this machine's CUDA GPU."""
    if not torch.cuda.is_available():
        typer.echo("benchmarks/gpu.py needs a CUDA GPU, and PyTorch finds none", err=True)
        raise typer.Exit(2)
    common.quiet()
    card, lengths = torch.cuda.get_device_name(), sorted(map(int, prompts.split(",")))
    points = []
    for name in models.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            common.in_new_process(build, scratch, SHAPES[name], lengths[-1] + RESPONSE)
            for length in lengths:
                points += measure(name, scratch, common.Point(length, RESPONSE, GROUP), rounds)
    title = f"{card}: forward and backward, {GROUP} responses of {RESPONSE} tokens"
    common.print_table(title, COLUMNS, points)
    common.write_result("gpu", {"card": card, "peak_flops": peak_flops(card), "points": points})


if __name__ == "__main__":
    typer.run(main)
