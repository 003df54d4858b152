"""A lock that lets one run at a time use a directory."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qwenlong.types import InputError

NAME = "lock"


@contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Locks the directory of a run. The kernel frees the lock when this process dies.

    POSIX locks work over NFS, and processes that this one starts do not inherit them. The lock
    would be lost if this process opened and closed the file elsewhere.

    Raises:
        InputError: another process holds the lock.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / NAME).open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InputError(f"run_dir={root}: {holder} is at work there") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
