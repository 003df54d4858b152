"""What a judge keeps: its verdicts on disk, and what it may still spend."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

from qwenlong.types import InputError

_LOCKED_S = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS verdicts (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, value REAL NOT NULL, why TEXT NOT NULL
) WITHOUT ROWID
"""


class Cache:
    """Verdicts by key in one SQLite file, which several runs may share. No unjudged ones."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputError: there is no such folder, or the file is another one's.
        """
        self._lock = threading.Lock()
        try:
            # Every statement is a transaction of its own: a verdict that was paid for is kept.
            self._database = sqlite3.connect(
                path, timeout=_LOCKED_S, isolation_level=None, check_same_thread=False
            )
            self._database.execute(_TABLE)
            self._database.execute("SELECT value, why FROM verdicts LIMIT 1")
        except sqlite3.Error as error:
            raise InputError(f"{path}: no cache of a judge's verdicts: {error}") from None

    def get(self, key: str) -> tuple[float, str] | None:
        """Value and reason."""
        query = "SELECT value, why FROM verdicts WHERE key = ?"
        with self._lock:
            row = self._database.execute(query, (key,)).fetchone()
        return (float(row[0]), str(row[1])) if row else None

    def put(self, key: str, model: str, value: float, why: str) -> None:
        row = (key, model, value, why)
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?)", row)

    def close(self) -> None:
        with self._lock:
            self._database.close()


class Budget:
    """The calls and tokens that a judge may still spend; no limit where None."""

    def __init__(self, calls: int | None = None, tokens: int | None = None) -> None:
        self.most_calls = calls
        self.most_tokens = tokens
        self.calls = 0
        self.tokens = 0
        self._lock = threading.Lock()

    def take(self, tokens: int) -> bool:
        """Books a call and its expected tokens, unless that is more than is left.

        A call that fails keeps what was booked for it.
        """
        with self._lock:
            if self.most_calls is not None and self.calls + 1 > self.most_calls:
                return False
            if self.most_tokens is not None and self.tokens + tokens > self.most_tokens:
                return False
            self.calls += 1
            self.tokens += tokens
        return True

    def settle(self, expected: int, used: int) -> None:
        """Books what a call did use in place of what it was expected to."""
        with self._lock:
            self.tokens += used - expected

    def state(self) -> dict[str, int]:
        return {"calls": self.calls, "tokens": self.tokens}

    def restore(self, state: Mapping[str, int]) -> None:
        self.calls, self.tokens = state["calls"], state["tokens"]

    def __str__(self) -> str:
        def of(spent: int, most: int | None) -> str:
            return f"{spent:,}" if most is None else f"{spent:,} of {most:,}"

        return (
            f"{of(self.calls, self.most_calls)} calls, {of(self.tokens, self.most_tokens)} tokens"
        )
