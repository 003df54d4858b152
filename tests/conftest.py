"""Order and reporting of all tests; fixtures that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from qwenlong.config import SourceConfig, TinyConfig
from qwenlong.data.prompts import training_texts
from qwenlong.data.synthesis import facts
from qwenlong.model.tiny import build_tiny
from qwenlong.types import Example
from tests.command import Command
from tests.small import write_experiment

# A property that holds is not refuted by a busy machine.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

WINDOW = 256
TINY = TinyConfig(layers=2, hidden=64, intermediate=128, heads=2, kv_heads=1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests may take longest come first, so that none of them runs alone at the end.

    vLLM's own tests are among them. vLLM 0.32 does not start in a process that has loaded numba,
    as tests of shorter files do.
    """
    longest: dict[Path, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0.0), marker.args[0] if marker else 0.0)
    items.sort(key=lambda item: -longest[item.path])


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Names a test as soon as it fails; pytest-xdist names it only when all tests have run."""
    if not report.failed:
        return None
    crash = getattr(report.longrepr, "reprcrash", None)
    message = getattr(crash, "message", str(report.longrepr)).partition("\n")[0]
    category = "failed" if report.when == "call" else "error"
    return category, f"\n{category.upper()} {report.nodeid}: {message}\n", category.upper()


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Documents of 36 to 400 words."""
    spec = SourceConfig("facts", examples=300, min_tokens=36, max_tokens=400)
    return list(facts.read(spec, "train", lambda text: len(text.split()), 0))


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    """A random policy: two layers of 64, a native window of 256, tied embeddings."""
    folder = tmp_path_factory.mktemp("policy")
    build_tiny(folder, training_texts(examples), TINY, WINDOW, seed=0)
    return folder


@pytest.fixture(scope="session")
def tiny_moe_policy(tmp_path_factory: pytest.TempPathFactory, tiny_policy: Path) -> Path:
    """The tiny policy with four experts in each layer, of which a token takes two."""
    folder = tmp_path_factory.mktemp("moe")
    dense = AutoConfig.from_pretrained(tiny_policy).to_dict()
    dropped = {
        "model_type",
        "architectures",
        "layer_types",
        "max_window_layers",
        "use_sliding_window",
    }
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
    settings = {key: value for key, value in dense.items() if key not in dropped}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**settings, **experts, norm_topk_prob=True))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_policy).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tiny_policy: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_policy)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Command]]:
    commands: list[Command] = []

    def start(*arguments: str) -> Command:
        commands.append(Command(tmp_path_factory.mktemp("output"), *arguments))
        return commands[-1]

    yield start
    for command in commands:
        command.clean_up()


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="session")
def whole(experiment: Path, start: Callable[..., Command]) -> tuple[Path, str]:
    """An undisturbed run's folder, and what it printed."""
    run = experiment.parent / "whole"
    command = start("train", str(experiment), f"run_dir={run}")
    assert command.ended() == 0, command.output.read_text()
    return run, command.output.read_text()
