"""Every kind has its verifier, and gold that it cannot read is found before a run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qwenlong.rewards import registry
from qwenlong.types import Example, InputError, Score

KINDS = sorted(registry.VERIFIERS)
ROOM = Path(registry.__file__).resolve().parent


def example(kind: str, *answers: str, name: str = "e1") -> Example:
    return Example(name, "test", "Which?", (), answers or ("5",), kind=kind)


def module_of(score: Callable[..., object]) -> object:
    return sys.modules[score.__module__]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_its_verifiers_name(kind: str) -> None:
    module = module_of(registry.VERIFIERS[kind])
    if kind.startswith("official_"):
        assert module.__name__.endswith(".official")  # type: ignore[attr-defined]
        return
    assert kind == module.NAME  # type: ignore[attr-defined]
    # A verifier that can find gold unreadable must be asked.
    assert registry.CHECKS.get(kind) is getattr(module, "check", None)


def test_every_verifier_of_the_room_is_named() -> None:
    named = {module_of(score).__name__ for score in registry.VERIFIERS.values()}  # type: ignore[attr-defined]
    for file in ROOM.glob("*.py"):
        text = file.read_text()
        if "\nNAME = " in text and "\ndef score(" in text:
            assert f"qwenlong.rewards.{file.stem}" in named, file.stem


def test_checks_are_of_known_kinds() -> None:
    assert set(registry.CHECKS) <= set(registry.VERIFIERS)


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


@pytest.mark.parametrize("kind", registry.CHECKS)
def test_a_check_says_what_is_wrong_and_the_registry_whose_it_is(kind: str) -> None:
    bad = UNREADABLE[kind]
    with pytest.raises(ValueError, match=": must ") as unnamed:
        registry.CHECKS[kind](bad)
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

    monkeypatch.setitem(registry.CHECKS, "extractive", check)
    with pytest.raises(InputError) as error:
        registry.verifier(example("extractive", "x"))
    assert str(error.value) == "example 'e1': answers=['x']: a number"


def test_score_does_not_check_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(example: Example) -> None:
        raise AssertionError

    monkeypatch.setitem(registry.CHECKS, "extractive", check)
    said = "</think>Therefore, the answer is 5."
    assert registry.score(example("extractive"), said).value == 1.0


def test_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def mine(example: Example, response: str, thinking: bool = True) -> Score:
        asked.append((response, thinking))
        return Score(0.5, "mine")

    monkeypatch.setitem(registry.VERIFIERS, "mine", mine)
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
