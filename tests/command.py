"""Runs the command line in its own process, as a user does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
MARK = "QWENLONG_TEST_RUN"
"""An environment variable that all processes of a run inherit, so that leftovers can be found."""


class Command:
    """One run of the command line; its output goes to a file in ``folder``."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        self.output = folder / f"output-{self.mark}"
        # A script's background jobs ignore Ctrl-C, and the command would inherit that from them.
        code = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
            " from qwenlong.cli import main; main()"
        )
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                cwd=ROOT, env={**os.environ, MARK: self.mark}, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def left(self) -> list[str]:
        """Lists the processes of this command that still run, as lines of pid and command."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                ours = f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes()
                zombie = "State:\tZ" in (process / "status").read_text()
                if ours and not zombie:
                    name = (process / "cmdline").read_text().replace("\0", " ")
                    found.append(f"{process.name} {name[:300]}")
            except OSError:
                continue
        return found

    def strike(self, title: str, number: int) -> bool:
        """Sends a signal to the first process whose title matches; whether there was one."""
        found = (line.split(" ", 1) for line in self.left())
        pids = [int(pid) for pid, name in found if re.search(title, name)]
        for pid in pids[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                return True
        return False

    def wait_for(self, what: Callable[[], object], timeout_s: float = 240) -> None:
        end = time.monotonic() + timeout_s
        while not what():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < end, self.output.read_text()
            time.sleep(0.05)

    def ended(self, timeout_s: float = 400) -> int:
        """Waits until no process is left running, and returns the exit code."""
        code = self.process.wait(timeout_s)
        end = time.monotonic() + 30
        while (left := self.left()) and time.monotonic() < end:
            time.sleep(0.2)
        assert not left
        return code

    def clean_up(self) -> None:
        for line in self.left():
            os.kill(int(line.split()[0]), signal.SIGKILL)
