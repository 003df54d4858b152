"""A source of one's own: a function in a module, named as ``module:callable``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from qwenlong.cli import main
from qwenlong.commands.data import examples_at
from qwenlong.config import BuildConfig, DataConfig, SourceConfig
from qwenlong.data import registry
from qwenlong.data.build import build
from qwenlong.data.pipeline import load
from qwenlong.data.prompts import Renderer
from qwenlong.data.rules import Rules
from qwenlong.rewards.registry import verifier
from qwenlong.types import InputError

MODULE = """
from qwenlong.types import Example

def read(config, split, count_tokens, seed):
    for n in range(config.examples or 20):
        text = f"Gate {n} opens with {n * 37 + 100}."
        yield Example(
            f"gate-{n}", "gates", f"What opens gate {n}?", (text,), (str(n * 37 + 100),),
            gold_documents=(0,), metadata={"tokens": count_tokens(text), "split": split},
        )

def by_language(config, split, count_tokens, seed):
    for n in range(config.examples):
        word = {"en": "gate", "zh": "门"}[config.language]
        text = f"{word} {n} opens with {n * 37 + 100}."
        yield Example(f"{word}-{n}", word, f"What opens {word} {n}?", (text,), (str(n * 37 + 100),))

def short(config):
    return []

def texts(config, split, count_tokens, seed):
    return ["no example"]

number = 3
"""
EXPERIMENT = """
policy: {path: tiny, window: 256, tiny: {layers: 1, hidden: 64, heads: 2, kv_heads: 1}}
data:
  train: [{source: "NAME", examples: 12}]
  held_out: [{source: "NAME", examples: 4}]
stages:
  rl: {kind: rl, context: 200, response: 32, steps: 2, batch: 8, group: 4, learning_rate: 1e-3}
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    """The beginning of a reference to it. Python keeps modules by name: each test has its own."""
    file = tmp_path / f"{tmp_path.name}.py"
    file.write_text(MODULE)
    return f"{file}:"


@pytest.fixture
def rules(tokenizer: PreTrainedTokenizerBase) -> Rules:
    return Rules(Renderer(tokenizer), 0, check=verifier)


def test_its_examples_become_prompts_and_are_divided(module: str, rules: Rules) -> None:
    spec = SourceConfig(f"{module}read")
    data = DataConfig(train=[spec], held_out=[spec])
    train, _ = load(data, "train", rules)
    held_out, _ = load(data, "held_out", rules)
    ids = [{prompt.example.id for prompt in prompts} for prompts in (train, held_out)]
    assert len(ids[0]) + len(ids[1]) == 20 and not ids[0] & ids[1] and ids[1]
    assert {prompt.example.metadata["split"] for prompt in held_out} == {"held_out"}
    assert all(prompt.example.metadata["tokens"] > 3 for prompt in train)


def test_it_gets_its_own_number_of_examples_also_where_others_lengthen_them(
    module: str, rules: Rules
) -> None:
    spec = SourceConfig(f"{module}by_language", examples=20, lengthen=200, distractors="random")
    prompts, _ = load(DataConfig(train=[spec]), "train", rules)
    assert len(prompts) == 20 and min(len(prompt.ids) for prompt in prompts) > 150


def test_what_one_function_gives_for_other_keys_is_another_set(module: str, rules: Rules) -> None:
    specs = [
        SourceConfig(f"{module}by_language", language=each, examples=20) for each in ("en", "zh")
    ]
    data = DataConfig(train=specs, held_out=specs)
    train, _ = load(data, "train", rules)
    held_out, _ = load(data, "held_out", rules)
    ids = [{prompt.example.id for prompt in prompts} for prompts in (train, held_out)]
    assert not ids[0] & ids[1]
    assert {each.split("-")[0] for each in ids[1]} == {"gate", "门"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gone", "source=.*:gone: cannot be imported"),
        ("number", "source=.*: cannot be called; it is int"),
        ("short", r"must take the arguments \(config, split, count_tokens, seed\)"),
    ],
)
def test_a_function_that_is_none_is_refused_before_it_is_called(
    name: str, why: str, module: str
) -> None:
    with pytest.raises(InputError, match=why):
        registry.known(SourceConfig(f"{module}{name}"))


def test_what_it_gives_must_be_examples(module: str, rules: Rules) -> None:
    data = DataConfig(train=[SourceConfig(f"{module}texts")])
    with pytest.raises(InputError, match=r"data.train.0.source=.*: must give .*item 1 is str"):
        load(data, "train", rules)


def test_a_set_is_built_from_it_and_anew_when_its_module_changes(
    module: str, rules: Rules, tmp_path: Path
) -> None:
    config = BuildConfig(tokenizer="", sources=[SourceConfig(f"{module}read")])
    out = tmp_path / "set"
    made = build(config, rules, out, lambda *_: None)
    assert made["splits"]["train"]["sources"] == {"gates": 20}
    assert build(config, rules, out, lambda *_: None) == made
    assert [each.id for each in examples_at(out)] == [f"gate-{n}" for n in range(20)]
    Path(module.removesuffix(":")).write_text(MODULE + "\n")
    with pytest.raises(InputError, match="holds another set"):
        build(config, rules, out, lambda *_: None)


def ran(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["qwenlong", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command_line_takes_it(
    module: str,
    tiny_policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    experiment = tmp_path / "gates.yaml"
    experiment.write_text(EXPERIMENT.replace("NAME", f"{module}read"))
    assert ran(monkeypatch, "train", str(experiment), "--dry-run") == 0
    assert f"data.train: {module}read" in capsys.readouterr().out.replace("\n", "")
    experiment.write_text(EXPERIMENT.replace("NAME", f"{module}short"))
    assert ran(monkeypatch, "train", str(experiment), "--dry-run") != 0
    told = " ".join("".join(capsys.readouterr()).split())
    assert "data.train.0.source=" in told and "must take the arguments" in told
    mix = tmp_path / "mix.yaml"
    mix.write_text(
        f"tokenizer: {tiny_policy}\nsources: [{{source: '{module}read', examples: 5}}]\n"
    )
    assert ran(monkeypatch, "data", "build", str(mix), "--out", str(tmp_path / "mix")) == 0
    assert len(list(examples_at(tmp_path / "mix"))) == 5
