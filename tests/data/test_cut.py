"""Over-long documents: what each policy keeps, and that it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from qwenlong.data.cut import GAP, fitted
from qwenlong.data.prompts import Renderer
from qwenlong.types import Example, InputError

FILLER = " ".join(f"The rain fell on road {n} all night." for n in range(60))
GOLD = "Ann keeps the mill in Arrow."


@pytest.fixture(scope="module")
def renderer(tokenizer: PreTrainedTokenizerBase) -> Renderer:
    return Renderer(tokenizer)


def example_of(*documents: str, gold: tuple[int, ...] = (), answer: str = "Ann") -> Example:
    return Example("a", "mine", "Who is in Arrow?", documents, (answer,), gold_documents=gold)


def test_what_fits_is_whole_and_what_is_dropped_is_told(renderer: Renderer) -> None:
    prompt = renderer.prompt(example_of(FILLER, GOLD))
    for policy in ("drop", "middle", "keep_gold"):
        result = fitted(prompt, renderer, len(prompt.ids), policy)
        assert result.prompt is prompt and result.fate == "whole"
    result = fitted(prompt, renderer, len(prompt.ids) - 1, "drop")
    assert result.prompt is None and result.fate == "dropped"
    with pytest.raises(InputError, match="over_long=shrink: must be one of drop, middle"):
        fitted(prompt, renderer, 100, "shrink")


@pytest.mark.parametrize("limit", [80, 100, 333, 700])
@pytest.mark.parametrize("policy", ["middle", "keep_gold"])
def test_limits_hold_and_the_cut_example_renders_to_the_same(
    renderer: Renderer, limit: int, policy: str
) -> None:
    whole = renderer.prompt(example_of(FILLER, FILLER, GOLD, FILLER, gold=(2,)))
    prompt = fitted(whole, renderer, limit, policy).prompt
    assert prompt is not None
    assert limit - 16 <= len(prompt.ids) <= limit
    assert prompt.cut == len(whole.ids) - len(prompt.ids)
    assert renderer.prompt(prompt.example).ids == prompt.ids


def test_the_middle_goes(renderer: Renderer) -> None:
    documents = ("First. " + FILLER, GOLD, FILLER + " Last.")
    result = fitted(renderer.prompt(example_of(*documents, gold=(1,))), renderer, 200, "middle")
    assert result.prompt and result.fate == "cut in the middle"
    first, last = result.prompt.example.documents
    assert documents[0].startswith(first) and documents[2].endswith(last)
    assert result.prompt.example.gold_documents == ()


def test_what_is_far_from_gold_goes_first(renderer: Renderer) -> None:
    documents = (FILLER, "Near before. " + FILLER, GOLD, "Near behind. " + FILLER, FILLER)
    result = fitted(renderer.prompt(example_of(*documents, gold=(2,))), renderer, 300, "keep_gold")
    assert result.prompt and result.fate == "cut around gold"
    before, gold, behind = result.prompt.example.documents
    assert gold == GOLD and result.prompt.example.gold_documents == (1,)
    assert documents[1].endswith(before) and documents[3].startswith(behind)


def test_gold_documents_far_apart_are_all_kept(renderer: Renderer) -> None:
    documents = (GOLD, FILLER, FILLER, "Bob is beside Ann.", FILLER)
    whole = renderer.prompt(example_of(*documents, gold=(0, 3), answer="Bob"))
    prompt = fitted(whole, renderer, 120, "keep_gold").prompt
    assert prompt and {GOLD, "Bob is beside Ann."} <= set(prompt.example.documents)
    kept = prompt.example
    assert [kept.documents[n] for n in kept.gold_documents] == [GOLD, "Bob is beside Ann."]


def test_unknown_gold_is_looked_for_by_the_answer(renderer: Renderer) -> None:
    text = f"{FILLER} It was ANN,\nSmith of the mill. {FILLER}"
    prompt = renderer.prompt(example_of(text, answer="Ann Smith"))
    result = fitted(prompt, renderer, 150, "keep_gold")
    assert result.fate == "cut around gold"
    assert result.prompt and "It was ANN,\nSmith of the mill." in result.prompt.example.documents[0]
    lost = fitted(renderer.prompt(example_of(text, answer="Zoe")), renderer, 150, "keep_gold")
    assert lost.prompt and lost.fate == "cut in the middle"


def test_gold_too_long_itself_is_cut_around_the_answer(renderer: Renderer) -> None:
    text = f"{FILLER} Ann sold 1,234 casks. {FILLER}"
    whole = renderer.prompt(example_of(FILLER, text, gold=(1,), answer="1234"))
    prompt = fitted(whole, renderer, 150, "keep_gold").prompt
    assert prompt and len(prompt.example.documents) == 1
    assert "Ann sold 1,234 casks." in prompt.example.documents[0]
    # A gold document that does not have the answer's words keeps its ends.
    whole = renderer.prompt(example_of(FILLER, f"Begin. {FILLER} End.", gold=(1,), answer="Zoe"))
    prompt = fitted(whole, renderer, 150, "keep_gold").prompt
    assert prompt and prompt.example.documents[0].startswith("Begin.")
    assert prompt.example.documents[0].endswith("End.") and GAP in prompt.example.documents[0]


def test_citations_follow_and_an_example_without_any_left_is_dropped(renderer: Renderer) -> None:
    documents = (FILLER, GOLD, FILLER)
    example = Example(
        "a", "m", "Who?", documents, ("Ann",), "citation", metadata={"gold_citations": [2]}
    )
    whole = renderer.prompt(example)
    limit = len(renderer.prompt(replace(example, documents=(GOLD,))).ids) + 4
    kept = fitted(whole, renderer, limit, "keep_gold").prompt
    assert kept is not None
    number = kept.example.documents.index(GOLD) + 1
    assert kept.example.metadata["gold_citations"] == [number]
    assert fitted(whole, renderer, 200, "middle").fate == "dropped"


def test_a_question_that_does_not_fit_is_refused_and_a_chat_dropped(renderer: Renderer) -> None:
    example = Example("a", "m", FILLER, (GOLD, FILLER), ("Ann",))
    for policy in ("middle", "keep_gold"):
        with pytest.raises(InputError, match=r"context=40: example 'a' does not fit"):
            fitted(renderer.prompt(example), renderer, 40, policy)
    turns = [{"role": "user", "content": FILLER}, {"role": "assistant", "content": "Ann."}]
    chat = Example("a", "m", "Who?", (FILLER,), ("Ann",), metadata={"messages": turns})
    assert fitted(renderer.prompt(chat), renderer, 40, "middle").fate == "dropped"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("ab é東。\n🙂", min_size=1, max_size=60), min_size=1, max_size=5),
    st.integers(0, 4),
    st.sampled_from(["middle", "keep_gold"]),
)
def test_no_text_is_cut_to_more_than_the_limit(
    renderer: Renderer, documents: list[str], gold: int, policy: str
) -> None:
    example = example_of(*documents, gold=(gold % len(documents),), answer="b 東")
    whole = renderer.prompt(example)
    limit = len(whole.ids) - max(1, len(whole.ids) // 20)
    try:
        prompt = fitted(whole, renderer, limit, policy).prompt
    except InputError:
        return
    assert prompt and len(prompt.ids) <= limit
    assert renderer.prompt(prompt.example).ids == prompt.ids
