"""Measures what the real learner holds, in a process of its own; run by ``test_measured.py``.

Gets a list of points as JSON on the command line and prints the bytes of each, by part. Resident
memory is measured as in the benchmarks.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Point, memory_of, quiet, random_row
from qwenlong.config import LearnerConfig, SftStage
from qwenlong.learner.actor import LearnerActor
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.sft import SftJob
from qwenlong.types import Batch, Rope

VOCABULARY = 2_048


class Watched(GrpoLearner):
    """Records the gradients' bytes when an update starts."""

    gradients = 0

    def _update(self, *args: Any) -> tuple[float, bool]:
        grads = [p.grad for p in self.parameters.values() if p.grad is not None]
        self.gradients = sum(grad.nbytes for grad in grads)
        return super()._update(*args)


def build(folder: str, point: dict[str, Any]) -> None:
    """Writes a policy with the point's shape; ``build_tiny``'s vocabulary depends on its texts."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=point["hidden"],
        intermediate_size=point["intermediate"],
        num_hidden_layers=point["layers"],
        num_attention_heads=point["heads"],
        num_key_value_heads=point["kv_heads"],
        head_dim=point["hidden"] // point["heads"],
        max_position_embeddings=8192,
        rope_parameters=Rope(10_000.0, 8192).parameters(),
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)


@contextmanager
def saved_bytes(learner: GrpoLearner) -> Iterator[dict[int, int]]:
    """Bytes of the tensors that autograd saves meanwhile, without parameters, by address."""
    own = {p.untyped_storage().data_ptr() for p in learner.model.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield saved


def grpo(point: dict[str, Any]) -> dict[str, float]:
    config = LearnerConfig(activation_checkpointing=point["checkpointing"])

    def batch(at: Point) -> Batch:
        row = random_row(at, VOCABULARY)
        return Batch((row,), 1, 1e-6, at.response, temperature=1.0, top_p=point["top_p"])

    with tempfile.TemporaryDirectory() as folder:
        build(folder, point)
        learner = Watched(folder, "float32", config)
        learner.step(batch(Point(64, 8, 2)))
        measured = batch(Point(point["prompt"], point["response"], point["group"]))
        with saved_bytes(learner) as saved:
            added = memory_of(lambda: learner.step(measured))["added"] * 1e6
        states = learner.optimizer.state.values()
        return {
            "weights": sum(p.nbytes for p in learner.model.parameters()),
            "optimizer": sum(x.nbytes for each in states for x in each.values() if x.dim()),
            "gradients": learner.gradients,
            "activations": sum(saved.values()),
            "added": added,
        }


def sft(point: dict[str, Any]) -> dict[str, float]:
    config = LearnerConfig(activation_checkpointing=point["checkpointing"])
    actor = LearnerActor.__new__(LearnerActor)
    actor.dtype, actor.config, actor.logs, actor.first = "float32", config, {}, True
    with tempfile.TemporaryDirectory() as folder:
        build(folder, point)
        actor.learner = GrpoLearner(folder, "float32", config)
        actor.tokenizer = None
        rows, context = point["rows"], point["context"]

        def trained(name: str, length: int) -> None:
            half = length // 2
            row = (np.arange(half, dtype=np.int32), np.arange(length - half, dtype=np.int32))
            stage = SftStage(context=length, batch=rows)
            rope, trainer = Rope(1e4, 8192), Path(folder) / name
            actor.sft(SftJob(name, [row] * rows, stage, rope, trainer, None, 0, "stop"))

        trained("small", 32)
        return {"added": memory_of(lambda: trained("whole", context))["added"] * 1e6}


def main() -> None:
    quiet()
    torch.set_num_threads(2)
    kinds = {"grpo": grpo, "sft": sft}
    found = [kinds[point["kind"]](point) for point in json.loads(sys.argv[1])]
    sys.stdout.write("\n" + json.dumps(found))  # trainers write there, too


if __name__ == "__main__":
    main()
