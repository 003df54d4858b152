"""A judge behind an OpenAI-compatible endpoint.

It uses httpx, the smallest library with one pool of connections for all threads, a time limit for
each phase of a call, and a body that can be read piece by piece, so that a slow server is cut off.
urllib has no pool; the openai client waits between retries by a clock that no seed controls, and
takes a second to import.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from typing import Any

import httpx

from qwenlong.config import JudgeConfig
from qwenlong.rewards.judge.judge import LONGEST_WAIT_S, JudgeError, Reply
from qwenlong.rewards.judge.prompt import Messages
from qwenlong.types import InputError

_LONGEST_BODY = 2**20
_TRY_AGAIN = {408, 409, 425, 429}
_Calls = SimpleQueue[tuple[Messages, Future[Reply | JudgeError]]]
_LOOK_UP_S = 1.0
_DIRECT = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
"""Mounts without a proxy: a judge on this machine is not behind the one that http_proxy names."""


class HttpJudge:
    """Calls an endpoint's chat completions, ``concurrency`` at once; a ``Complete``."""

    def __init__(
        self,
        config: JudgeConfig,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Raises:
            InputError: the address is none, or the key is not in the environment.
        """
        self.config = config
        self._url = _chat_url(str(config.url))
        headers = {}
        if config.key_env:
            key = os.environ.get(config.key_env, "")
            if not key:
                raise InputError(f"key_env={config.key_env}: the environment has no such variable")
            headers["Authorization"] = f"Bearer {key}"
        # The threads are the limit.
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.Client(
            headers=headers, timeout=config.timeout_s, limits=limits, mounts=_DIRECT
        )
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._clock = clock
        self._lock = threading.Lock()
        self._not_before = -math.inf

    def __call__(self, conversations: Sequence[Messages]) -> Iterator[Reply | JudgeError]:
        calls: _Calls = SimpleQueue()
        futures: list[Future[Reply | JudgeError]] = [Future() for _ in conversations]
        for messages, future in zip(conversations, futures, strict=True):
            calls.put((messages, future))
        for _ in range(min(self.config.concurrency, len(futures))):
            # A daemon thread, so that Ctrl-C does not wait for a call.
            threading.Thread(target=self._work, args=(calls,), name="judge", daemon=True).start()
        try:
            for future in futures:
                # Python handles a Ctrl-C that comes just before a wait only after the wait.
                while not wait([future], _LOOK_UP_S).done:
                    pass
                yield future.result()
        finally:
            while _taken(calls):
                pass

    def close(self) -> None:
        self._closed.set()
        self._client.close()

    def _work(self, calls: _Calls) -> None:
        while taken := _taken(calls):
            messages, future = taken
            try:
                future.set_result(self._reply(messages))
            except JudgeError as error:
                future.set_result(error)
            except Exception as error:  # rewards.unjudged decides what happens, not the error
                future.set_result(JudgeError(f"{type(error).__name__}: {error}"))

    def _reply(self, messages: Messages) -> Reply:
        body = {
            "model": self.config.model,
            "messages": messages,
            "temperature": 0.0,
            "max_tokens": self.config.reply_tokens,
            **self.config.extra,
        }
        body = {key: value for key, value in body.items() if value is not None}
        self._wait()
        try:
            status, headers, raw = self._posted(body)
        except httpx.TimeoutException as error:
            why = f"no answer within {self.config.timeout_s:g} s ({type(error).__name__})"
            raise JudgeError(why) from None
        if status != 200:
            raise self._refused(status, headers.get("retry-after", ""), raw)
        return _reply(raw)

    def _wait(self) -> None:
        """Waits as long as the server demanded: it means every caller, so all threads wait."""
        while not self._closed.is_set() and (left_s := self._not_before - self._clock()) > 0:
            self._sleep(left_s)

    def _refused(self, status: int, retry_after: str, raw: bytes) -> JudgeError:
        permanent = status < 500 and status not in _TRY_AGAIN
        why = f"status {status}: {raw[:200].decode('utf-8', 'replace')}"
        wait_s = None if permanent else _retry_after(retry_after)
        if wait_s is None:
            return JudgeError(why, permanent)
        if wait_s > LONGEST_WAIT_S:
            return JudgeError(f"{why[:60]}; {wait_s:,.0f} s are too long a wait", permanent=True)
        with self._lock:
            self._not_before = max(self._not_before, self._clock() + wait_s)
        return JudgeError(why)

    def _posted(self, body: Mapping[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        # httpx limits the time between two pieces of a body; the whole is limited here.
        deadline = time.monotonic() + self.config.timeout_s
        raw = b""
        with self._client.stream("POST", self._url, json=body) as response:
            for piece in response.iter_bytes():
                raw += piece
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the reply drips")
                if len(raw) > _LONGEST_BODY:
                    raise JudgeError(f"a reply of more than {_LONGEST_BODY:,} bytes")
            return response.status_code, response.headers, raw


def _taken(calls: _Calls) -> tuple[Messages, Future[Reply | JudgeError]] | None:
    try:
        return calls.get_nowait()
    except Empty:
        return None


def _chat_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError(f"url={url}: must be an API's address such as http://localhost:8000/v1")
    return f"{url.rstrip('/').removesuffix('/chat/completions')}/chat/completions"


def _reply(raw: bytes) -> Reply:
    try:
        body = json.loads(raw)
        choice = body["choices"][0]
        text = choice["message"]["content"]
        tokens = (body.get("usage") or {}).get("total_tokens")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise JudgeError(f"no chat completion: {raw[:100].decode('utf-8', 'replace')}") from None
    if not isinstance(text, str):
        raise JudgeError("a reply without text")
    if choice.get("finish_reason") == "length":
        raise JudgeError("the reply was cut off; reply_tokens is too low, or the judge rambles")
    counted = isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0
    return Reply(text, tokens if counted else None)


def _retry_after(header: str) -> float | None:
    """Seconds to wait; the header has a number or a date."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
