"""A judge's verdicts on disk, and the calls and tokens that it has spent."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from qwenlong.types import InputError, StoppedError

_LOCKED_S = 60.0
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS verdicts (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, value REAL NOT NULL, why TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (
    id INTEGER PRIMARY KEY CHECK (id = 1), calls INTEGER NOT NULL, tokens INTEGER NOT NULL
);
COMMIT;
"""


class Store:
    """One SQLite file: verdicts by key, which runs may share, and what this run spent.

    A case without a verdict is not kept.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputError: there is no such folder, or the file is no store of verdicts.
        """
        self.path = path
        try:
            # Every statement is a transaction of its own, so that no verdict is lost.
            self._database = sqlite3.connect(path, timeout=_LOCKED_S, isolation_level=None)
            # What a killed process wrote is kept; only a loss of power may lose some of it.
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.executescript(_TABLES)
            self._database.execute("SELECT value, why FROM verdicts LIMIT 1")
        except sqlite3.Error as error:
            raise InputError(f"{path}: no store of a judge's verdicts: {error}") from None

    def get(self, key: str) -> tuple[float, str] | None:
        """Value and reason."""
        query = "SELECT value, why FROM verdicts WHERE key = ?"
        row = self._database.execute(query, (key,)).fetchone()
        return (float(row[0]), str(row[1])) if row else None

    def put(self, key: str, model: str, value: float, why: str) -> None:
        """
        Raises:
            StoppedError: there is no room, or another run holds the file for long.
        """
        row = (key, model, value, why)
        self._write("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?)", row)

    def spent(self) -> tuple[int, int]:
        """Calls and tokens."""
        row = self._database.execute("SELECT calls, tokens FROM spent").fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def book(self, calls: int, tokens: int) -> None:
        self._write("INSERT OR REPLACE INTO spent VALUES (1, ?, ?)", (calls, tokens))

    def _write(self, statement: str, row: tuple[Any, ...]) -> None:
        try:
            self._database.execute(statement, row)
        except sqlite3.OperationalError as error:
            raise StoppedError(f"{self.path} cannot be written ({error})") from None

    def close(self) -> None:
        self._database.close()


class Budget:
    """The calls and tokens that a judge may spend; no limit where None.

    With ``store`` it starts from what the run has spent, whatever checkpoint it resumes from.
    """

    def __init__(
        self, calls: int | None = None, tokens: int | None = None, store: Store | None = None
    ) -> None:
        self.most_calls = calls
        self.most_tokens = tokens
        self.store = store
        self.calls, self.tokens = store.spent() if store else (0, 0)

    def take(self, tokens: int) -> bool:
        """Books a call and its expected tokens, unless that is more than is left.

        A call that fails keeps what was booked for it.
        """
        if self.most_calls is not None and self.calls + 1 > self.most_calls:
            return False
        if self.most_tokens is not None and self.tokens + tokens > self.most_tokens:
            return False
        self.calls += 1
        self.tokens += tokens
        return True

    def settle(self, expected: int, used: int) -> None:
        """Books what a call did use in place of what it was expected to."""
        self.tokens += used - expected

    def keep(self) -> None:
        if self.store:
            self.store.book(self.calls, self.tokens)
