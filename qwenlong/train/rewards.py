"""Builds a run's rewards from its configuration, with the judge behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwenlong.config import Config, JudgeConfig
from qwenlong.model.pretrained import chat_tokenizer, native_rope
from qwenlong.rewards.hybrid import Rewards
from qwenlong.rewards.judge.judge import Complete, Judge, JudgeError, Reply, probe
from qwenlong.rewards.judge.prompt import Messages
from qwenlong.rewards.judge.store import Budget, Store
from qwenlong.types import (
    Generate,
    InputError,
    JudgePolicy,
    Request,
    Rollout,
    Sampling,
    StoppedError,
    TokenIds,
    token_ids,
)

if TYPE_CHECKING:
    from qwenlong.rewards.judge.calls import HttpJudge

LONGEST_CASE = 8_192
"""Longest prompt of a judge's engine, in tokens."""


def rule_rewards(config: Config) -> Rewards:
    """The rewards of training, without their judge."""
    rewards = config.rewards
    by_source = {reward.source: reward for reward in rewards.by_source}
    return Rewards(by_source, unjudged=rewards.unjudged, thinking=config.data.thinking)


def strict_rewards(config: Config) -> Rewards:
    """The rewards of evaluation: the rule of each example's kind, whatever the training rewards."""
    return Rewards(thinking=config.data.thinking)


def judge_policy(config: JudgeConfig) -> JudgePolicy | None:
    """What the judge's engines serve; None if the run has no such engines.

    Raises:
        InputError: there is no such policy, or it has no chat template.
    """
    if not config.is_engine:
        return None
    path = str(config.model)
    rope = native_rope(path, None, key="rewards.judge.model")
    chat_tokenizer(path, key="rewards.judge.model")
    # A shorter limit than the policy's own saves the engines' memory for keys and values.
    return JudgePolicy(path, rope, min(rope.limit, LONGEST_CASE + config.reply_tokens))


def check_judge(config: Config, say: Callable[[str], None]) -> None:
    """Opens the judge's cache and asks its endpoint for a verdict, before anything starts.

    Args:
        say: prints a warning if the endpoint gives no verdict.

    Raises:
        InputError: the cache cannot be read; or there is no verdict, and rewards.unjudged is stop.
    """
    judge = config.rewards.judge
    if judge.cache:
        _shared(judge.cache).close()
    if judge.url is not None:
        with closing(_endpoint(judge)) as complete:
            _probe(complete, config, say, InputError)


@contextmanager
def open_rewards(
    config: Config,
    policy: JudgePolicy | None,
    root: Path,
    generate: Generate | None,
    say: Callable[[str], None],
) -> Iterator[Rewards]:
    """The rewards of a run whose directory is ``root``.

    Args:
        policy: what the judge's engines serve, if it has engines.
        generate: how they are asked.
        say: prints a warning if they give no verdict.

    Raises:
        StoppedError: they give no verdict, and rewards.unjudged is stop.
    """
    rewards = rule_rewards(config)
    judge = config.rewards.judge
    if judge.model is None:
        yield rewards
        return
    with ExitStack() as stack:
        # The budget is kept in the run's own file, even if the verdicts are in a shared cache.
        own = stack.enter_context(closing(Store(root / "judge.sqlite")))
        store = stack.enter_context(closing(_shared(judge.cache))) if judge.cache else own
        complete: Complete
        if policy and generate:
            complete = _by_engines(judge, policy, generate)
            _probe(complete, config, say, StoppedError)
        else:
            complete = stack.enter_context(closing(_endpoint(judge)))
        budget = Budget(judge.max_calls, judge.max_tokens, own)
        yield replace(rewards, judge=Judge(complete, judge, config.seed, store, budget))


def judge_metrics(rewards: Rewards) -> dict[str, float]:
    """What the judge has cost the run so far; nothing without a judge."""
    if not rewards.judge:
        return {}
    budget = rewards.judge.budget
    return {"judge_calls": budget.calls, "judge_tokens": budget.tokens}


def _probe(
    complete: Complete, config: Config, say: Callable[[str], None], failure: type[Exception]
) -> None:
    judge, policy = config.rewards.judge, config.rewards.unjudged
    why = probe(complete, judge)
    message = f"rewards.judge.model={judge.model}: gives no verdict: {why}"
    if why and policy == "stop":
        raise failure(message)
    if why:
        say(f"{message}; until it does, rewards.unjudged={policy} applies")


def _shared(path: str) -> Store:
    try:
        return Store(Path(path))
    except InputError as error:
        raise InputError(f"rewards.judge.cache={error}") from None


def _endpoint(config: JudgeConfig) -> HttpJudge:
    # Only a run with an endpoint needs httpx.
    from qwenlong.rewards.judge.calls import HttpJudge

    try:
        return HttpJudge(config)
    except InputError as error:
        raise InputError(f"rewards.judge.{error}") from None


def _by_engines(config: JudgeConfig, policy: JudgePolicy, generate: Generate) -> EngineJudge:
    template = config.extra.get("chat_template_kwargs", {})
    tokenizer = chat_tokenizer(policy.path, key="rewards.judge.model")
    return EngineJudge(generate, tokenizer, policy.longest, config.reply_tokens, template)


@dataclass(frozen=True)
class EngineJudge:
    """Completes many conversations at once, greedily, by engines that serve a judge."""

    generate: Generate
    tokenizer: Any
    longest: int
    """Longest row of prompt and reply, in tokens."""
    reply_tokens: int
    template: Mapping[str, Any]
    """Further arguments of the chat template."""

    def __call__(self, conversations: Sequence[Messages]) -> list[Reply | JudgeError]:
        prompts = [self._ids(messages) for messages in conversations]
        fitting = [ids for ids in prompts if self._fits(ids)]
        sampling = Sampling(1, self.reply_tokens, temperature=0.0)
        # Greedy sampling does not depend on the seed.
        rollouts = iter(self.generate([Request(ids, seed=0) for ids in fitting], sampling))
        return [
            _reply(ids, *next(rollouts)) if self._fits(ids) else self._too_long(ids)
            for ids in prompts
        ]

    def _fits(self, ids: TokenIds) -> bool:
        return len(ids) + self.reply_tokens <= self.longest

    def _too_long(self, ids: TokenIds) -> JudgeError:
        need = f"{len(ids)} tokens to read and {self.reply_tokens} to write"
        return JudgeError(f"{need} are more than {self.longest}", permanent=True)

    def _ids(self, messages: Messages) -> TokenIds:
        text = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, **self.template
        )
        return token_ids(self.tokenizer(text, add_special_tokens=False).input_ids)


def _reply(ids: TokenIds, rollout: Rollout) -> Reply | JudgeError:
    if rollout.finish_reason == "length":
        return JudgeError("the reply was cut off at reply_tokens")
    return Reply(rollout.text, len(ids) + len(rollout.response_ids))
