"""What several tests of the data stand on, each read once a run."""

from __future__ import annotations

import re

import pytest
from transformers import AutoTokenizer

from qwenlong.config import TinyConfig
from qwenlong.data.length.distractors import Pool, documents_of, pool_of
from qwenlong.data.prompts import Renderer, training_texts
from qwenlong.model.tiny import build_tiny
from qwenlong.types import Example
from tests.data.published import DATA, whole

BOOK = DATA / "filler_gutenberg" / "moby_dick_2701-0.txt"


@pytest.fixture(scope="session")
def hotpot() -> tuple[Example, ...]:
    """The hundred questions of HotpotQA's sample, none lost."""
    examples, rejected = whole("hotpotqa")
    assert not rejected
    return examples


@pytest.fixture(scope="session")
def hotpot_renderer(
    hotpot: tuple[Example, ...], tmp_path_factory: pytest.TempPathFactory
) -> Renderer:
    """In tokens of a tokenizer trained on these questions and their documents."""
    folder = tmp_path_factory.mktemp("hotpot")
    tiny = TinyConfig(layers=1, hidden=16, intermediate=16, heads=1, kv_heads=1)
    build_tiny(folder, training_texts(list(hotpot)), tiny, 256, seed=0)
    return Renderer(AutoTokenizer.from_pretrained(folder))


@pytest.fixture(scope="session")
def hotpot_pool(hotpot: tuple[Example, ...], hotpot_renderer: Renderer) -> Pool:
    return pool_of(documents_of(hotpot), hotpot_renderer.count_documents)


@pytest.fixture(scope="session")
def book(hotpot_renderer: Renderer) -> Pool:
    """The paragraphs of Moby Dick."""
    if not BOOK.is_file():
        pytest.skip(f"{BOOK} is not on this machine")
    paragraphs = re.split(r"\n\s*\n", BOOK.read_text(encoding="utf-8-sig"))
    texts = [(paragraph.strip(), "") for paragraph in paragraphs]
    return pool_of(texts, hotpot_renderer.count_documents, ranked_by_question=False)
