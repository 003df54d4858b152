"""From examples to token ids: the template's form, what is cut, what is counted, what scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerBase

from qwenlong.config import SourceConfig
from qwenlong.data.load import read_examples, render
from qwenlong.data.prompts import INSTRUCTION, Renderer
from qwenlong.rewards.registry import score
from qwenlong.types import Example, InputError

WORDS = " ".join(f"w{i}" for i in range(400))


@pytest.fixture(scope="module")
def renderer(tokenizer: PreTrainedTokenizerBase) -> Renderer:
    return Renderer(tokenizer)


def example_of(*documents: str, question: str = "Who is in Arrow?") -> Example:
    return Example("a", "mine", question, documents, ("Ann",), reasoning="In Arrow Ann.")


def test_a_prompt_is_documents_then_question_in_the_chat_form(renderer: Renderer) -> None:
    prompt = renderer.prompt(example_of("One.", "Two."))
    assert renderer.tokenizer.decode(prompt.ids) == (
        f"<|im_start|>user\nOne.\n\nTwo.\n\nWho is in Arrow?\n{INSTRUCTION}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt.cut == 0


def test_a_solution_ends_its_turn_and_scores_1(renderer: Renderer, examples: list[Example]) -> None:
    eos = renderer.tokenizer.eos_token_id
    for example in examples:
        solution = renderer.solution(example)
        assert solution[-1] == eos and eos not in solution[:-1]
        # The engine leaves the end of turn out of its text.
        text = renderer.tokenizer.decode(solution[:-1])
        assert score(example, text).value == 1.0
        wrong = replace(example, answers=("Nobody",))
        assert score(wrong, text).value == 0.0


def test_prompt_and_solution_are_what_the_template_gives_for_the_whole_turn(
    renderer: Renderer, examples: list[Example]
) -> None:
    """A policy is fine-tuned on the very tokens that it reads and writes later."""
    example = examples[0]
    content = f"{example.documents[0]}\n\n{example.question}\n{INSTRUCTION}"
    answer = f"<think>\n{example.reasoning}\n</think>\n\nTherefore, the answer is "
    turns = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": f"{answer}{example.answers[0]}."},
    ]
    ids = renderer.tokenizer.apply_chat_template(turns, return_dict=False)
    ours = [*renderer.prompt(example).ids, *renderer.solution(example)]
    assert ours == ids[: len(ours)]
    assert renderer.tokenizer.decode(ids[len(ours) :]) == "\n"


@pytest.mark.parametrize("limit", [60, 61, 100, 333, 700])
def test_the_middle_is_cut_and_head_and_tail_stay(renderer: Renderer, limit: int) -> None:
    whole = renderer.prompt(example_of(WORDS))
    assert len(whole.ids) > 700
    prompt = renderer.cut_to(whole, limit)
    assert limit - 5 <= len(prompt.ids) <= limit
    assert prompt.example is whole.example
    # A merge across the cut can make one token of two.
    assert 0 <= len(whole.ids) - prompt.cut - len(prompt.ids) <= 5
    text = renderer.tokenizer.decode(prompt.ids)
    head, _, rest = renderer.tokenizer.decode(whole.ids).partition(WORDS)
    assert text.startswith(head) and text.endswith(rest)
    kept = text[len(head) : len(text) - len(rest)]
    start = next(i for i in range(len(kept), -1, -1) if WORDS.startswith(kept[:i]))
    assert WORDS.endswith(kept[start:])
    assert abs(start - len(kept) / 2) < 0.2 * len(kept) + 8


@pytest.mark.parametrize("text", ["東京は夜。" * 100, "ÅÄÖ é\u0301 🙂" * 80, "\n\n\t " * 200])
def test_no_text_is_cut_to_more_than_the_limit(renderer: Renderer, text: str) -> None:
    whole = renderer.prompt(example_of(text, text))
    for limit in (70, 90, 151):
        if len(whole.ids) > limit:
            assert len(renderer.cut_to(whole, limit).ids) <= limit


def test_what_fits_stays_as_it_is(renderer: Renderer) -> None:
    whole = renderer.prompt(example_of("Short."))
    assert renderer.cut_to(whole, len(whole.ids)) is whole


def test_a_question_that_does_not_fit_is_refused(renderer: Renderer) -> None:
    with pytest.raises(InputError, match=r"context=40: example 'a' does not fit"):
        renderer.cut_to(renderer.prompt(example_of(WORDS, question=WORDS)), 40)


def test_dropped_and_cut_are_counted(renderer: Renderer) -> None:
    examples = [example_of(text) for text in ("Short.", WORDS, "Brief.", WORDS)]
    dropped = render(examples, renderer, 100, "drop")
    assert (len(dropped.prompts), dropped.dropped, dropped.cut) == (2, 2, 0)
    assert [p.example.documents[0] for p in dropped.prompts] == ["Short.", "Brief."]
    cut = render(examples, renderer, 100, "middle")
    assert (len(cut.prompts), cut.dropped, cut.cut) == (4, 0, 2)
    assert [prompt.cut > 0 for prompt in cut.prompts] == [False, True, False, True]
    assert all(len(prompt.ids) <= 100 for prompt in cut.prompts)


def test_errors_name_the_source_they_are_of(renderer: Renderer) -> None:
    good = SourceConfig("facts", examples=2, min_tokens=30, max_tokens=40)
    for spec, message in (
        (SourceConfig("fatcs"), r"^data\.sft\.1\.source=fatcs: must be one of facts, recital"),
        (SourceConfig("facts"), r"^data\.sft\.1: examples=null"),
        (SourceConfig("jsonl", path="/no/such"), r"^data\.sft\.1: /no/such: there is no such"),
    ):
        with pytest.raises(InputError, match=message):
            read_examples([good, spec], "data.sft", "train", renderer.count_tokens, 0)
    with pytest.raises(InputError, match=r"^data\.sft=\[\]: no examples"):
        read_examples([], "data.sft", "train", renderer.count_tokens, 0)
    assert len(read_examples([good, good], "data.sft", "train", len, 0)) == 4
