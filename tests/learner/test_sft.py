"""SFT gone on with from its trainer's own checkpoints, to the bit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import AutoTokenizer
from transformers.trainer_pt_utils import LengthGroupedSampler

from qwenlong.config import LearnerConfig, SftStage
from qwenlong.disk.manifest import MANIFEST, fault
from qwenlong.learner.sft import (
    LOG,
    ByLength,
    SftRow,
    _answers_alone,
    fine_tune,
    go_back,
    sft_settings,
)
from qwenlong.model.pretrained import load_policy
from qwenlong.runs.checkpoints import trainer_checkpoint
from qwenlong.types import StoppedError, token_ids
from tests.disks import small_files

STAGE = SftStage(context=64, batch=4, epochs=3, learning_rate=1e-3, checkpoint_every=1)


def rows(shortest: int) -> list[SftRow]:
    rng = Random(0)
    lengths = [rng.randint(shortest, 20) for _ in range(22)]
    return [(token_ids(rng.choices(range(5, 99), k=n)), token_ids((7, 8, n))) for n in lengths]


def tuned(
    policy: Path, folder: Path, of: list[SftRow], checkpoint: Path | None = None
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    torch.manual_seed(1 if checkpoint else 0)  # what happened before is no part of it
    model = load_policy(str(policy), "float32")
    settings = sft_settings(STAGE, LearnerConfig(), of, folder, False, 5)
    settings.save_total_limit = None
    logged: list[dict[str, float]] = []
    fine_tune(
        model,
        AutoTokenizer.from_pretrained(policy),
        of,
        settings,
        checkpoint,
        logged.append,
        "stop",
    )
    return logged, dict(model.named_parameters())


def lasting(logged: list[dict[str, float]]) -> list[dict[str, float]]:
    timing = re.compile(r"seconds|_per_s$")
    return [{k: v for k, v in line.items() if not timing.search(k)} for line in logged]


def test_only_answers_are_scored_and_as_trl_scores_them(tiny_policy: Path) -> None:
    from trl.trainer.utils import add_fused_lm_head

    model = load_policy(str(tiny_policy), "float32")
    scored = ("log_probs", "entropy", "is_top1")
    add_fused_lm_head(model, outputs=scored)
    ids = torch.randint(5, 99, (4, 20), generator=torch.Generator().manual_seed(0))
    padding = torch.arange(20) >= torch.tensor([20, 13, 17, 9])[:, None]
    labels = ids.masked_fill(padding | (torch.arange(20) < 6), -100)
    mask = (~padding).long()
    batch: dict[str, Any] = {"input_ids": ids, "labels": labels, "attention_mask": mask}

    def gradients(log_probs: Tensor) -> list[Tensor | None]:
        model.zero_grad()
        log_probs.sum().backward()
        return [each.grad for each in model.parameters()]

    theirs = model(**batch, fused_lm_head=True)
    ours = _answers_alone(model, **batch, use_cache=False)
    assert torch.equal(ours.label_mask, theirs.label_mask)
    for name in scored:
        torch.testing.assert_close(ours[name], theirs[name].float(), rtol=1e-5, atol=1e-5)
    pairs = zip(gradients(ours.log_probs), gradients(theirs.log_probs), strict=True)
    for own, of_trl in pairs:
        torch.testing.assert_close(own, of_trl, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shortest", [5, 20], ids=["by length", "at random"])
def test_it_goes_on_as_if_it_had_not_been_stopped(
    shortest: int, tiny_policy: Path, tmp_path: Path
) -> None:
    of = rows(shortest)
    whole, weights = tuned(tiny_policy, tmp_path / "whole", of)
    assert len(whole) == 18
    for step in (3, 6, 8, 18):  # within an epoch, at its end, within the next, at the end
        checkpoint = tmp_path / "whole" / f"checkpoint-{step}"
        rest, same = tuned(tiny_policy, tmp_path / f"from-{step}", of, checkpoint)
        assert lasting(rest) == lasting(whole)[step:]
        assert all(torch.equal(each, same[name]) for name, each in weights.items())


def test_a_checkpoint_that_is_made_again_is_whole(tiny_policy: Path, tmp_path: Path) -> None:
    of = rows(20)
    tuned(tiny_policy, tmp_path, of)
    broken = tmp_path / "checkpoint-5"
    assert fault(broken) is None
    (broken / MANIFEST).write_text("")
    checkpoint = tmp_path / "checkpoint-4"
    go_back(tmp_path, checkpoint)
    assert not broken.exists()
    tuned(tiny_policy, tmp_path, of, checkpoint)
    assert trainer_checkpoint(tmp_path, 1) == tmp_path / "checkpoint-18"
    assert not any(fault(own) for own in tmp_path.glob("checkpoint-*"))


@pytest.mark.parametrize("written", ["nothing", "weights"])
def test_a_disk_without_room_is_said_in_one_line(
    written: str, tiny_policy: Path, tmp_path: Path
) -> None:
    weights = (tiny_policy / "model.safetensors").stat().st_size  # and the optimizer's are twice it
    limit = weights + 1_000 if written == "weights" else 1_000
    with small_files(limit), pytest.raises(StoppedError, match="cannot be written") as stopped:
        tuned(tiny_policy, tmp_path, rows(20))
    assert "\n" not in str(stopped.value)
    assert trainer_checkpoint(tmp_path, 1) is None


def test_every_row_once_an_epoch_in_another_order_like_lengths_together() -> None:
    order = ByLength(range(640), 8, seed=3)
    epochs: list[list[int]] = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        epochs.append(list(order))
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(640))
    assert epochs[0] == epochs[2] != epochs[1]
    spans = [max(part) - min(part) for part in (epochs[0][i : i + 8] for i in range(0, 640, 8))]
    assert sorted(spans)[40] < 60


def test_the_first_epoch_is_ordered_as_by_transformers_own_sampler() -> None:
    """So runs of one epoch are as they were before it had a sampler of its own."""
    lengths = [len(prompt) + len(answer) for prompt, answer in rows(5)]
    theirs = LengthGroupedSampler(4, lengths=lengths)
    torch.manual_seed(5)
    loader = iter(DataLoader(range(22), sampler=theirs))  # type: ignore[arg-type]
    assert [int(row) for row in loader] == list(ByLength(lengths, 4, seed=5))


def test_what_was_logged_is_kept_up_to_the_checkpoint(tmp_path: Path) -> None:
    lines = [{"step": step, "loss": 1 / 3} for step in (1, 2, 3)]
    (tmp_path / LOG).write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 4')
    assert go_back(tmp_path, tmp_path / "checkpoint-2") == lines[:2]
    assert go_back(tmp_path, tmp_path / "checkpoint-9") == lines[:2]
    assert go_back(tmp_path, None) == [] == go_back(tmp_path / "new", None)
    assert (tmp_path / "new" / LOG).read_text() == ""
