"""Functions of the user's: found, checked, and refused with one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from qwenlong.config.callables import ADVANTAGE, VERIFIER, anchored, resolve
from qwenlong.types import InputError

OWN = """
from some_helper import ONE

def score(example, response, thinking):
    return ONE

def renamed(a, b, c=False, *, d=3):
    return 0.5

def anything(*args, **kwargs):
    return 0.0

def short(example, response):
    return 0.0

def keyword(example, response, *, thinking):
    return 0.0

def long(example, response, thinking, more):
    return 0.0

class Inner:
    @staticmethod
    def score(example, response, thinking):
        return 1

TEXT = "score"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "some_rules.py").write_text(OWN)
    (tmp_path / "some_helper.py").write_text("ONE = 1.0\n")
    (tmp_path / "some_broken.py").write_text("import no_such_module\n")
    (tmp_path / "some_exit.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "json.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != os.getcwd()])
    for name in ("some_rules", "some_helper", "some_broken", "some_exit"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("name", ["score", "renamed", "anything", "Inner.score"])
def test_a_module_may_be_a_file_of_the_working_directory(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    found = resolve(f"some_rules:{name}", "rule", VERIFIER)
    assert 0.0 <= found(None, "", True) <= 1.0


def test_a_file_may_be_named_by_its_path(folder: Path) -> None:
    assert resolve(f"{folder}/some_rules.py:score", "rule", VERIFIER)(None, "", True) == 1.0


def test_what_is_installed_is_found_and_may_have_no_signature() -> None:
    assert resolve("statistics:fmean", "learner.advantage", ADVANTAGE)([1.0, 2.0]) == 1.5
    assert resolve("builtins:max", "learner.advantage", ADVANTAGE) is max


BAD = {
    "short": "must take the arguments (example, response, thinking); its signature is"
    " (example, response)",
    "long": "must take the arguments (example, response, thinking)",
    "keyword": "must take the arguments (example, response, thinking); its signature is"
    " (example, response, *, thinking)",
    "absent": "cannot be imported: AttributeError",
    "": "cannot be imported: AttributeError",
    "TEXT": "cannot be called; it is str",
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_called_so_is_refused(name: str, folder: Path) -> None:
    reference = f"{folder}/some_rules.py:{name}"
    with pytest.raises(InputError) as error:
        resolve(reference, "rewards.by_source.0.rule", VERIFIER)
    line = str(error.value)
    assert line.startswith(f"rewards.by_source.0.rule={reference}: {BAD[name]}")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("reference", "right"),
    [
        ("no_such:f", "cannot be imported: ModuleNotFoundError"),
        (":f", "cannot be imported: ValueError"),
        ("some_broken:f", "cannot be imported: ModuleNotFoundError: No module named 'no_such_mod"),
        ("some_exit:f", "cannot be imported: SystemExit: 3"),
        ("some_rule.py:f", "there is no file "),
        ("json.py:score", "another module is called json, too; rename the file"),
    ],
)
def test_what_is_no_module_is_refused(
    reference: str, right: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError) as error:
        resolve(reference, "learner.objective", VERIFIER)
    assert str(error.value).startswith(f"learner.objective={reference}: {right}")


def test_references_to_files_become_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert anchored("some_rules:score", folder) == f"{folder}/some_rules.py:score"
    assert anchored("some_rules.py:score", folder) == f"{folder}/some_rules.py:score"
    assert anchored("json:loads", folder) == "json:loads"
    assert anchored("no_such:score", folder) == "no_such:score"
    monkeypatch.chdir(folder)
    elsewhere = folder.parent
    assert anchored("some_rules:score", elsewhere) == f"{folder}/some_rules.py:score"
    reference = anchored("some_rules:score", folder)
    resolve(reference, "rule", VERIFIER)
    assert anchored("some_rules:score", folder) == reference  # also once it has been imported
