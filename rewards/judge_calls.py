"""Ways to reach a judge: an OpenAI-compatible endpoint, or a function that answers many at once.

Over httpx, for it is the smallest that has what is needed: one pool of connections for all
threads, a limit for each phase of a call and a body that can be read piece by piece, so that a
server that drips is cut off. urllib has no pool; the openai client retries by its own clock,
which no seed reaches, and takes a second to import.
"""

from __future__ import annotations

import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from qwenlong.rewards.judge import JudgeError, Reply
from qwenlong.rewards.judge_prompt import Messages
from qwenlong.types import InputError

_LONGEST_BODY = 2**20
_TRY_AGAIN = {408, 409, 425, 429}
CompleteMany = Callable[[Sequence[Messages]], Sequence[Reply | str | JudgeError]]


@dataclass(frozen=True)
class Endpoint:
    url: str
    """Of the API, such as http://localhost:8000/v1."""
    model: str
    key_env: str = ""
    """Name of the environment variable that holds the key; none is sent if empty."""
    timeout_s: float = 60.0
    """For a whole call."""
    reply_tokens: int = 256
    """Longest reply; a judge that thinks needs more."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the request's body; null takes one of ours out."""


class HttpJudge:
    """Calls an endpoint's chat completions; a ``Complete`` that threads share."""

    def __init__(self, endpoint: Endpoint) -> None:
        """
        Raises:
            InputError: the address is none, or the key is not in the environment.
        """
        self.endpoint = endpoint
        self._url = _chat_url(endpoint.url)
        headers = {}
        if endpoint.key_env:
            key = os.environ.get(endpoint.key_env, "")
            if not key:
                raise InputError(
                    f"key_env={endpoint.key_env}: the environment has no such variable"
                )
            headers["Authorization"] = f"Bearer {key}"
        # The judge decides how many calls there are at once.
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.Client(headers=headers, timeout=endpoint.timeout_s, limits=limits)

    def __call__(self, messages: Messages) -> Reply:
        body = {
            "model": self.endpoint.model,
            "messages": messages,
            "temperature": 0.0,
            "max_tokens": self.endpoint.reply_tokens,
            **self.endpoint.extra,
        }
        body = {key: value for key, value in body.items() if value is not None}
        try:
            status, headers, raw = self._posted(body)
        except httpx.TimeoutException as error:
            why = f"no answer within {self.endpoint.timeout_s:g} s ({type(error).__name__})"
            raise JudgeError(why) from None
        except httpx.HTTPError as error:
            raise JudgeError(f"{type(error).__name__}: {error}") from None
        if status != 200:
            permanent = status < 500 and status not in _TRY_AGAIN
            said = raw[:200].decode("utf-8", "replace")
            wait_s = None if permanent else _retry_after(headers.get("retry-after", ""))
            raise JudgeError(f"status {status}: {said}", wait_s, permanent)
        return _reply(raw)

    def close(self) -> None:
        self._client.close()

    def _posted(self, body: Mapping[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        # httpx limits the time between two pieces of a body; the whole is limited here.
        deadline = time.monotonic() + self.endpoint.timeout_s
        raw = b""
        with self._client.stream("POST", self._url, json=body) as response:
            for piece in response.iter_bytes():
                raw += piece
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the reply drips")
                if len(raw) > _LONGEST_BODY:
                    raise JudgeError(f"a reply of more than {_LONGEST_BODY:,} bytes")
            return response.status_code, response.headers, raw


class Gathered:
    """A ``Complete`` over a function that answers many conversations at once, such as an engine's.

    Calls that arrive within ``wait_s`` of the first go together, ``most`` at once.
    """

    def __init__(
        self,
        complete_many: CompleteMany,
        most: int = 64,
        wait_s: float = 0.02,
        timeout_s: float = 600.0,
    ) -> None:
        self.complete_many = complete_many
        self.most = most
        self.wait_s = wait_s
        self.timeout_s = timeout_s
        self._calls: queue.SimpleQueue[tuple[Messages, Future[Reply | str]] | None]
        self._calls = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._answer, name="judge", daemon=True)
        self._thread.start()

    def __call__(self, messages: Messages) -> Reply | str:
        if not self._thread.is_alive():
            raise JudgeError("closed", permanent=True)
        future: Future[Reply | str] = Future()
        self._calls.put((messages, future))
        try:
            return future.result(self.timeout_s)
        except TimeoutError:
            future.cancel()
            raise JudgeError(f"no answer within {self.timeout_s:g} s") from None

    def close(self) -> None:
        """Answers what is under way first."""
        self._calls.put(None)
        self._thread.join()

    def _answer(self) -> None:
        open_ = True
        while open_:
            batch: list[tuple[Messages, Future[Reply | str]]] = []
            until = math.inf
            while open_ and len(batch) < self.most and time.monotonic() < until:
                try:
                    left = None if until == math.inf else max(0.0, until - time.monotonic())
                    call = self._calls.get(timeout=left)
                except queue.Empty:
                    break
                if call is None:
                    open_ = False
                elif call[1].set_running_or_notify_cancel():
                    batch.append(call)
                    until = min(until, time.monotonic() + self.wait_s)
            if batch:
                self._answer_batch(batch)

    def _answer_batch(self, batch: Sequence[tuple[Messages, Future[Reply | str]]]) -> None:
        try:
            replies = self.complete_many([messages for messages, _ in batch])
            if len(replies) != len(batch):
                raise JudgeError(f"{len(replies)} replies to {len(batch)} conversations")
        except Exception as error:  # Each caller gets it, and tries again or gives up.
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), reply in zip(batch, replies, strict=True):
            if isinstance(reply, JudgeError):
                future.set_exception(reply)
            else:
                future.set_result(reply)


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
    """Seconds, which the header has as a number or as a date."""
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
