"""A language model as judge: does an answer mean the same as a gold answer?

The judge is any function from conversations to replies (``calls.py`` makes one of an HTTP
endpoint). It sees the question, the gold answers and the final answer, nothing else of the
response. A case without a verdict is *unjudged*, with the reason, never a 0.

The judge is asked in rounds: each round sends all cases that have no verdict yet, in their order,
as far as the budget goes. So the budget reaches the same cases whichever reply comes first.

An answer may be written to persuade the judge. These rules leave it little to gain:

- An answer far longer than every gold answer (``longest``) is wrong without asking.
- The answer stands first in the prompt, on one line of JSON without a token of any chat template,
  and the task comes after it.
- A verdict counts only as one exact line with a code that the answer cannot know.
- After a "right" the judge is asked again, with a gold answer of another question (the control).
  A judge that accepts the answer for that one as well was persuaded by the answer, not by the gold.
  The control does not catch a judge that accepts the right name among several.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from qwenlong.config import JudgeConfig
from qwenlong.rewards.judge.prompt import (
    PROMPT_VERSION,
    Case,
    Messages,
    made_up,
    prompt,
    read_verdict,
)
from qwenlong.rewards.judge.store import Budget, Store
from qwenlong.types import StoppedError

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
"""Seconds before the second attempt; doubled for each further one, less up to half at random."""
SPENT = "the budget is spent (rewards.judge.max_calls, max_tokens)"
_TIMES, _LONGER = 4, 300
_SHOWN = 120


@dataclass(frozen=True)
class Verdict:
    """1 or 0; None where the judge says nothing."""

    value: float | None
    why: str


@dataclass(frozen=True)
class Reply:
    """``tokens`` of prompt and reply as the endpoint counted them; estimated if None."""

    text: str
    tokens: int | None = None


class JudgeError(Exception):
    """A call that failed; a ``permanent`` one would fail in the same way again."""

    def __init__(self, why: str, permanent: bool = False) -> None:
        super().__init__(why)
        self.permanent = permanent


Complete = Callable[[Sequence[Messages]], Iterable[Reply | JudgeError]]
"""Replies to conversations, in their order. An exception fails all that have no reply yet."""


@dataclass
class _Pending:
    """A case that has no verdict yet."""

    key: str
    case: Case
    attempts: int = 0
    why: str = ""


class Judge:
    """``verdicts(cases)`` asks for each distinct case that the store does not know."""

    def __init__(
        self,
        complete: Complete,
        config: JudgeConfig,
        seed: int = 0,
        store: Store | None = None,
        budget: Budget | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.complete = complete
        self.config = config
        self.seed = seed
        self.store = store
        self.budget = budget or Budget()
        self._sleep = sleep

    def verdicts(self, cases: Sequence[Case]) -> list[Verdict]:
        """The verdicts in the order of the cases; every "right" has passed the control."""
        short = [i for i, case in enumerate(cases) if len(case.answer) <= longest(case)]
        plain = dict(zip(short, self.plain([cases[i] for i in short]), strict=True))
        right = [i for i, verdict in plain.items() if verdict.value == 1.0]
        decoys = [cases[i].decoy or made_up(self.key(cases[i])) for i in right]
        controls = [replace(cases[i], golds=(d,)) for i, d in zip(right, decoys, strict=True)]
        for i, control in zip(right, self.plain(controls), strict=True):
            if control.value is None:
                plain[i] = Verdict(None, f"control: {control.why}")
            elif control.value:
                why = "wrong: the judge accepts it for another gold answer as well"
                plain[i] = Verdict(0.0, why)
        return [plain.get(i) or _too_long(case) for i, case in enumerate(cases)]

    def plain(self, cases: Sequence[Case]) -> list[Verdict]:
        """The verdicts without a control. Equal cases are asked once."""
        keys = [self.key(case) for case in cases]
        distinct = dict(zip(keys, cases, strict=True))
        kept = {key: self.store.get(key) for key in distinct} if self.store else {}
        known = {key: Verdict(*found) for key, found in kept.items() if found}
        known |= self._answered({k: case for k, case in distinct.items() if k not in known})
        return [known[key] for key in keys]

    def key(self, case: Case) -> str:
        """The key of the store, which is equal for cases that are the same to this judge."""
        judge = [self.config.model, self.config.url, self.config.extra, PROMPT_VERSION]
        parts = [*judge, case.question, list(case.golds), case.answer]
        return _digest(json.dumps(parts, sort_keys=True))

    def _answered(self, cases: Mapping[str, Case]) -> dict[str, Verdict]:
        verdicts: dict[str, Verdict] = {}
        waiting = [_Pending(key, case) for key, case in cases.items()]
        while waiting:
            admitted = [pending for pending in waiting if self.budget.take(self._expected(pending))]
            if not admitted:
                spent = {a.key: Verdict(None, f"{a.why}; {SPENT}".lstrip("; ")) for a in waiting}
                return verdicts | spent
            attempts = max(pending.attempts for pending in admitted)
            if attempts:
                self._sleep(backoff_s(self.seed, admitted[0].key, attempts))
            self.budget.keep()
            replies = self._replies([self._prompt(pending) for pending in admitted])
            for pending, reply in zip(admitted, replies, strict=True):
                verdict = self._read(pending, reply)
                if verdict:
                    key = pending.key
                    verdicts[key] = verdict
                    if self.store and verdict.value is not None:
                        self.store.put(key, str(self.config.model), verdict.value, verdict.why)
            self.budget.keep()
            waiting = [pending for pending in waiting if pending.key not in verdicts]
        return verdicts

    def _replies(self, conversations: Sequence[Messages]) -> Iterator[Reply | JudgeError]:
        """One reply for each conversation, whatever goes wrong."""
        count, failed = 0, JudgeError("no reply")
        try:
            for reply in islice(self.complete(conversations), len(conversations)):
                count += 1
                yield reply
        except StoppedError:  # the engines are gone for good
            raise
        except Exception as error:  # of HTTP, Ray or vLLM; rewards.unjudged decides what happens
            # The last line: Ray's errors begin with a traceback.
            failed = JudgeError(f"{type(error).__name__}: {str(error).strip().split(chr(10))[-1]}")
        for _ in range(len(conversations) - count):
            yield failed

    def _read(self, pending: _Pending, reply: Reply | JudgeError) -> Verdict | None:
        """The verdict, which may be that there is none; None if the case must be asked again."""
        code, expected = self._code(pending), self._expected(pending)
        pending.attempts += 1
        if isinstance(reply, JudgeError):
            pending.why = _shown(str(reply))
            if reply.permanent:
                return Verdict(None, pending.why)
        else:
            estimate = expected - self.config.reply_tokens + _estimated(reply.text)
            self.budget.settle(expected, estimate if reply.tokens is None else reply.tokens)
            value = read_verdict(reply.text, code)
            if value is not None:
                return Verdict(
                    value, f"{'right' if value else 'wrong'}: so says {self.config.model}"
                )
            pending.why = f"no verdict in the reply {_shown(reply.text)!r}"
        if pending.attempts == self.config.attempts:
            return Verdict(None, f"{pending.why}, after {pending.attempts} attempts")
        return None

    def _prompt(self, pending: _Pending) -> Messages:
        return prompt(pending.case, self._code(pending))

    def _code(self, pending: _Pending) -> str:
        return _digest(f"{self.seed} {pending.key} {pending.attempts}")[:8]

    def _expected(self, pending: _Pending) -> int:
        """Tokens that an attempt may take."""
        read = sum(_estimated(message["content"]) for message in self._prompt(pending))
        return read + self.config.reply_tokens


def probe(complete: Complete, config: JudgeConfig) -> str:
    """Asks for one plain verdict, on no budget: why there is none, or nothing if there is."""
    [verdict] = Judge(complete, config).plain([Case("How much is one and one?", ("2",), "two")])
    return verdict.why if verdict.value is None else ""


def longest(case: Case) -> int:
    """Characters of the longest answer that is judged."""
    return _LONGER + _TIMES * max(map(len, case.golds))


def backoff_s(seed: int, key: str, attempts: int) -> float:
    """Seconds before the next attempt; of the seed, so that a run can be repeated."""
    jitter = int(_digest(f"{seed} {key} {attempts} wait")[:8], 16) / 2**32
    return min(FIRST_WAIT_S * 2.0 ** min(attempts - 1, 30), LONGEST_WAIT_S) * (1 - jitter / 2)


def _too_long(case: Case) -> Verdict:
    why = f"wrong: {len(case.answer)} characters, far longer than any gold answer"
    return Verdict(0.0, why)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _estimated(text: str) -> int:
    """Tokens, by a rule of thumb that holds across languages: three bytes each."""
    return len(text.encode("utf-8", "replace")) // 3 + 4


def _shown(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
