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
from qwenlong.learner.sft import SftRow, fine_tune, sft_settings
from qwenlong.model.policy import save_policy
from qwenlong.types import Batch, Rope, StoredWeights


class LearnerActor:
    """Made a Ray actor by ``cluster``; a plain class, so that it can be used without Ray."""

    def __init__(self, path: str, dtype: str, config: LearnerConfig, seed: int) -> None:
        torch.manual_seed(seed)
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.learner = GrpoLearner(path, dtype, config)
        self.sft_logs: dict[str, list[dict[str, float]]] = {}

    def step(self, batch: Batch) -> dict[str, float]:
        return {**self.learner.step(batch), "peak_memory_gb": self.peak_memory_gb()}

    def sft(
        self,
        name: str,
        rows: Sequence[SftRow],
        stage: SftStage,
        rope: Rope,
        folder: Path,
        resume_from: Path | None,
        seed: int,
    ) -> None:
        """Fine-tunes the policy; ``folder`` holds the trainer's own checkpoints meanwhile."""
        log = self.sft_logs.setdefault(name, [])
        model = self.learner.model
        self.learner.stretch(rope)
        use_cache = model.config.use_cache
        model.set_attn_implementation("sdpa")
        bf16 = self.learner.dtype == torch.bfloat16
        settings = sft_settings(stage, self.learner.config, len(rows), folder, bf16, seed)
        fine_tune(model, self.tokenizer, rows, settings, resume_from, log.append)
        model.set_attn_implementation(SHARED_PROMPT)
        model.config.use_cache = use_cache  # the trainer switches it off for good

    def sft_progress(self, name: str, after: int) -> list[dict[str, float]]:
        """What stage ``name`` logged from the ``after``-th line on; asked while it runs."""
        return self.sft_logs.get(name, [])[after:]

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
        save_policy(self.learner.model, self.learner.dtype, folder)
        self.tokenizer.save_pretrained(folder)

    def peak_memory_gb(self) -> float:
        """Most memory so far, in GiB: the GPU's where there is one, else the process's."""
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
