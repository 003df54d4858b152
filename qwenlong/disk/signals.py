"""Ctrl-C and a polite kill: heard once Ray has started whole, and where others swallow them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM)
TERMINATED = 128 + signal.SIGTERM
"""Exit code after a polite kill."""
_heard: list[int] = []


def listen() -> None:
    """From now on both end the program in an orderly way, unless it was started deaf to them."""
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _hear)


def check() -> None:
    """Raises once more what was heard, for the one who waits for an end.

    An import's bare ``except``, a ``__del__`` or a callback from C++ may have swallowed it.
    """
    if _heard:
        _leave(_heard[-1])


def terminated() -> bool:
    """Whether a polite kill was heard."""
    return signal.SIGTERM in _heard


@contextmanager
def deferred(undo: Callable[[], None]) -> Iterator[None]:
    """Lets the block end before a signal is heard; ``undo`` takes down what it started."""
    pending: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, _: pending.append(caught))
        for number in NUMBERS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pending:
        undo()
        signal.raise_signal(pending[0])


def _hear(number: int, _: FrameType | None) -> None:
    if not _heard:
        os.write(2, b"\nqwenlong: stopping\n")  # print may be what was interrupted
    _heard.append(number)
    _leave(number)


def _leave(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(TERMINATED)
