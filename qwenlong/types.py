"""The contracts: the only things that cross from one room to another.

Everything is frozen, and nothing here imports torch, so that the rooms that need none stay
light. Lengths are in tokens of the policy's tokenizer, chat template included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["train", "held_out"]
CountTokens = Callable[[str], int]


class InputError(ValueError):
    """The user's input is wrong: one line with the key, the value and what would be right."""


def require(holds: bool, key: str, value: Any, right: str) -> None:
    """
    Raises:
        InputError: it does not hold; ``right`` says what would be.
    """
    if not holds:
        raise InputError(f"{key}={value}: {right}")


class StoppedError(RuntimeError):
    """A run cannot go on now, for a reason to be told in one line; what it has done is kept."""


@dataclass(frozen=True)
class Example:
    """A question over documents, with the answers that count as right."""

    id: str
    source: str
    question: str
    documents: tuple[str, ...]
    answers: tuple[str, ...]
    kind: str = "extractive"
    reasoning: str = ""
    """A worked solution that supervised fine-tuning can imitate; empty where there is none."""
    gold_documents: tuple[int, ...] = ()
    """Which of the documents hold the answer; empty where that is not known."""
    group: str = ""
    """Examples of one group share documents and stay on one side of every split; empty: alone."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prompt:
    """An example as the policy reads it: the chat template's token ids."""

    example: Example
    ids: tuple[int, ...]
    cut: int = 0
    """Document tokens that the truncation policy removed."""


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding of a phase: the one object that learner and engine both follow.

    ``factor`` 1 is the native embedding; above 1 it is YaRN (Peng et al., arXiv 2309.00071)
    over the native ``window``.
    """

    theta: float
    window: int
    factor: float = 1.0

    @property
    def limit(self) -> int:
        """The longest row, prompt and response together, in tokens."""
        return int(self.window * self.factor)

    def parameters(self) -> dict[str, Any]:
        """The ``rope_parameters`` of a Hugging Face configuration."""
        if self.factor == 1.0:
            return {"rope_type": "default", "rope_theta": self.theta}
        return {
            "rope_type": "yarn",
            "rope_theta": self.theta,
            "factor": self.factor,
            "original_max_position_embeddings": self.window,
        }


@dataclass(frozen=True)
class JudgePolicy:
    """What a judge's engines serve."""

    path: str
    rope: Rope
    longest: int
    """Prompt and reply, in tokens."""


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn. ``n`` responses a prompt, each at most ``max_tokens`` long."""

    n: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Rollout:
    """One sampled response. ``logprobs`` are the behaviour policy's, one a response token."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    version: int
    text: str


@dataclass(frozen=True)
class Score:
    """A verdict in [0, 1] with a breakdown that a person can read.

    NaN where a judge that was asked for gave none: such a response is left out, never a 0.
    """

    value: float
    verifier: str
    breakdown: Mapping[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        return not math.isnan(self.value)


@dataclass(frozen=True)
class Group:
    """One prompt and its G scored rollouts, in the order in which they were sampled."""

    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    scores: tuple[Score, ...]

    @property
    def judged(self) -> tuple[Rollout, ...]:
        """The rollouts to learn from."""
        pairs = zip(self.rollouts, self.scores, strict=True)
        return tuple(rollout for rollout, score in pairs if score.judged)

    @property
    def rewards(self) -> tuple[float, ...]:
        """Of the rollouts that were judged."""
        return tuple(score.value for score in self.scores if score.judged)


@dataclass(frozen=True)
class Row:
    """A group packed for the learner: its prompt once, its G responses after it."""

    prompt_ids: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]
    logprobs: tuple[tuple[float, ...], ...]
    advantages: tuple[float, ...]
    stale: bool = False
    """Sampled by an earlier version of the policy than the one that is trained."""


@dataclass(frozen=True)
class Limits:
    """What holds the optimizer back: an update beyond them is left out. None by default."""

    finite: bool = False
    """Loss and gradient norm of the update are to be finite."""
    engine_kl: float = math.inf
    """Of the whole batch, before its first update: nats a token between engine and learner."""


@dataclass(frozen=True)
class Batch:
    """What the learner takes for one step, and how its responses were sampled.

    ``mini_batch`` rows make one optimizer update.
    """

    rows: tuple[Row, ...]
    mini_batch: int
    learning_rate: float
    response_limit: int
    """Longest response that could be sampled, in tokens."""
    temperature: float = 1.0
    top_p: float = 1.0
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class RowFigures:
    """What a batch's row was to the learner."""

    engine_kl: float
    """Nats a token between engine and learner; 0 for stale and for empty rows."""
    finite: bool
    """Whether all its log-probabilities are numbers, the engine's and the learner's."""


@dataclass(frozen=True)
class StoredWeights:
    """Weights as they lie in Ray's object store: arrays that readers share, not copy.

    NumPy has no bfloat16, so its bits travel as int16; ``dtypes`` names the tensors' own.
    """

    names: tuple[str, ...]
    arrays: tuple[Any, ...]
    dtypes: tuple[str, ...]

    @classmethod
    def of(cls, weights: Iterable[tuple[str, Tensor]]) -> StoredWeights:
        import torch

        stored = []
        for name, tensor in weights:
            dtype = str(tensor.dtype).removeprefix("torch.")
            bits = tensor.view(torch.int16) if dtype == "bfloat16" else tensor
            stored.append((name, bits.detach().cpu().numpy(), dtype))
        names, arrays, dtypes = zip(*stored, strict=True)
        return cls(names, arrays, dtypes)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        import torch

        for name, array, dtype in zip(self.names, self.arrays, self.dtypes, strict=True):
            yield name, torch.from_numpy(array).view(getattr(torch, dtype))


class Engine(Protocol):
    """Generates from the policy's weights, whose version it stamps on every rollout."""

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]
    ) -> list[tuple[Rollout, ...]]: ...

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Takes whole tensors in Hugging Face names and drops every cache of older weights."""
        ...

    def stretch(self, rope: Rope) -> None:
        """Changes the rotary embedding to that of another phase."""
        ...

    def close(self) -> None: ...


class Learner(Protocol):
    """Holds the trained weights and their optimizer."""

    def step(self, batch: Batch) -> dict[str, float]: ...

    def row_figures(self) -> list[RowFigures]:
        """Of the last step's rows, in their order."""
        ...

    def stretch(self, rope: Rope) -> None: ...

    def weights(self) -> Iterable[tuple[str, Tensor]]: ...

    def keep_reference(self) -> None: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, stored: Any) -> None: ...
