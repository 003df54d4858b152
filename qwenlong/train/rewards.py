"""A run's rewards, made of its configuration, and the judge behind them."""

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
from qwenlong.types import Example, InputError, JudgePolicy, Prompt, Sampling, StoppedError

if TYPE_CHECKING:
    from qwenlong.rewards.judge.calls import HttpJudge
    from qwenlong.rollout.collector import Actors


LONGEST_CASE = 8_192
"""Tokens of what a judge's engine is shown, at most."""


def rules_of(config: Config) -> Rewards:
    """The rewards without their judge."""
    rewards = config.rewards
    by_source = {reward.source: reward for reward in rewards.by_source}
    return Rewards(by_source, unjudged=rewards.unjudged, thinking=config.data.thinking)


def strict(config: Config) -> Rewards:
    """Each example's own kind, no judge: what evaluation counts, whatever a run rewards."""
    return Rewards(thinking=config.data.thinking)


def judge_policy(config: JudgeConfig) -> JudgePolicy | None:
    """None if the run has no engines of a judge's.

    Raises:
        InputError: there is no such policy, or it cannot converse.
    """
    if not config.is_engine:
        return None
    path = str(config.model)
    rope = native_rope(path, None, key="rewards.judge.model")
    chat_tokenizer(path, key="rewards.judge.model")
    return JudgePolicy(path, rope, min(rope.limit, LONGEST_CASE + config.reply_tokens))


def check_judge(config: Config, say: Callable[[str], None]) -> None:
    """Opens a judge's store and asks its endpoint for a verdict, before anything starts.

    Args:
        say: told if the endpoint gives none.

    Raises:
        InputError: the store is none; or there is no verdict, and rewards.unjudged is stop.
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
    engines: Actors | None,
    say: Callable[[str], None],
) -> Iterator[Rewards]:
    """The rewards of a run whose directory is ``root``.

    Args:
        policy: what ``engines`` serve, if the judge has some.
        say: told if these give no verdict now.

    Raises:
        StoppedError: they give none, and rewards.unjudged is stop.
    """
    rewards = rules_of(config)
    judge = config.rewards.judge
    if judge.model is None:
        yield rewards
        return
    with ExitStack() as stack:
        # The run's own file says what it has spent, wherever the verdicts are.
        own = stack.enter_context(closing(Store(root / "judge.sqlite")))
        store = stack.enter_context(closing(_shared(judge.cache))) if judge.cache else own
        complete: Complete
        if policy and engines:
            complete = _engines(judge, policy, engines)
            _probe(complete, config, say, StoppedError)
        else:
            complete = stack.enter_context(closing(_endpoint(judge)))
        budget = Budget(judge.max_calls, judge.max_tokens, own)
        yield replace(rewards, judge=Judge(complete, judge, config.seed, store, budget))


def _probe(
    complete: Complete, config: Config, say: Callable[[str], None], failure: type[Exception]
) -> None:
    judge, policy = config.rewards.judge, config.rewards.unjudged
    why = probe(complete, judge)
    told = f"rewards.judge.model={judge.model}: gives no verdict: {why}"
    if why and policy == "stop":
        raise failure(told)
    if why:
        say(f"{told}; while that lasts, rewards.unjudged={policy} holds")


def _shared(path: str) -> Store:
    try:
        return Store(Path(path))
    except InputError as error:
        raise InputError(f"rewards.judge.cache={error}") from None


def _endpoint(config: JudgeConfig) -> HttpJudge:
    # httpx is for those who have an endpoint.
    from qwenlong.rewards.judge.calls import HttpJudge

    try:
        return HttpJudge(config)
    except InputError as error:
        raise InputError(f"rewards.judge.{error}") from None


def _engines(config: JudgeConfig, policy: JudgePolicy, actors: Actors) -> Conversing:
    template = config.extra.get("chat_template_kwargs", {})
    tokenizer = chat_tokenizer(policy.path, key="rewards.judge.model")
    return Conversing(actors, tokenizer, policy.longest, config, template)


@dataclass(frozen=True)
class Conversing:
    """Answers many conversations at once, greedily, by rollout actors that serve a judge."""

    actors: Actors
    tokenizer: Any
    longest: int
    """Prompt and reply, in tokens."""
    config: JudgeConfig
    template: Mapping[str, Any]
    """Further arguments of the chat template."""

    def __call__(self, conversations: Sequence[Messages]) -> list[Reply | JudgeError]:
        # Ray takes seconds to import, and a run without engines of a judge's needs none of it here.
        from qwenlong.rollout.collector import collect

        nobody = Example("judge", "judge", "", (), ())
        prompts = [Prompt(nobody, self._ids(messages)) for messages in conversations]
        reply_tokens = self.config.reply_tokens
        fits = [len(prompt.ids) + reply_tokens <= self.longest for prompt in prompts]
        sampling = Sampling(1, reply_tokens, temperature=0.0)
        shown = [prompt for prompt, does in zip(prompts, fits, strict=True) if does]
        said = iter(collect(self.actors, shown, sampling, [0] * len(shown)))
        replies: list[Reply | JudgeError] = []
        for prompt, does in zip(prompts, fits, strict=True):
            if not does:
                why = f"{len(prompt.ids)} tokens to read and {reply_tokens} to write are"
                replies.append(JudgeError(f"{why} more than {self.longest}", permanent=True))
                continue
            [rollout] = next(said)
            if rollout.finish_reason == "length":
                replies.append(JudgeError("the reply was cut off at reply_tokens"))
            else:
                tokens = len(rollout.prompt_ids) + len(rollout.response_ids)
                replies.append(Reply(rollout.text, tokens))
        return replies

    def _ids(self, messages: Messages) -> tuple[int, ...]:
        text = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, **self.template
        )
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
