"""Cards by name: memory and speed as their vendors state them."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from qwenlong.types import InputError


@dataclass(frozen=True)
class Card:
    """A card of ``cards.csv``, which also says where its numbers are from; or the CPU."""

    name: str
    memory_gib: float
    """The memory that is sold; ``learner.py`` subtracts what the driver keeps."""
    tflops: float
    """Dense bf16, in 1e12 operations a second."""
    bandwidth: float
    """Bandwidth of its memory, in 1e9 bytes a second."""

    @property
    def is_cpu(self) -> bool:
        return self.name == CPU


CPU = "cpu"
_ROWS = Path(__file__).with_name("cards.csv").read_text(encoding="utf-8").splitlines()
CARDS = {
    row["name"]: Card(
        row["name"], float(row["memory_gib"]), float(row["tflops"]), float(row["bandwidth"])
    )
    for row in csv.DictReader(_ROWS)
}
CPU_TFLOPS_A_CORE = 0.244
"""fp32 products through oneDNN on one core of an AMD EPYC (``learner/linear.py``)."""
CPU_BANDWIDTH = 20.0
"""Shared by all actors of a machine, in 1e9 bytes a second; an assumption."""


def this_machine() -> Card:
    """The processor and memory of this machine, which all actors share."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")  # a container may have less than its host
    text = limit.read_text().strip() if limit.is_file() else "max"
    if text.isdecimal():
        memory = min(memory, int(text))
    cores = os.cpu_count() or 1
    return Card(CPU, memory / 2**30, CPU_TFLOPS_A_CORE * cores, CPU_BANDWIDTH)


def find_card(name: str) -> Card:
    """The card of that name, or this machine for ``cpu``.

    Raises:
        InputError: there is no card of that name.
    """
    if name == CPU:
        return this_machine()
    if name not in CARDS:
        raise InputError(f"--hardware={name}: must be one of {', '.join((*CARDS, CPU))}")
    return CARDS[name]
