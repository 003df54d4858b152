"""Supervised fine-tuning of the learner's policy with TRL's SFTTrainer."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils.data import Sampler

from qwenlong.config import LearnerConfig, SftStage
from qwenlong.disk.files import room_for, sync, write_whole
from qwenlong.disk.manifest import file_entry, seal, trainer_step
from qwenlong.learner.logprobs import token_stats
from qwenlong.types import Rope, TokenIds

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
    from trl import SFTConfig

SftRow = tuple[TokenIds, TokenIds]
"""A prompt and its worked answer."""
LOG = "log.jsonl"
"""A stage's metrics, in the folder that also has the trainer's checkpoints."""
BY_LENGTH = "group_by_length"
DECAY = 0.2
"""Share of the updates over which the learning rate falls to 0 at the end."""


@dataclass(frozen=True, eq=False)
class SftJob:
    """A stage of supervised fine-tuning, as the learner's processes get it."""

    name: str
    rows: Sequence[SftRow]
    stage: SftStage
    rope: Rope
    folder: Path
    """Holds the trainer's own checkpoints while the stage runs."""
    resume_from: Path | None
    """One of these checkpoints."""
    seed: int
    non_finite: str
    """``guards.non_finite``: what an update whose gradient is not finite leads to."""


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[SftRow],
    settings: SFTConfig,
    resume_from: Path | None,
    on_log: Callable[[dict[str, float]], None],
    non_finite: str,
) -> None:
    """Trains ``model`` in place on the answers' tokens (mean negative log-likelihood a token).

    Args:
        resume_from: the trainer's own checkpoint to continue from.
        on_log: called after every update with ``step`` and metrics.
        non_finite: what to do when an update's gradient is not finite. skip leaves the update out;
            stop also ends the training, with the weights from before that update.
    """
    from datasets import Dataset
    from trl import SFTTrainer

    class Trainer(SFTTrainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            if settings.train_sampling_strategy != BY_LENGTH:
                return super()._get_train_sampler(train_dataset)
            batch = settings.train_batch_size * settings.gradient_accumulation_steps
            return ByLength(_lengths(rows), batch, settings.seed)

        def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            with room_for(Path(settings.output_dir)):
                super()._save_checkpoint(*args, **kwargs)

    dataset = Dataset.from_dict(
        {
            "input_ids": [[*prompt.tolist(), *answer.tolist()] for prompt, answer in rows],
            "completion_mask": [[0] * len(prompt) + [1] * len(answer) for prompt, answer in rows],
        }
    )
    # The learner's processes have sharded the policy; the trainer must not wrap it again.
    model._is_accelerate_prepared = dist.is_initialized()
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[_reporter(on_log), _guard(non_finite), _sealer()],
    )
    if model.device.type == "cpu" and not trainer.aux_loss_enabled:
        model.forward = MethodType(_answers_alone, model)
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)


def _answers_alone(
    model: Any, *, labels: Tensor, fused_lm_head: bool = True, attention_mask: Tensor | None = None,
    **inputs: Any,
) -> Any:  # fmt: skip
    """Takes the place of the forward pass that TRL gives a model, with the same output.

    On the CPU TRL projects every token to the vocabulary, the prompts' too, which was a third of
    an update. Rows are padded on the right, so causal attention needs no mask: with one, PyTorch's
    kernel computes the whole square of scores.
    """
    from trl.trainer.utils import FusedCausalLMOutput

    hidden = model.model(**inputs).last_hidden_state[:, :-1]
    labels = labels[:, 1:]
    answers = labels != -100
    stats = token_stats(hidden[answers], model.lm_head.weight, labels[answers], 1.0, 1.0)

    def placed(values: Tensor) -> Tensor:
        return values.new_zeros(labels.shape).masked_scatter(answers, values)

    return FusedCausalLMOutput(
        log_probs=placed(stats.logprobs),
        entropy=placed(stats.entropy),
        is_top1=placed(stats.most_likely),
        label_mask=answers,
    )


class ByLength(Sampler[int]):
    """Rows in transformers' order by length, which depends only on the seed and the epoch.

    transformers' own sampler draws from the global random generator, whose state differs when
    training is resumed within an epoch: some rows would come twice and others never.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        from transformers.trainer_pt_utils import get_length_grouped_indices

        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        # torch's loader draws once before transformers' sampler does; so the first epoch is equal.
        torch.empty((), dtype=torch.int64).random_(generator=generator)
        return iter(get_length_grouped_indices(self.lengths, self.batch, generator=generator))


def _lengths(rows: Sequence[SftRow]) -> list[int]:
    return [len(prompt) + len(answer) for prompt, answer in rows]


def go_back(folder: Path, checkpoint: Path | None) -> list[dict[str, float]]:
    """Removes what a stage logged after the trainer's checkpoint, and returns the metrics before.

    Later checkpoints are removed, too: the trainer would write into them.
    """
    step = trainer_step(checkpoint)
    for later in folder.glob("checkpoint-*"):
        if trainer_step(later) > step:
            shutil.rmtree(later)
    file = folder / LOG
    lines = file.read_text().split("\n")[:-1] if file.is_file() else []  # the last may be cut off
    kept = [logged for logged in map(json.loads, lines) if logged["step"] <= step]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, "".join(f"{json.dumps(logged)}\n" for logged in kept))
    return kept


def sft_settings(
    stage: SftStage,
    optimizer: LearnerConfig,
    rows: Sequence[SftRow],
    folder: Path,
    bf16: bool,
    seed: int,
) -> SFTConfig:
    """The trainer's settings.

    Rows of similar length go into one batch, which saves padding. Where there is little to save
    they are drawn at random: the policy would first learn what a batch's rows have in common.

    Args:
        optimizer: AdamW's settings, the same as in the RL phases.
        folder: where the trainer writes its checkpoints.
    """
    from trl import SFTConfig

    micro_batch = stage.micro_batch or stage.batch
    processes = optimizer.processes
    updates = stage.epochs * math.ceil(len(rows) / stage.batch)
    lengths = _lengths(rows)
    unequal = max(lengths) > 1.2 * min(lengths)
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=stage.epochs,
        per_device_train_batch_size=micro_batch // processes,
        gradient_accumulation_steps=stage.batch // micro_batch,
        gradient_checkpointing=optimizer.activation_checkpointing,
        learning_rate=stage.learning_rate,
        adam_beta1=optimizer.beta1,
        adam_beta2=optimizer.beta2,
        weight_decay=optimizer.weight_decay,
        max_grad_norm=optimizer.max_grad_norm,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": math.ceil(DECAY * updates)},
        warmup_steps=stage.warmup,
        train_sampling_strategy=BY_LENGTH if unequal else "random",
        max_length=None,
        completion_only_loss=True,
        logging_steps=1,
        logging_nan_inf_filter=False,  # the filter would log the mean of earlier steps instead
        # The trainer saves from its first process only, which has just a shard of the weights.
        save_strategy="steps" if processes == 1 else "no",
        save_steps=stage.checkpoint_every,
        save_total_limit=2,  # the older one is needed until the newer one has its manifest
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        bf16=bf16,
        seed=seed,
        dataloader_pin_memory=False,
    )


def _guard(non_finite: str) -> TrainerCallback:
    from transformers import TrainerCallback

    class Guard(TrainerCallback):
        """Leaves out updates whose gradient is not finite; a loss that is not finite gives one."""

        left_out = False

        def on_pre_optimizer_step(
            self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
        ) -> None:
            if non_finite == "warn":
                return
            grads = [each.grad for each in model.parameters() if each.grad is not None]
            own = [each.to_local() if isinstance(each, DTensor) else each for each in grads]
            odd = torch.stack([(~torch.isfinite(each)).any() for each in own]).any().float()
            if dist.is_initialized():
                dist.all_reduce(odd, dist.ReduceOp.MAX)
            self.left_out = bool(odd)
            if self.left_out:
                model.zero_grad()  # the optimizer skips parameters without a gradient

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.left_out and non_finite == "stop":
                control.should_training_stop = True
                control.should_save = False

    return Guard()


def _sealer() -> TrainerCallback:
    from transformers import TrainerCallback

    class Sealer(TrainerCallback):
        """Adds a manifest to each of the trainer's checkpoints, as the run's own have one."""

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            stage = Path(args.output_dir)
            folder = stage / f"checkpoint-{state.global_step}"
            written = [file for file in sorted(folder.rglob("*")) if file.is_file()]
            for file in (*written, *stage.glob(LOG), stage):
                sync(file)
            seal(folder, {str(file.relative_to(folder)): file_entry(file) for file in written})

    return Sealer()


def _reporter(on_log: Callable[[dict[str, float]], None]) -> TrainerCallback:
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        """Passes TRL's metrics on, with the seconds and tokens of the update."""

        def __init__(self) -> None:
            self.tokens, self.time = 0.0, time.perf_counter()

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any
        ) -> None:
            if "loss" not in logs:
                return
            now = time.perf_counter()
            seconds, tokens = now - self.time, logs["num_tokens"] - self.tokens
            self.time, self.tokens = now, logs["num_tokens"]
            on_log(
                {
                    "step": state.global_step,
                    **{name: logs[name] for name in ("loss", "grad_norm", "learning_rate")},
                    "entropy": logs["entropy"],
                    "token_accuracy": logs["mean_token_accuracy"],
                    "tokens_per_s": tokens / seconds,
                    "learner_tokens_per_s": tokens / seconds,
                    "seconds_learn": seconds,
                    "seconds_step": seconds,
                }
            )

    return Reporter()
