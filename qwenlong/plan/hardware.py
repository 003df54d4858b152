"""Cards by name: memory and speed as their vendors state them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from qwenlong.types import InputError


@dataclass(frozen=True)
class Card:
    name: str
    memory_gib: float
    """As it is sold, where GB are powers of two; an H200's and a B200's as nvidia-smi tells it
    (143,771 and 183,359 MiB). What the driver keeps comes off in ``plan``."""
    tflops: float
    """Dense bf16, in 1e12 operations a second."""
    bandwidth: float
    """Of its memory, in 1e9 bytes a second."""

    @property
    def is_cpu(self) -> bool:
        return self.name == CPU


CPU = "cpu"
CARDS = {
    card.name: card
    for card in (
        # NVIDIA A100 Tensor Core GPU datasheet (SXM): 312 TFLOP/s, 1,555 and 2,039 GB/s.
        Card("A100-40G", 40, 312, 1555),
        Card("A100-80G", 80, 312, 2039),
        # NVIDIA H100 datasheet (SXM): 1,979 TFLOP/s with sparsity, 3.35 TB/s.
        Card("H100-80G", 80, 989.5, 3350),
        # NVIDIA H200 datasheet (SXM): 141 GB, 1,979 TFLOP/s with sparsity, 4.8 TB/s.
        Card("H200-141G", 140.4, 989.5, 4800),
        # NVIDIA H20, as resellers quote its datasheet: 96 GB, 148 TFLOP/s, 4.0 TB/s.
        Card("H20", 96, 148, 4000),
        # NVIDIA L40S datasheet: 48 GB with ECC, 733 TFLOP/s with sparsity, 864 GB/s.
        Card("L40S", 48, 366.5, 864),
        # NVIDIA DGX B200 datasheet, an eighth of it: 1,440 GB, 36 PFLOP/s with sparsity, 64 TB/s.
        Card("B200", 179.1, 2250, 8000),
        # NVIDIA Ada GPU architecture white paper: 165.2 TFLOP/s (fp32 accumulate), 1,008 GB/s.
        Card("RTX-4090", 24, 165.2, 1008),
    )
}
CPU_TFLOPS_A_CORE = 0.244
"""fp32 products through oneDNN on one core of an AMD EPYC (``learner/linear.py``)."""
CPU_BANDWIDTH = 20.0
"""Of all actors of a machine together; an assumption."""


def this_machine() -> Card:
    """The processor and memory of the machine this runs on, all actors sharing it."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    memory = min(pages, int(text)) if text.isdecimal() else pages
    cores = os.cpu_count() or 1
    return Card(CPU, memory / 2**30, CPU_TFLOPS_A_CORE * cores, CPU_BANDWIDTH)


def find_card(name: str) -> Card:
    """
    Raises:
        InputError: no card of that name is known.
    """
    if name == CPU:
        return this_machine()
    if name not in CARDS:
        raise InputError(f"--hardware={name}: must be one of {', '.join((*CARDS, CPU))}")
    return CARDS[name]
