"""examples/minimal.py: it is short, it needs no Ray and no vLLM, and its reward rises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parent.parent.parent / "examples" / "minimal.py"
SHORT = """
import runpy, sys
from dataclasses import replace
from pathlib import Path
from rich.console import Console
minimal = runpy.run_path(sys.argv[1])
settings = minimal["Settings"](imitation_steps=2, steps=2, prompts=3, group=2)
curve = minimal["train"](settings, Path(sys.argv[2]), Console())
assert len(curve) == 2
assert not {"ray", "vllm", "trl"} & set(sys.modules)
"""


def test_it_fits_on_a_page_and_needs_no_cluster(tmp_path: Path) -> None:
    assert len(FILE.read_text().splitlines()) <= 250
    output = subprocess.run(
        [sys.executable, "-c", SHORT, str(FILE), str(tmp_path)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "step  2  reward" in output


@pytest.mark.slow
def test_the_reward_rises() -> None:
    """As a user runs it: from what imitation left to nearly all answers right."""
    output = subprocess.run(
        [sys.executable, str(FILE)], check=True, capture_output=True, text=True
    ).stdout
    *_, last = output.strip().splitlines()
    words = last.split()
    before, after = float(words[2]), float(words[4])
    assert before < 0.75 and after > 0.9, last
