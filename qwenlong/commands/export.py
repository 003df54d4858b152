"""Exports the policy of a checkpoint, in the form that a run leaves in ``policy/``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from qwenlong.config import TINY, Config
from qwenlong.config.reading import load_config
from qwenlong.disk.files import whole_folder
from qwenlong.learner.distributed.storage import StoredTensors
from qwenlong.learner.lora import add_adapters, merged_tensors
from qwenlong.model.pretrained import load_policy, native_rope, save_policy, set_rope
from qwenlong.runs.checkpoints import (
    Checkpoint,
    RunState,
    best_checkpoint,
    last_checkpoint,
    read_checkpoint,
)
from qwenlong.runs.directory import RunDir
from qwenlong.types import InputError, StoppedError


def export(where: Path, out: Path, best: bool, say: Callable[[str], None]) -> RunState:
    """Writes policy and tokenizer to ``out``, with the RoPE of the checkpoint's stage.

    Args:
        where: a checkpoint; or a run, whose last checkpoint is taken, or the ``best``.

    Returns:
        Where the run was.

    Raises:
        InputError: there is no such checkpoint, or it is not complete; ``out`` is not empty, or
            its disk is full.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError(f"--out={out}: is there already; name a new folder")
    transformers_logging.disable_progress_bar()
    run, checkpoint = _found(where, best, say)
    config = load_config(run.config)
    policy = str(run.initial_policy) if config.policy.path == TINY else config.policy.path
    native_rope(policy, None)  # an InputError if the policy is no longer there
    try:
        with whole_folder(out) as partial:
            _write(checkpoint, config, policy, partial)
    except StoppedError as error:
        raise InputError(f"--out={error}") from None
    return checkpoint.state


def _found(where: Path, best: bool, say: Callable[[str], None]) -> tuple[RunDir, Checkpoint]:
    if (where / "config.yaml").is_file():
        run = RunDir.open(where)
        last = best_checkpoint(run.checkpoints) if best else last_checkpoint(run.checkpoints, say)
        if not last:
            raise InputError(f"{where}: has no checkpoint yet")
        return run, last
    if not where.is_dir():
        raise InputError(f"{where}: no such checkpoint or run")
    if best:
        raise InputError(f"--best: goes with a run, and {where} is none")
    if where.resolve().parent.name != "checkpoints":
        raise InputError(f"{where}: neither a run nor a checkpoint in a run's checkpoints/")
    # The run's configuration says which policy it was trained from, and how.
    return RunDir.open(where.resolve().parent.parent), read_checkpoint(where)


@torch.no_grad()
def _write(checkpoint: Checkpoint, config: Config, policy: str, folder: Path) -> None:
    dtype, learner = getattr(torch, config.policy.dtype), config.learner
    masters = "float32" if dtype == torch.bfloat16 else config.policy.dtype
    model = load_policy(policy, masters)
    if learner.lora_rank:
        add_adapters(model, learner.lora_rank, learner.lora_alpha)
    stored = StoredTensors(checkpoint.folder)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(stored.like(f"model/{name}", parameter))
    set_rope(model, checkpoint.state.rope)
    save_policy(model, merged_tensors(model), dtype, folder)
    AutoTokenizer.from_pretrained(policy).save_pretrained(folder)
