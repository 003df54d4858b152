"""Our learner and TRL's loss on a CUDA GPU: Qwen3's shapes, long prompts, bf16.

Weights are random and have the sizes of the public configurations, so nothing is downloaded. Both
sides compute gradients from the same tokens, under bf16 autocast from fp32 weights, with activation
checkpointing. Clip and optimizer, whose states would add 8 bytes a parameter, are left out. Ours
offloads activations to the host if it runs out of memory otherwise. TRL is tried with the whole
group in one micro-batch and with one row at a time; the faster counts. Running out of memory is
recorded as a result. Every measurement has a process of its own, and its first step is not counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
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
OUT_OF_MEMORY: dict[str, Any] = {"out_of_memory": True}


def model_flops(shape: Shape, point: common.Point, shared: bool) -> float:
    """Operations of forward and backward that the model needs; recomputation is not counted.

    They are counted as ``qwenlong plan`` does. With ``shared`` the prompt counts once for its
    group (ours), else once for each response (TRL).
    """
    p, r, g = point.prompt, point.response, point.group
    forward = forward_flops(shape, p, r, g) if shared else g * forward_flops(shape, p, r, 1)
    return 3.0 * forward  # backward is twice the forward pass


def peak_flops(card: str) -> float | None:
    known = [name for name in PEAK_TFLOPS if name in card]
    return PEAK_TFLOPS[max(known, key=len)] * 1e12 if known else None


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


def ours(path: str, point: common.Point, offload: bool, rounds: int) -> dict[str, Any]:
    config = LearnerConfig(activation_checkpointing=True, offload_activations=offload)
    row = common.random_row(point, VOCABULARY)
    return timed(lambda: common.Ours(path, "bfloat16", config, row), common.Ours.gradients, rounds)


def trl(path: str, point: common.Point, rows: int, rounds: int) -> dict[str, Any]:
    row = common.random_row(point, VOCABULARY)
    return timed(
        lambda: common.Trl(path, row, bf16=True, checkpointing=True),
        partial(common.Trl.gradients, rows=rows),
        rounds,
    )


def timed(make: Callable[[], Any], gradients: Callable[[Any], None], rounds: int) -> dict[str, Any]:
    """Median seconds and peak memory of ``gradients``, or that it ran out of memory."""

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
            taken.append(common.seconds_of(step))
    except torch.OutOfMemoryError:
        return OUT_OF_MEMORY
    return {"seconds": median(taken), "peak_gb": torch.cuda.max_memory_allocated() / 1e9}


def attempt(function: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Measures in a new process, which the system may kill, for instance without host memory."""
    try:
        return common.in_new_process(function, *args)
    except BrokenProcessPool:
        return {"process_died": True}


def measure(
    name: str, path: str, point: common.Point, rounds: int, with_trl: bool
) -> dict[str, Any]:
    shape, peak = SHAPES[name], peak_flops(torch.cuda.get_device_name())
    mine: dict[str, Any] = {}
    for offload in (False, True):
        mine = attempt(ours, path, point, offload, rounds) | {"offload": offload}
        if "seconds" in mine:
            break
    found: dict[str, Any] = {"model": name, **vars(point), "ours": mine}
    if with_trl:
        runs = [attempt(trl, path, point, n, rounds) | {"rows": n} for n in (point.group, 1)]
        found["trl"] = min(runs, key=lambda run: run.get("seconds", float("inf")))
    tokens = point.prompt + point.group * point.response
    for side, shared in (("ours", True), ("trl", False)):
        seconds = found.get(side, {}).get("seconds")
        if seconds:
            rate = model_flops(shape, point, shared) / seconds
            found[side] |= {"share_of_peak": rate / peak} if peak else {}
            found[side]["tokens_per_s"] = tokens / seconds  # the prompt counted once, for both
    if "seconds" in mine and "seconds" in found.get("trl", {}):
        found["ratio"] = found["trl"]["seconds"] / mine["seconds"]
    return found


COLUMNS = {
    "model": "{model}",
    "prompt": "{prompt:,}",
    "": "{side}",
    "seconds": "{seconds:.2f}",
    "tokens/s": "{tokens_per_s:,.0f}",
    "of peak": "{share_of_peak:.0%}",
    "memory": "{peak_gb:.1f} GB",
    "TRL / ours": "{ratio:.2f}",
}


def rows_of(points: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows of the table: each side of each point, with the time of TRL by that of ours."""
    for at in points:
        same = {"model": at["model"], "prompt": at["prompt"]}
        how = " offloaded" if at["ours"]["offload"] else ""
        yield {**same, "side": f"ours{how}{failure(at['ours'])}", **at["ours"]}
        if trl := at.get("trl"):
            ratio = {"ratio": at["ratio"]} if "ratio" in at else {}
            yield {**same, "side": f"TRL{failure(trl)}", **trl, **ratio}


def failure(run: dict[str, Any]) -> str:
    if "seconds" in run:
        return ""
    return ": out of memory" if "out_of_memory" in run else ": process died"


def main(
    models: Annotated[str, typer.Option(help="any of 0.6B, 1.7B, 4B")] = ",".join(SHAPES),
    prompts: Annotated[str, typer.Option(help="prompt lengths in tokens")] = PROMPTS,
    rounds: Annotated[int, typer.Option(help="timed steps")] = 2,
    with_trl: Annotated[bool, typer.Option("--trl/--no-trl", help="measure TRL too")] = True,
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
                with common.console.status(f"Qwen3-{name}, prompt {length:,}"):
                    at = common.Point(length, RESPONSE, GROUP)
                    points.append(measure(name, scratch, at, rounds, with_trl))
                common.console.print(points[-1], highlight=False)
    title = f"{card}: forward and backward, {GROUP} responses of {RESPONSE} tokens"
    common.print_table(title, COLUMNS, rows_of(points))
    common.write_result("gpu", {"card": card, "peak_flops": peak_flops(card), "points": points})


if __name__ == "__main__":
    typer.run(main)
