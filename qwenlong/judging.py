"""A run's rewards, made of its configuration, and the judge behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwenlong.config import Config, JudgeConfig, RewardsConfig
from qwenlong.rewards.hybrid import Rewards
from qwenlong.types import Example, InputError, Prompt, Rope, Sampling

STRICT = Rewards()
"""Each example's own kind of answer, no judge: what evaluation counts, whatever a run rewards."""

LONGEST_CASE = 8_192
"""Tokens of what a judge's engine is shown, at most."""


@dataclass(frozen=True)
class JudgePolicy:
    """What a judge's engines serve."""

    path: str
    rope: Rope
    longest: int
    """Prompt and reply, in tokens."""


def rules_of(config: RewardsConfig) -> Rewards:
    """The rewards without their judge."""
    by_source = {reward.source: reward for reward in config.by_source}
    return Rewards(by_source, unjudged=config.unjudged)


def judge_policy(config: JudgeConfig) -> JudgePolicy | None:
    """None if the run has no engines of a judge's.

    Raises:
        InputError: there is no such policy, or it cannot converse.
    """
    if not config.is_engine:
        return None
    from qwenlong.model.policy import native_rope

    path = str(config.model)
    try:
        rope = native_rope(path, None)
    except InputError as error:
        raise InputError(f"rewards.judge.model={path}: {error}") from None
    if not _tokenizer(path).chat_template:
        raise InputError(f"rewards.judge.model={path}: its tokenizer has no chat template")
    return JudgePolicy(path, rope, min(rope.limit, LONGEST_CASE + config.reply_tokens))


def probe_endpoint(config: Config, say: Callable[[str], None]) -> None:
    """Asks a judge's endpoint for a verdict before anything starts; ``say`` tells if it is away.

    Raises:
        InputError: it gives none, and rewards.unjudged is stop.
    """
    from qwenlong.rewards.judge import Judge

    if config.rewards.judge.url is not None:
        with _endpoint(config.rewards.judge) as complete:
            _probe(Judge(complete, _settings(config)), config, say)


@contextmanager
def open_rewards(
    config: Config,
    policy: JudgePolicy | None,
    root: Path,
    engines: Sequence[Any],
    say: Callable[[str], None],
) -> Iterator[Rewards]:
    """The rewards of a run whose directory is ``root``.

    Args:
        policy: what ``engines`` serve, if the judge has some.
        say: told if the judge gives no verdict now.
    """
    rewards = rules_of(config.rewards)
    own = config.rewards.judge
    if own.model is None:
        yield rewards
        return
    from qwenlong.rewards.judge import Judge
    from qwenlong.rewards.judge_store import Budget, Cache

    cache = Cache(Path(own.cache) if own.cache else root / "judge.sqlite")
    budget = Budget(own.max_calls, own.max_tokens)
    with ExitStack() as stack:
        reach = _engines(own, policy, engines) if policy else _endpoint(own)
        judge = Judge(stack.enter_context(reach), _settings(config), cache, budget)
        stack.callback(judge.close)
        if policy:
            _probe(judge, config, say)
        yield replace(rewards, judge=judge)


def _settings(config: Config) -> Any:
    from qwenlong.rewards.judge import Settings

    own = config.rewards.judge
    return Settings(str(own.model), own.attempts, own.concurrency, seed=config.seed)


def _probe(judge: Any, config: Config, say: Callable[[str], None]) -> None:
    from qwenlong.rewards.judge import probe

    why = probe(judge)
    if why:
        told = f"rewards.judge.model={judge.settings.model}: gives no verdict: {why}"
        if config.rewards.unjudged == "stop":
            raise InputError(told)
        say(f"{told}; while that lasts, rewards.unjudged={config.rewards.unjudged} holds")


@contextmanager
def _endpoint(config: JudgeConfig) -> Iterator[Any]:
    from qwenlong.rewards.judge_calls import Endpoint, HttpJudge

    endpoint = Endpoint(
        str(config.url),
        str(config.model),
        config.key_env or "",
        config.timeout_s,
        config.reply_tokens,
        config.extra,
    )
    try:
        complete = HttpJudge(endpoint)
    except InputError as error:
        raise InputError(f"rewards.judge.{error}") from None
    try:
        yield complete
    finally:
        complete.close()


@contextmanager
def _engines(config: JudgeConfig, policy: JudgePolicy, actors: Sequence[Any]) -> Iterator[Any]:
    from qwenlong.rewards.judge_calls import Gathered

    template = config.extra.get("chat_template_kwargs", {})
    conversing = Conversing(
        actors, _tokenizer(policy.path), policy.longest, config.reply_tokens, template
    )
    complete = Gathered(conversing, config.concurrency, timeout_s=config.timeout_s)
    try:
        yield complete
    finally:
        complete.close()


@dataclass(frozen=True)
class Conversing:
    """Answers many conversations at once, greedily, by rollout actors that serve a judge."""

    actors: Sequence[Any]
    tokenizer: Any
    longest: int
    """Prompt and reply, in tokens."""
    reply_tokens: int
    template: Mapping[str, Any]
    """Further arguments of the chat template."""

    def __call__(self, conversations: Sequence[list[dict[str, str]]]) -> list[Any]:
        from qwenlong.rewards.judge import JudgeError, Reply
        from qwenlong.rollout.collector import collect

        nobody = Example("judge", "judge", "", (), ())
        prompts = [Prompt(nobody, self._ids(messages)) for messages in conversations]
        fits = [len(prompt.ids) + self.reply_tokens <= self.longest for prompt in prompts]
        sampling = Sampling(1, self.reply_tokens, temperature=0.0)
        shown = [prompt for prompt, does in zip(prompts, fits, strict=True) if does]
        said = iter(collect(self.actors, shown, sampling, [0] * len(shown)))
        replies: list[Reply | JudgeError] = []
        for prompt, does in zip(prompts, fits, strict=True):
            if not does:
                why = f"{len(prompt.ids)} tokens to read and {self.reply_tokens} to write are"
                replies.append(JudgeError(f"{why} more than {self.longest}", permanent=True))
                continue
            [rollout] = next(said)
            if rollout.finish_reason == "length":
                replies.append(JudgeError("the reply was cut off at reply_tokens"))
            else:
                tokens = len(rollout.prompt_ids) + len(rollout.response_ids)
                replies.append(Reply(rollout.text, tokens))
        return replies

    def _ids(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        text = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, **self.template
        )
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)


def _tokenizer(path: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)
