"""Every kind has its verifier, and gold that it cannot read is found before a run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qwenlong.rewards import kinds as folder
from qwenlong.rewards import registry
from qwenlong.rewards.kind import Kind, _accept
from qwenlong.types import Example, InputError, Score

KINDS = sorted(registry.kinds())
FOLDER = Path(folder.__file__).parent


def example(kind: str, *answers: str, name: str = "e1") -> Example:
    return Example(name, "test", "Which?", (), answers or ("5",), kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_its_file_and_its_verifier(kind: str) -> None:
    found = registry.find(kind)
    assert found.name == kind
    assert found.score.__module__ == f"qwenlong.rewards.kinds.{kind}"
    assert found.check is getattr(sys.modules[found.score.__module__], "check", _accept)


def test_every_file_of_the_folder_is_a_kind() -> None:
    assert [file.stem for file in sorted(FOLDER.glob("[!_]*.py"))] == KINDS


@pytest.mark.parametrize("text", ["", "KIND = 5", "from qwenlong.rewards.kinds.date import KIND"])
def test_a_file_without_a_kind_of_its_name_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"no_kind_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(folder, "__path__", [str(tmp_path)])
    with pytest.raises(TypeError, match=rf"kinds/{name}.py: needs KIND = Kind\('{name}', …\)"):
        registry.kinds.__wrapped__()


def test_an_unknown_kind_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"kind='essay' of example 'e1': must be one of ") as error:
        registry.verifier(example("essay"))
    assert all(kind in str(error.value) for kind in KINDS)
    with pytest.raises(InputError, match="kind='essay'"):
        registry.score(example("essay"), "</think>5")


UNREADABLE: dict[str, Example] = {
    "extractive": example("extractive", "!", ""),
    "numeric": example("numeric", "many"),
    "choice": example("choice", "none"),
    "yes_no": example("yes_no", "perhaps"),
    "list": example("list", " "),
    "order": example("order", "one"),
    "date": example("date", "soon"),
    "summary": example("summary", "!"),
    "citation": example("citation", "Paris"),
    "format": example("format"),
    "official_docmath": example("official_docmath", "many"),
    "official_choice": example("official_choice", "e"),
}


def test_every_kind_that_checks_its_gold_is_tried() -> None:
    checking = {name for name, kind in registry.kinds().items() if kind.check is not _accept}
    assert UNREADABLE.keys() == checking


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_check_says_what_is_wrong_and_the_registry_whose_it_is(kind: str) -> None:
    bad = UNREADABLE[kind]
    with pytest.raises(ValueError, match=": must ") as unnamed:
        registry.find(kind).check(bad)
    assert not isinstance(unnamed.value, InputError) and "e1" not in str(unnamed.value)
    with pytest.raises(InputError) as named:
        registry.verifier(bad)
    assert str(named.value) == f"example 'e1': {unnamed.value}"


def test_a_cited_answer_is_checked_as_its_own_kind_is() -> None:
    cited = replace(
        example("citation", "many"), metadata={"gold_citations": [1], "answer_kind": "numeric"}
    )
    with pytest.raises(InputError, match=r"^example 'e1': answers=\['many'\]: must be a number"):
        registry.verifier(cited)


def test_what_a_check_says_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(example: Example) -> None:
        raise ValueError("answers=['x']: a\nnumber")

    changed = replace(registry.find("extractive"), check=check)
    monkeypatch.setitem(registry.kinds(), "extractive", changed)
    with pytest.raises(InputError) as error:
        registry.verifier(example("extractive", "x"))
    assert str(error.value) == "example 'e1': answers=['x']: a number"


def test_score_does_not_check_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(example: Example) -> None:
        raise AssertionError

    changed = replace(registry.find("extractive"), check=check)
    monkeypatch.setitem(registry.kinds(), "extractive", changed)
    said = "</think>Therefore, the answer is 5."
    assert registry.score(example("extractive"), said).value == 1.0


def test_nothing_can_be_known_of_an_unknown_kind() -> None:
    unknown = registry.kind_of(example("essay"))
    assert unknown.name == "essay" and unknown.judge is None
    assert not unknown.may_hide_question
    with pytest.raises(InputError, match="kind='essay' of example 'e1'"):
        unknown.check(example("essay"))


def test_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def mine(example: Example, response: str, thinking: bool = True) -> Score:
        asked.append((response, thinking))
        return Score(0.5, "mine")

    monkeypatch.setitem(registry.kinds(), "mine", Kind("mine", mine))
    assert registry.verifier(example("mine")) is mine
    assert registry.score(example("mine"), "said", False) == Score(0.5, "mine")
    assert asked == [("said", False)]


def test_the_registry_loads_nothing_heavy() -> None:
    code = (
        "import sys, qwenlong.rewards.registry;"
        "heavy = ('torch', 'ray', 'vllm', 'transformers', 'httpx', 'sqlite3', 'numpy');"
        "print([name for name in heavy if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
