"""Section ``rewards``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qwenlong.config.callables import REWARD, VERIFIER
from qwenlong.config.keys import REQUIRED, key
from qwenlong.config.rollout import EngineConfig


@dataclass(frozen=True)
class RewardConfig:
    """How the responses to one source's prompts are rewarded."""

    source: str = key(
        REQUIRED, "A source of data.train; * stands for all sources that have no line of their own."
    )
    rule: str | None = key(
        None,
        "The kind of answer whose verifier scores all responses; null takes each example's own"
        " kind.",
        names="a kind of docs/rewards.md",
        function=VERIFIER,
    )
    combine: str = key(
        "rule",
        "What the reward is: the rule's score, the judge's, or the max (QwenLong-L1), min or mean"
        " of both.",
        one_of=("rule", "judge", "max", "min", "mean"),
        function=REWARD,
    )


@dataclass(frozen=True)
class JudgeConfig:
    """A language model that compares responses with the gold answers."""

    model: str | None = key(
        None, "Its name at url; without url, a policy that engines of this run serve."
    )
    url: str | None = key(
        None, "Address of an OpenAI-compatible API, such as http://localhost:8000/v1."
    )
    key_env: str | None = key(None, "Environment variable that holds the API's key.")
    timeout_s: float = key(60.0, "Longest time of a call to url in seconds.", above=0)
    reply_tokens: int = key(
        256, "Longest reply in tokens; a judge that thinks needs more.", at_least=1
    )
    extra: dict[str, Any] = key(
        {},
        "More keys for the body of a request; engines of the run take chat_template_kwargs alone,"
        " such as {enable_thinking: false}.",
    )
    attempts: int = key(5, "Most calls for one verdict.", at_least=1)
    concurrency: int = key(
        16, "Calls at the same time; engines of the run take all of a step.", at_least=1
    )
    max_calls: int | None = key(
        None,
        "Most calls of the run, also when it is resumed; later responses are unjudged.",
        at_least=1,
    )
    max_tokens: int | None = key(None, "Most tokens of all calls, likewise.", at_least=1)
    cache: str | None = key(
        None,
        "File of verdicts that several runs may share, relative to the experiment file; null keeps"
        " one in the run's directory.",
        path=True,
    )
    engine: EngineConfig = key(
        EngineConfig, "Engines of a judge without url; they compute in policy.dtype."
    )

    @property
    def is_engine(self) -> bool:
        return self.model is not None and self.url is None


@dataclass(frozen=True)
class RewardsConfig:
    """How responses are rewarded in training. Evaluation counts each example's own kind alone."""

    by_source: list[RewardConfig] = key(
        [], "Rewards of some sources; all others are scored by each example's own kind of answer."
    )
    judge: JudgeConfig = key(JudgeConfig, "The judge that combine may ask.")
    unjudged: str = key(
        "stop",
        "What to do when the judge gives no verdict on a response: stop the run, take the rule's"
        " score, or drop the response.",
        one_of=("stop", "rule", "drop"),
    )
