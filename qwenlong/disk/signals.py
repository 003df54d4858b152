"""Ctrl-C and SIGTERM end a run in order, even if a library swallows them or Ray is starting."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM)
TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM."""
_received: list[int] = []


def listen() -> None:
    """Makes both signals end the program in order, unless it was started with them ignored."""
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _receive)


def check() -> None:
    """Raises the last signal again. Loops that wait call this.

    A bare ``except`` in an import, a ``__del__`` or a callback from C++ may have swallowed the
    exception that the signal raised.
    """
    if _received:
        _leave(_received[-1])


def terminated() -> bool:
    """Whether SIGTERM was received."""
    return signal.SIGTERM in _received


@contextmanager
def deferred(undo: Callable[[], None]) -> Iterator[None]:
    """Delays signals until the block has ended.

    Args:
        undo: called if a signal came meanwhile, to end what the block started.
    """
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


def _receive(number: int, _: FrameType | None) -> None:
    if not _received:
        os.write(2, b"\nqwenlong: stopping\n")  # print may be what was interrupted
    _received.append(number)
    _leave(number)


def _leave(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(TERMINATED)
