"""One run at a time in a directory."""

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
    """Holds the directory of a run; the kernel frees it when its holder dies, however it does.

    A lock of POSIX's kind: not handed on to processes that it starts, and known over NFS. It would
    be lost if this process opened and closed the file elsewhere.

    Raises:
        InputError: another process holds it.
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
