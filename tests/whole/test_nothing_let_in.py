"""Policies, experiments and runs of others are read, never run."""

from __future__ import annotations

import ast
import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from qwenlong.config.reading import load_config
from qwenlong.model.pretrained import (
    chat_tokenizer,
    check_policy,
    check_weights,
    load_policy,
    native_rope,
)
from qwenlong.report.runs import read_runs
from qwenlong.types import InputError

ROOT = Path(__file__).parents[2]
FILES = [
    *(ROOT / "qwenlong").rglob("*.py"),
    *(file for room in ("rewards", "rollout", "curricula") for file in (ROOT / room).rglob("*.py")),
]
PICKLES = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
RUNNING = ("eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system")


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), node) for node in found]


def offences(source: str) -> list[str]:
    """What in it could run what it reads."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        found += [name for name in names if name.partition(".")[0] in PICKLES]
    for name, call in calls(ast.parse(source)):
        given = {each.arg: ast.unparse(each.value) for each in call.keywords}
        loads = name == "torch.load" and given.get("weights_only") != "True"
        trusts = given.get("trust_remote_code", "False") != "False"
        if name in RUNNING or loads or trusts or {"shell", "allow_pickle"} & given.keys():
            found.append(ast.unparse(call))
    return found


def test_no_reader_that_runs_what_it_reads() -> None:
    assert len(FILES) > 100
    found = {str(file): offences(file.read_text(encoding="utf-8")) for file in FILES}
    assert not {file: calls for file, calls in found.items() if calls}


@pytest.mark.parametrize(
    "source",
    ["torch.load(x)", "torch.load(x, weights_only=False)", "eval(x)", "yaml.load(x)",
     "import pickle", "from dill import load", "f(x, trust_remote_code=True)",
     "run(x, shell=True)"],
)  # fmt: skip
def test_the_search_finds_each(source: str) -> None:
    assert len(offences(source)) == 1


def with_code(folder: Path, marker: Path, config: dict[str, object]) -> None:
    """A policy's folder that brings code of its own along."""
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "theirs.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Theirs: ...\n")


def test_pickled_weights_are_not_read(tiny_policy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(tiny_policy, folder)
    check_weights(str(folder))
    weights = load_policy(str(folder), "float32").state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=f"policy.path={folder}: has no weights in safetensors"):
        check_weights(str(folder))
    with pytest.raises(OSError, match="safetensors"):
        load_policy(str(folder), "float32")


def test_code_in_a_policys_folder_is_not_run(tiny_policy: Path, tmp_path: Path) -> None:
    marker, folder = tmp_path / "taken", tmp_path / "policy"
    shutil.copytree(tiny_policy, folder)
    known = json.loads((folder / "config.json").read_text())
    theirs = {"AutoConfig": "theirs.Theirs", "AutoModelForCausalLM": "theirs.Theirs"}
    with_code(folder, marker, {**known, "auto_map": theirs})
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["theirs.Theirs", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    # Of a known kind the code is passed over.
    assert native_rope(str(folder), None) == native_rope(str(tiny_policy), None)
    check_policy(str(folder), 1)
    assert chat_tokenizer(str(folder)).get_vocab() == chat_tokenizer(str(tiny_policy)).get_vocab()
    with_code(folder, marker, {"model_type": "theirs", "auto_map": theirs})
    refused = rf"policy.path={folder}: cannot be read as a policy \(.*custom code"
    with pytest.raises(InputError, match=refused):
        native_rope(str(folder), None)
    assert not marker.exists()


def test_an_experiment_that_names_a_python_object_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "taken"
    attack = f"!!python/object/apply:os.mkdir [{str(marker)!r}]"
    file = tmp_path / "theirs.yaml"
    file.write_text(f"seed: {attack}\n")
    with pytest.raises(InputError):
        load_config(file)
    file.write_text("seed: 1\n")
    with pytest.raises(InputError):
        load_config(file, [f"seed={attack}"])
    run = tmp_path / "run"
    (run / "rollouts").mkdir(parents=True)
    (run / "config.yaml").write_text(f"seed: {attack}\n")
    with suppress(InputError):
        read_runs([run])
    assert not marker.exists()
