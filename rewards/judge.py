"""A language model as judge: does an answer mean the same as a gold answer?

The judge is any function from a conversation to a reply (``judge_calls.py`` makes one of an HTTP
endpoint, or of a function that answers many at once), asked from several threads. It sees the
question, the gold answers and the final answer, nothing else of the response. Whatever keeps it
from a verdict ends as *unjudged*, with the reason, and never as a 0.

An answer that speaks to the judge gains nothing:

- It stands first in the prompt, on one line of JSON without a token of any chat template, and
  the task comes after it. One that is too long is refused without asking.
- A verdict counts only as one exact line with a code that is a hash of the answer itself.
- Where the verdict is "right", the judge is asked again with a made-up gold answer (the control).
  A judge that accepts the answer for that one, too, was moved by the answer and not by the gold.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from qwenlong.rewards.judge_prompt import (
    PROMPT_VERSION,
    Case,
    Messages,
    made_up,
    prompt,
    read_verdict,
)
from qwenlong.rewards.judge_store import Budget, Cache

_SHOWN = 120


@dataclass(frozen=True)
class Verdict:
    """What the judge says of an answer. Where it says nothing, ``value`` is None."""

    judged: bool
    value: float | None
    why: str

    def __post_init__(self) -> None:
        if self.judged == (self.value is None):
            raise ValueError(f"judged={self.judged} does not go with value={self.value}")


@dataclass(frozen=True)
class Reply:
    """``tokens`` of prompt and reply as the endpoint counted them; estimated if None."""

    text: str
    tokens: int | None = None


Complete = Callable[[Messages], Reply | str]
"""Answers a conversation; called from several threads. Any exception is a failed attempt."""


class JudgeError(Exception):
    """A call that failed, and what is known about when to try again."""

    def __init__(
        self, why: str, retry_after_s: float | None = None, permanent: bool = False
    ) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s
        self.permanent = permanent
        """It would fail in the same way again."""


@dataclass(frozen=True)
class Settings:
    model: str
    """Part of the cache's key."""
    attempts: int = 5
    """Calls for one verdict, at most."""
    concurrency: int = 16
    """Calls at once."""
    first_wait_s: float = 0.5
    """Before the second attempt; doubled before each further one, less up to half at random."""
    longest_wait_s: float = 60.0
    """A server that asks for a longer wait is not asked again for this verdict."""
    longest_answer: int = 2_000
    """Characters; a longer answer is wrong without asking."""
    control: bool = True
    """Asks again with a made-up gold answer where the verdict is right."""
    seed: int = 0


class Judge:
    """``verdicts(cases)`` asks for each distinct case that the cache does not know."""

    def __init__(
        self,
        complete: Complete,
        settings: Settings,
        cache: Cache | None = None,
        budget: Budget | None = None,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.complete = complete
        self.settings = settings
        self.cache = cache
        self.budget = budget or Budget()
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._clock = clock
        self._lock = threading.Lock()
        self._not_before = float("-inf")

    def verdicts(self, cases: Sequence[Case]) -> list[Verdict]:
        """The verdicts in the cases' order. Equal cases are asked for once."""
        keys = [self.key(case) for case in cases]
        known: dict[str, Verdict] = {}
        asked: dict[str, Case] = {}
        for key, case in zip(keys, cases, strict=True):
            if key in known or key in asked:
                continue
            verdict = self._without_asking(case, key)
            if verdict:
                known[key] = verdict
            else:
                asked[key] = case
        if asked:
            known |= self._all_asked(asked)
        return [known[key] for key in keys]

    def key(self, case: Case) -> str:
        """Of the cache: equal for cases that are the same to this judge."""
        version = f"{PROMPT_VERSION}, control" if self.settings.control else PROMPT_VERSION
        parts = [self.settings.model, version, case.question, list(case.golds), case.answer]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def close(self) -> None:
        if self.cache:
            self.cache.close()

    def _without_asking(self, case: Case, key: str) -> Verdict | None:
        length, longest = len(case.answer), self.settings.longest_answer
        if length > longest:
            return Verdict(True, 0.0, f"wrong: {length:,} characters; at most {longest:,} are read")
        kept = self.cache.get(key) if self.cache else None
        return Verdict(True, *kept) if kept else None

    def _all_asked(self, asked: Mapping[str, Case]) -> dict[str, Verdict]:
        self._stopped.clear()
        with ThreadPoolExecutor(min(self.settings.concurrency, len(asked))) as pool:
            try:
                return dict(zip(asked, pool.map(self._asked, asked, asked.values()), strict=True))
            except BaseException:
                self._stopped.set()
                raise

    def _asked(self, key: str, case: Case) -> Verdict:
        verdict = self.verdict_of(case, key)
        if verdict.judged and verdict.value == 1.0 and self.settings.control:
            fooling = replace(case, golds=(made_up(key),))
            verdict = _controlled(verdict, self.verdict_of(fooling, f"{key} control"))
        if verdict.value is not None and self.cache:
            self.cache.put(key, self.settings.model, verdict.value, verdict.why)
        return verdict

    def verdict_of(self, case: Case, key: str) -> Verdict:
        """What the judge says, without cache or control, or why it says nothing at last."""
        why = ""
        retry_after_s: float | None = None
        for attempt in range(self.settings.attempts):
            if not self._waited(f"{key} {attempt}", attempt, retry_after_s):
                return Verdict(False, None, f"{why}; {retry_after_s:,.0f} s are too long a wait")
            if self._stopped.is_set():
                return Verdict(False, None, f"stopped; {why}" if why else "stopped")
            code = _digest(f"{self.settings.seed} {key} {attempt}")[:8]
            messages = prompt(case, code)
            try:
                reply = self._called(messages)
                if reply is None:
                    return Verdict(False, None, f"the judge's budget is spent ({self.budget})")
                value = read_verdict(reply.text, code)
                if value is not None:
                    word = "right" if value else "wrong"
                    return Verdict(True, value, f"{word}: so says {self.settings.model}")
                why, retry_after_s = f"no verdict in the reply {_shown(reply.text)!r}", None
            except Exception as error:  # Of HTTP, Ray or vLLM: the policy decides, not the error.
                known = error if isinstance(error, JudgeError) else None
                # Ray's errors have a traceback before what went wrong.
                last = str(error).strip().rpartition("\n")[2]
                why = _shown(str(error) if known else f"{type(error).__name__}: {last}")
                retry_after_s = known.retry_after_s if known else None
                if known and known.permanent:
                    return Verdict(False, None, why)
        return Verdict(False, None, f"{why}, after {self.settings.attempts} attempts")

    def _called(self, messages: Messages) -> Reply | None:
        """The reply, its tokens paid for; None where the budget does not allow the call."""
        estimate = sum(_estimated(message["content"]) for message in messages)
        if not self.budget.take(estimate):
            return None
        said = self.complete(messages)
        reply = Reply(said) if isinstance(said, str) else said
        used = estimate + _estimated(reply.text) if reply.tokens is None else reply.tokens
        self.budget.settle(estimate, used)
        return reply

    def _waited(self, key: str, attempt: int, retry_after_s: float | None) -> bool:
        """Waits before an attempt; False, at once, where the server asks for too long a wait.

        A server that names a time means every caller, so all threads wait for it.
        """
        settings = self.settings
        if retry_after_s is not None and retry_after_s > settings.longest_wait_s:
            return False
        wait_s = backoff_s(settings, key, attempt) if attempt else 0.0
        now = self._clock()
        with self._lock:
            if retry_after_s is not None:
                self._not_before = max(self._not_before, now + retry_after_s)
            until = max(self._not_before, now + wait_s)
        if until > now:
            self._sleep(until - now)
        return True


def probe(judge: Judge) -> str:
    """Asks for one plain verdict, past the cache: why there is none, or nothing if there is."""
    case = Case("How much is one and one?", ("2",), "two")
    verdict = judge.verdict_of(case, "probe")
    return "" if verdict.judged else verdict.why


def backoff_s(settings: Settings, key: str, attempt: int) -> float:
    """Seconds before the ``attempt``-th repetition; of the seed, so that a run can be repeated."""
    wait_s = settings.first_wait_s * 2.0 ** min(attempt - 1, 30)
    jitter = int(_digest(f"{settings.seed} {key} wait")[:8], 16) / 2**32
    return min(wait_s, settings.longest_wait_s) * (1 - jitter / 2)


def _controlled(verdict: Verdict, control: Verdict) -> Verdict:
    if not control.judged:
        return Verdict(False, None, f"control: {control.why}")
    if control.value:
        return Verdict(True, 0.0, "wrong: the judge accepts it for a made-up gold answer as well")
    return verdict


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _estimated(text: str) -> int:
    """Tokens, by a rule of thumb that holds across languages: three bytes each."""
    return len(text.encode("utf-8", "replace")) // 3 + 4


def _shown(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
