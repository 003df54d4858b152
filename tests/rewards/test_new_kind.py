"""A new kind of answer is one file: from reading the data to the judge, nothing else is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from qwenlong.commands.score import score_file
from qwenlong.config import RewardConfig, SourceConfig
from qwenlong.data.length.cut import fitted
from qwenlong.data.length.distractors import answer_strings
from qwenlong.data.own.jsonl import read
from qwenlong.data.prompts import Renderer
from qwenlong.rewards import hybrid, kinds, registry
from qwenlong.rewards.hybrid import Rewards
from qwenlong.rewards.judge.judge import Verdict
from qwenlong.rewards.judge.prompt import Case
from qwenlong.rewards.wording import instruction
from qwenlong.types import Example, InputError

FILE = '''
"""Colours: their names, whatever their case, or their hexadecimal codes."""

from qwenlong.rewards.kind import GOLD_ANSWERS, Kind, Wording, all_or_nothing
from qwenlong.rewards.text.answer import extract

CODES = {"red": "#ff0000", "green": "#00ff00", "blue": "#0000ff"}


def check(example):
    unknown = [gold for gold in example.answers if gold not in CODES]
    if unknown:
        raise ValueError(f"answers={unknown!r}: must be of {', '.join(CODES)}")


def score(example, response, thinking=True):
    right = {form for gold in example.answers for form in (gold, CODES[gold])}
    return all_or_nothing(
        "colour",
        extract(response, thinking),
        " | ".join(example.answers),
        lambda answer: "" if answer.lower() in right else f"{answer} is another colour",
        right="it is the colour",
    )


KIND = Kind(
    "colour",
    score,
    check,
    asks=lambda example: Wording("the colour in one word", "颜色"),
    states=lambda example: example.answers[0].upper(),
    judge=GOLD_ANSWERS,
    texts=lambda example: (*example.answers, *(CODES[gold] for gold in example.answers)),
)
'''
FILLER = " ".join(f"The rain fell on road {n} all night." for n in range(60))
LINE = {
    "kind": "colour",
    "question": "Which colour has the gate?",
    "documents": [FILLER, "The gate is #0000ff.", FILLER],
    "answers": ["blue"],
}


@pytest.fixture(autouse=True)
def colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "kinds"
    folder.mkdir()
    (folder / "colour.py").write_text(FILE, encoding="utf-8")
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(folder)])
    registry.kinds.cache_clear()
    yield
    sys.modules.pop("qwenlong.rewards.kinds.colour", None)
    registry.kinds.cache_clear()


@pytest.fixture
def example(tmp_path: Path) -> Example:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(LINE))
    [found] = read(SourceConfig(source="jsonl", path=str(file)), "train", len, 0)
    assert isinstance(found, Example)
    return found


def test_its_gold_answers_are_checked_when_data_is_read(example: Example) -> None:
    hybrid.check(Rewards(), [example])
    with pytest.raises(InputError, match=r"answers=\['pink'\]: must be of red, green, blue"):
        registry.verifier(replace(example, answers=("pink",)))


def test_the_prompt_asks_for_it_and_the_worked_answer_scores(
    example: Example, tokenizer: PreTrainedTokenizerBase
) -> None:
    asked = 'Think first, then end with "Therefore, the answer is" and the colour in one word.'
    assert instruction(example, thinking=True) == asked
    chinese = replace(example, question="门是什么颜色的？")
    assert instruction(chinese, thinking=False) == "请以“因此，答案是”加上颜色结尾。"
    renderer = Renderer(tokenizer)
    assert asked in tokenizer.decode(renderer.prompt(example).ids)
    worked = tokenizer.decode(renderer.solution(example)[:-1])
    assert worked.endswith("Therefore, the answer is BLUE.")
    assert hybrid.score_all(Rewards(), [(example, worked)])[0].value == 1.0


def test_documents_are_cut_around_it(example: Example, tokenizer: PreTrainedTokenizerBase) -> None:
    assert answer_strings(example) == ("blue", "#0000ff")
    renderer = Renderer(tokenizer)
    short = fitted(renderer.prompt(example), renderer, 200, "keep_gold")
    assert short.fate == "cut around gold" and short.prompt
    assert any("#0000ff" in document for document in short.prompt.example.documents)


def test_a_judge_is_shown_it(example: Example) -> None:
    shown: list[Case] = []

    class Judge:
        def verdicts(self, cases: Sequence[Case]) -> list[Verdict]:
            shown.extend(cases)
            return [Verdict(1.0, "the same")] * len(cases)

    judged = Rewards({"*": RewardConfig("*", combine="max")}, Judge())  # type: ignore[arg-type]
    hybrid.check(judged, [example])
    [score] = hybrid.score_all(judged, [(example, "</think>Answer: azure")])
    assert score.value == 1.0
    assert shown == [Case("Which colour has the gate?", ("blue",), "azure")]


def test_the_command_scores_it(tmp_path: Path) -> None:
    lines = [{**LINE, "response": f"The answer is {said}"} for said in ("Blue.", "#0000FF", "red")]
    lines.append({**LINE, "answers": ["pink"], "response": "pink"})
    file, out = tmp_path / "answers.jsonl", tmp_path / "scored.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert score_file(file, out=out).malformed == 1
    scores = [json.loads(line)["score"] for line in out.read_text().splitlines()]
    assert [score["value"] for score in scores] == [1.0, 1.0, 0.0]
    assert scores[2]["breakdown"]["why"] == "wrong: red is another colour"
