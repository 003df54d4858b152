"""The contracts: the only things that cross from one room to another.

Everything is frozen, and importing this loads neither torch nor numpy, so that the rooms that need
none stay light. Lengths are in tokens of the policy's tokenizer, chat template included.

Objects that hold arrays are compared by identity (``eq=False``): two arrays have no single truth
value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Split = Literal["train", "held_out"]
CountTokens = Callable[[str], int]
TokenIds: TypeAlias = "NDArray[np.int32]"
"""[n]. A token of a Python tuple takes 36 bytes and is pickled by itself; here it takes 4."""
Logprobs: TypeAlias = "NDArray[np.float32]"
"""[n], in nats. The engine computes them in float32, so nothing is lost."""


def token_ids(ids: Sequence[int]) -> TokenIds:
    # Rewards and `qwenlong score` use this module, and start faster without numpy.
    import numpy as np

    return np.array(ids, np.int32)


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
    """The run cannot continue now. The message is one line; what the run has done is kept."""


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
    """The policy that a judge's engines serve."""

    path: str
    rope: Rope
    longest: int
    """Longest row of prompt and reply, in tokens."""


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn. ``n`` responses a prompt, each at most ``max_tokens`` long."""

    n: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, eq=False)
class Request:
    """What an engine answers: a prompt, and the seed that fixes its responses.

    The seed makes the responses independent of which engine answers, when, and with which others.
    """

    ids: TokenIds
    seed: int


@dataclass(frozen=True, eq=False)
class Rollout:
    """One sampled response of n tokens."""

    response_ids: TokenIds
    logprobs: Logprobs
    """The distribution that was sampled from: after temperature and top-p."""
    finish_reason: str
    """``stop`` if the policy ended the response itself, ``length`` if it was cut at the limit."""
    version: int
    """The weights that sampled it; see ``Engine.load``."""
    text: str


Generate = Callable[[Sequence[Request], Sampling], list[tuple[Rollout, ...]]]
"""``sampling.n`` rollouts of every request, in the requests' order."""


@dataclass(frozen=True)
class Score:
    """A verdict in [0, 1] with a breakdown that a person can read.

    The value is NaN if the judge gave no verdict: such a response is left out, never counted as 0.
    """

    value: float
    verifier: str
    breakdown: Mapping[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        return not math.isnan(self.value)


@dataclass(frozen=True, eq=False)
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
        """One for each of the judged rollouts."""
        return tuple(score.value for score in self.scores if score.judged)


@dataclass(frozen=True, eq=False)
class Row:
    """A group packed for the learner: its prompt once, its G responses after it."""

    prompt_ids: TokenIds
    responses: tuple[TokenIds, ...]
    logprobs: tuple[Logprobs, ...]
    """The engine's, of each response."""
    advantages: tuple[float, ...]
    """One a response."""
    stale: bool = False
    """Sampled by an earlier version of the policy than the one that is trained."""


@dataclass(frozen=True)
class Limits:
    """Bounds beyond which the learner leaves an update out. No bound by default."""

    finite: bool = False
    """Loss and gradient norm of the update must be finite."""
    engine_kl: float = math.inf
    """Nats a token between engine and learner, over the whole batch before its first update."""


@dataclass(frozen=True, eq=False)
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
class RowMetrics:
    """What the learner found in one row of a batch."""

    engine_kl: float
    """Nats a token between engine and learner; 0 for stale and for empty rows."""
    finite: bool
    """Whether all its log-probabilities are finite, the engine's and the learner's."""


@dataclass(frozen=True)
class StepResult:
    metrics: dict[str, float]
    rows: tuple[RowMetrics, ...]
    """One for each row of the batch, in its order."""


@dataclass(frozen=True, eq=False)
class StoredWeights:
    """Weights as NumPy arrays in Ray's object store, which readers share without copying.

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
    """Samples responses from a policy. One engine is one actor; ``cluster`` pools several."""

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[tuple[Rollout, ...]]:
        """See ``Generate``. Every rollout carries the version of the weights that sampled it."""
        ...

    def load(self, weights: StoredWeights, version: int) -> None:
        """Takes whole tensors in Hugging Face names and drops every cache of older weights."""
        ...

    def set_rope(self, rope: Rope) -> None:
        """Changes the rotary embedding to that of another phase."""
        ...


class Learner(Protocol):
    """Holds the trained weights and their optimizer: one process, or several behind one handle."""

    def step(self, batch: Batch) -> StepResult:
        """Trains once on every row."""
        ...

    def set_rope(self, rope: Rope) -> None: ...

    def keep_reference(self) -> None:
        """Takes the current weights as the reference of the KL term, if there is one."""
        ...

    def save_policy(self, folder: Path) -> None:
        """Writes the policy so that transformers and vLLM can load it, RoPE included."""
        ...
