"""What several tests stand on: small real policies, and prompts in their tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from qwenlong.config import SourceConfig, TinyConfig
from qwenlong.data import facts
from qwenlong.data.prompts import training_texts
from qwenlong.model.tiny import build_tiny
from qwenlong.types import Example

WINDOW = 256
TINY = TinyConfig(layers=2, hidden=64, intermediate=128, heads=2, kv_heads=1)


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Documents of 36 to 400 words."""
    spec = SourceConfig("facts", examples=300, min_tokens=36, max_tokens=400)
    return list(facts.read(spec, "train", lambda text: len(text.split()), 0))


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    """Two layers of 64 with a native window of 256, tied, as it is drawn."""
    folder = tmp_path_factory.mktemp("policy")
    build_tiny(folder, training_texts(examples), TINY, WINDOW, seed=0)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tiny_policy: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_policy)
