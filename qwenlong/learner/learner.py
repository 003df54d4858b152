"""The GRPO learner: rollout batches in, optimizer updates done, metrics out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from qwenlong.config import LearnerConfig
from qwenlong.learner.attention import SHARED_PROMPT, Layout
from qwenlong.learner.logprobs import TokenStats, token_stats
from qwenlong.learner.loss import grpo_loss
from qwenlong.model.policy import load_policy, stretch
from qwenlong.types import Batch, Rope, Row


class GrpoLearner:
    """Holds the trained weights and their AdamW state; see ``types.Learner``.

    A bf16 policy has fp32 weights and optimizer here and computes under autocast: an update of
    bf16 weights at a learning rate of 1e-6 would mostly round to nothing.
    """

    def __init__(self, path: str, dtype: str, config: LearnerConfig) -> None:
        self.config = config
        self.dtype = getattr(torch, dtype)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        masters = "float32" if dtype == "bfloat16" else dtype
        self.model = load_policy(path, masters, attention=SHARED_PROMPT).to(self.device)
        if config.activation_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        )

    def step(self, batch: Batch) -> dict[str, float]:
        """Trains once on every row, ``batch.mini_batch`` rows an optimizer update.

        Returns:
            Means over the step's response tokens (nats) and over its updates; tokens a second
            count a shared prompt once.
        """
        started = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = batch.learning_rate
        on_policy = batch.mini_batch == len(batch.rows)
        old = (
            [None] * len(batch.rows) if on_policy else [self._old(row, batch) for row in batch.rows]
        )
        totals: dict[str, float] = {}
        norms = []
        for first in range(0, len(batch.rows), batch.mini_batch):
            rows = range(first, min(first + batch.mini_batch, len(batch.rows)))
            for i in rows:
                for name, value in self._backward(batch.rows[i], batch, old[i], len(rows)).items():
                    totals[name] = totals.get(name, 0.0) + value
            norms.append(
                torch.nn.utils.clip_grad_norm_(
                    self.model.parameters(), self.config.max_grad_norm
                ).item()
            )
            self.optimizer.step()
            self.optimizer.zero_grad()
        return _summary(totals, norms, batch, time.perf_counter() - started)

    def stats(self, row: Row, temperature: float, top_p: float) -> TokenStats:
        """One forward pass over a row: the prompt once, its responses after it."""
        layout = Layout(len(row.prompt_ids), tuple(len(ids) for ids in row.responses))
        responses = [token for ids in row.responses for token in ids]
        ids = torch.tensor([[*row.prompt_ids, *responses]], device=self.device)
        tokens = torch.tensor(responses, device=self.device, dtype=torch.long)
        bf16 = self.dtype == torch.bfloat16
        with torch.autocast(self.device, torch.bfloat16, enabled=bf16):
            hidden = self.model.model(
                input_ids=ids,
                position_ids=layout.positions().to(self.device),
                use_cache=False,
                layout=layout,
                response_mask=layout.response_mask().to(self.device),
            ).last_hidden_state[0, layout.predictors().to(self.device)]
            head = self.model.lm_head.weight
            return token_stats(hidden, head, tokens, temperature, top_p, self.config.logprob_chunk)

    def _old(self, row: Row, batch: Batch) -> TokenStats:
        with torch.no_grad():
            return self.stats(row, batch.temperature, batch.top_p)

    def _backward(
        self, row: Row, batch: Batch, old: TokenStats | None, rows: int
    ) -> dict[str, float]:
        # A group without variance has no gradient: its forward pass is for the metrics alone.
        compared = any(row.advantages)
        with torch.set_grad_enabled(compared):
            stats = self.stats(row, batch.temperature, batch.top_p)
        before = old.logprobs if old else stats.logprobs.detach()
        loss, metrics = grpo_loss(
            stats.logprobs,
            before,
            row.advantages,
            [len(ids) for ids in row.responses],
            self.config.clip_low,
            self.config.clip_high,
        )
        if compared:
            (loss / rows).backward()
        tokens = len(before)
        start = old or stats
        return {
            "loss": loss.item(),
            "tokens": tokens,
            "entropy": start.entropy.sum().item(),
            "clip_share": metrics["clip_share"] * tokens,
            "engine_learner_kl": engine_kl(row, start).sum().item(),
        }

    def stretch(self, rope: Rope) -> None:
        stretch(self.model, rope)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Whole tensors of the policy's dtype in Hugging Face names, one at a time."""
        for name, tensor in self._masters():
            yield name, tensor.to(self.dtype)

    def _masters(self) -> Iterator[tuple[str, Tensor]]:
        """The weights that are trained; a tied head is left out."""
        tied = self.model.config.tie_word_embeddings
        for name, tensor in self.model.state_dict().items():
            if not (tied and name == "lm_head.weight"):
                yield name, tensor

    def state(self) -> dict[str, Any]:
        return {
            "model": dict(self._masters()),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"], strict=False)
        self.model.tie_weights()
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])


def engine_kl(row: Row, stats: TokenStats) -> Tensor:
    """KL between engine and learner, estimated at each sampled token [R], in nats.

    The engine samples, so with d = log p_learner - log p_engine the unbiased, non-negative
    estimate of KL(engine || learner) is exp(d) - 1 - d (Schulman, "Approximating KL divergence").
    The engine's top-p renormalises its probabilities, which the learner's nucleus mass undoes.
    """
    engine = torch.tensor([x for part in row.logprobs for x in part], device=stats.logprobs.device)
    gap = stats.logprobs.detach() - stats.nucleus_logmass - engine
    gap = gap.double()  # exp(d) - 1 - d of a tiny d is all cancellation in fp32
    return gap.expm1() - gap


def _summary(
    totals: dict[str, float], norms: list[float], batch: Batch, seconds: float
) -> dict[str, float]:
    tokens = max(totals.pop("tokens"), 1)
    loss = totals.pop("loss") / len(batch.rows)
    row_tokens = sum(len(row.prompt_ids) + sum(map(len, row.responses)) for row in batch.rows)
    summary = {name: value / tokens for name, value in totals.items()}
    grad_norm = math.fsum(norms) / len(norms)
    return {
        "loss": loss,
        **summary,
        "grad_norm": grad_norm,
        "learner_tokens_per_s": row_tokens / seconds,
    }
