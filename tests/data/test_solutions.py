"""What SFT imitates is right: every solution scores 1, and its prompt is of the same mode.

And no prompt tells whether its question has an answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from qwenlong.config import Config, DataConfig, PolicyConfig, RlStage, SftStage, SourceConfig
from qwenlong.data.prompts import Renderer
from qwenlong.data.sources.fields import closed_answer
from qwenlong.data.synthesis import TASKS
from qwenlong.rewards.registry import verifier
from qwenlong.rewards.wording import answer_text, instruction, is_chinese
from qwenlong.train.inputs import Inputs, read_inputs
from qwenlong.types import Example, InputError
from tests.data.hub_rows import SETS
from tests.data.published import EACH, read_rows, whole
from tests.data.solvers import CORPORA, DATA

MADE = 40
"""Examples of each synthetic task in each corpus."""
FACTS = SourceConfig("facts", examples=60, min_tokens=40, max_tokens=200)
DOCUMENT = "Read it.\n\nAnn is in Arrow.\n\nWho is in Arrow?"
ANSWER = "Therefore, the answer is Ann."


def not_scoring_1(examples: Sequence[Example]) -> list[tuple[str, str]]:
    """The answers for which their verifier does not pay in full, in either mode; and why."""
    found = []
    for example in examples:
        final = answer_text(example)
        thought = f"<think>\n{example.reasoning}\n</think>\n\n{final}"
        for response, thinking in ((thought, True), (final, False)):
            score = verifier(example)(example, response, thinking)
            if score.value < 1.0:
                found.append((example.id, f"{final}: {score.breakdown.get('why')}"))
    return found


@pytest.mark.parametrize("name", EACH)
def test_the_answers_of_published_sets_score_1(name: str) -> None:
    assert not_scoring_1(whole(name)[0]) == []


@pytest.mark.parametrize("name", SETS)
def test_the_answers_of_sets_on_the_hub_score_1(name: str, tmp_path: Path) -> None:
    examples, _ = read_rows(name, tmp_path / "train.json", SETS[name][1])
    assert examples and not_scoring_1(examples) == []


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not on this machine")
@pytest.mark.parametrize("corpus", CORPORA)
def test_the_answers_of_synthetic_tasks_score_1(corpus: str) -> None:
    load, language, count = CORPORA[corpus]
    texts = load()
    for make in TASKS.values():
        examples = list(make(texts, MADE, 1024, count, 0, language))
        assert examples and not_scoring_1(examples) == []


@pytest.mark.parametrize(
    ("question", "kind", "answers", "written"),
    [
        ("Who?", "extractive", ("Apple Inc.",), "Therefore, the answer is Apple Inc."),
        ("谁？", "extractive", ("苹果公司。",), "因此，答案是苹果公司。"),
        ("Is it?", "yes_no", ("Yes.",), "Therefore, the answer is yes."),
        ("是吗？", "yes_no", ("no",), "因此，答案是否。"),
        ("Which?", "list", ("a; b", "c"), 'Therefore, the answer is ["a; b", "c"].'),
    ],
)
def test_how_an_answer_is_written(
    question: str, kind: str, answers: tuple[str, ...], written: str
) -> None:
    example = Example("a", "m", question, (), answers, kind)
    assert answer_text(example) == written
    assert not_scoring_1([example]) == []


@pytest.mark.parametrize("question", ["Who is the captain?", "谁是船长？"])
def test_no_instruction_tells_whether_a_question_has_an_answer(question: str) -> None:
    """Where a set says of its questions whether they have one."""
    given: list[tuple[str, tuple[str, ...], bool]] = [
        ("extractive", ("Ann",), True),
        ("list", ("Ann", "Bob"), True),
        ("list", ("Ann; Bob", "Cy"), True),
        ("numeric", ("12.5",), True),
        ("date", ("4 March 2021",), True),
        ("summary", ("Ann sailed to the north in winter.",), True),
        ("yes_no", ("yes",), True),
        ("yes_no", ("unanswerable",), False),
        ("yes_no", ("Insufficient information.",), False),
    ]
    example = Example("a", "m", question, ("One.",), ())
    told = set()
    for kind, answers, answerable in given:
        metadata = {"answerable": answerable}
        each = replace(example, kind=kind, answers=answers, metadata=metadata)
        told.add(instruction(each, thinking=True))
        written = answer_text(each)
        assert verifier(each)(each, written, False).value == 1.0
        if not answerable:
            word = "无法回答" if is_chinese(question) else "unanswerable"
            assert word in written and word in instruction(each, thinking=True)
    assert len(told) == 1


@pytest.mark.parametrize("name", ["qasper", "musique", "multihoprag", "longbench", "docqa_rl"])
def test_sets_with_questions_without_an_answer_ask_all_alike(name: str, tmp_path: Path) -> None:
    examples, _ = read_rows(name, tmp_path / "train.json", SETS[name][1])
    may_lack = [each for each in examples if "answerable" in each.metadata]
    assert may_lack and len({instruction(each, thinking=True) for each in may_lack}) == 1
    for each in examples:
        if closed_answer(each.answers) == "unanswerable":
            assert each.metadata["answerable"] is False


def test_an_example_without_a_reasoning_is_written_without_thinking(
    tokenizer: PreTrainedTokenizerBase, examples: list[Example]
) -> None:
    fused = Renderer(tokenizer, thinking=None)
    for example in examples[:5]:
        plain = replace(example, reasoning="")
        for each, thinking in ((example, True), (plain, False)):
            own = Renderer(tokenizer, thinking)
            assert fused.prompt(each) == own.prompt(each)
            assert fused.solution(each) == own.solution(each)
            assert instruction(each, thinking) in tokenizer.decode(fused.prompt(each).ids)


def prepared(tmp_path: Path, policy: Path, *lines: dict[str, Any], source: str = "chat") -> Inputs:
    """A run whose SFT takes ``lines`` from a file."""
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    config = Config(
        policy=PolicyConfig(path=str(policy)),
        data=DataConfig(
            sft=[SourceConfig(source, path=str(path))], train=[FACTS], held_out=[FACTS]
        ),
        stages={
            "sft": SftStage(context=200, batch=2),
            "rl": RlStage(context=200, response=16, steps=1, batch=4, group=4),
        },
    )
    return read_inputs(config, tmp_path)


def test_chats_train_with_and_without_a_reasoning(
    tmp_path: Path, tiny_policy: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    ask = {"role": "user", "content": DOCUMENT}
    thought = {"role": "assistant", "content": ANSWER, "reasoning_content": "So."}
    blank = {"role": "assistant", "content": f"<think>\n\n</think>\n\n{ANSWER}"}
    last = ({"role": "assistant", "content": ANSWER}, thought, blank)
    result = prepared(tmp_path, tiny_policy, *({"messages": [ask, each]} for each in last))
    start = f"<|im_start|>user\n{DOCUMENT}<|im_end|>\n<|im_start|>assistant\n"
    empty = (f"{start}<think>\n\n</think>\n\n", f"{ANSWER}<|im_end|>")
    thinks = (start, f"<think>\nSo.\n</think>\n\n{ANSWER}<|im_end|>")
    rows = [tuple(tokenizer.decode(ids.tolist()) for ids in row) for row in result.sft_rows["sft"]]
    assert rows == [empty, thinks, empty]
    assert any("2 of 3 examples have no reasoning" in note for note in result.notes)
    for prompt in result.phase_prompts["rl"]:
        assert tokenizer.decode(prompt.ids).endswith("assistant\n")


def test_what_has_no_answer_cannot_be_imitated(tmp_path: Path, tiny_policy: Path) -> None:
    good = {"question": "Who?", "context": "Ann.", "answer": "Ann"}
    bare = {"question": "Who?", "context": "Ann.", "kind": "format", "max_characters": 9}
    with pytest.raises(InputError, match=r"data\.sft: example 'mine:2' has no answer"):
        prepared(tmp_path, tiny_policy, good, bare, source="jsonl")
