"""The learner as the driver sees it: one process that holds the policy through all stages."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer

from qwenlong.config import LearnerConfig, SftStage
from qwenlong.learner.attention import SHARED_PROMPT
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.sft import SftRow, fine_tune
from qwenlong.types import Batch, Rope, StoredWeights


class LearnerActor:
    """Made a Ray actor by ``cluster``; a plain class, so that it can be used without Ray."""

    def __init__(self, path: str, dtype: str, config: LearnerConfig, seed: int) -> None:
        torch.manual_seed(seed)
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.learner = GrpoLearner(path, dtype, config)
        self.sft_log: list[dict[str, float]] = []

    def step(self, batch: Batch) -> dict[str, float]:
        return {**self.learner.step(batch), "peak_memory_gb": self.peak_memory_gb()}

    def sft(
        self, rows: Sequence[SftRow], stage: SftStage, rope: Rope, folder: Path, seed: int
    ) -> None:
        """Fine-tunes the policy; ``folder`` holds the trainer's own checkpoints meanwhile."""
        self.sft_log = []
        model = self.learner.model
        self.learner.stretch(rope)
        use_cache = model.config.use_cache
        model.set_attn_implementation("sdpa")
        optimizer = self.learner.config
        fine_tune(model, self.tokenizer, rows, stage, folder, seed, optimizer, self.sft_log.append)
        model.set_attn_implementation(SHARED_PROMPT)
        model.config.use_cache = use_cache  # the trainer switches it off for good

    def sft_progress(self, after: int) -> list[dict[str, float]]:
        """Reports of the running ``sft`` from the ``after``-th on; asked while it runs."""
        return self.sft_log[after:]

    def stretch(self, rope: Rope) -> None:
        self.learner.stretch(rope)

    def weights(self) -> StoredWeights:
        return StoredWeights.of(self.learner.weights())

    def save_state(self, folder: Path) -> None:
        torch.save(self.learner.state(), folder / "learner.pt")

    def restore_state(self, folder: Path) -> None:
        self.learner.restore(torch.load(folder / "learner.pt", weights_only=True))

    def save_policy(self, folder: Path) -> None:
        """Writes policy and tokenizer, loadable by transformers and vLLM, RoPE included."""
        self.learner.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def peak_memory_gb(self) -> float:
        """Most memory so far, in GiB: the GPU's where there is one, else the process's."""
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
