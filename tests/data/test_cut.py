"""Over-long documents: what each policy keeps, and that it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from qwenlong.data.length.cut import GAP, WHOLE, fitted
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


@pytest.mark.parametrize("limit", [80, 100, 333, 700])
@pytest.mark.parametrize(("policy", "answer"), [("middle", "Zoe"), ("keep_gold", "Ann")])
def test_limits_hold_and_the_cut_example_renders_to_the_same(
    renderer: Renderer, limit: int, policy: str, answer: str
) -> None:
    gold = (2,) if policy == "keep_gold" else ()
    whole = renderer.prompt(example_of(FILLER, FILLER, GOLD, FILLER, gold=gold, answer=answer))
    prompt = fitted(whole, renderer, limit, policy).prompt
    assert prompt is not None
    assert limit - 16 <= len(prompt.ids) <= limit
    assert prompt.cut == len(whole.ids) - len(prompt.ids)
    assert renderer.prompt(prompt.example).ids == prompt.ids


def test_the_middle_goes(renderer: Renderer) -> None:
    documents = ("First. " + FILLER, GOLD, FILLER + " Last.")
    example = example_of(*documents, answer="Zoe")
    result = fitted(renderer.prompt(example), renderer, 200, "middle")
    assert result.prompt and result.fate == "cut in the middle"
    first, last = result.prompt.example.documents
    assert documents[0].startswith(first) and documents[2].endswith(last)


@pytest.mark.parametrize(
    "example",
    [
        example_of(FILLER, GOLD, FILLER),
        example_of(FILLER, GOLD, FILLER, answer="nn keep"),
        example_of(FILLER, GOLD, FILLER, gold=(1,), answer="Zoe"),
        example_of("Ann. " + FILLER, GOLD, FILLER, gold=(0, 1)),
        example_of("Ann. " + FILLER, FILLER + GOLD + FILLER, FILLER, gold=(1,)),
        replace(example_of(GOLD, FILLER, GOLD, FILLER, GOLD), kind="citation",
                metadata={"gold_citations": [1, 3]}),
    ],
)  # fmt: skip
def test_an_example_whose_answer_is_cut_out_is_dropped(
    renderer: Renderer, example: Example
) -> None:
    result = fitted(renderer.prompt(example), renderer, 200, "middle")
    assert result.prompt is None and result.fate == "answer cut out"


def test_a_gap_joins_no_answer(renderer: Renderer) -> None:
    text = f"It was Ann {FILLER} Smith it was."
    whole = renderer.prompt(example_of("Ann Smith it is. " + text, answer="Ann Smith"))
    assert fitted(whole, renderer, 200, "middle").prompt
    bare = renderer.prompt(example_of(f"{FILLER} Ann Smith {FILLER}", answer="Ann Smith"))
    assert fitted(bare, renderer, 200, "middle").fate == "answer cut out"
    assert fitted(bare, renderer, 200, "keep_gold").fate == "cut around gold"


@pytest.mark.parametrize("made", WHOLE)
@pytest.mark.parametrize("policy", ["middle", "keep_gold"])
def test_what_needs_all_of_its_text_is_never_cut(
    renderer: Renderer, policy: str, made: str
) -> None:
    example = example_of(GOLD, FILLER, gold=(0,))
    whole = renderer.prompt(replace(example, kind=made))
    assert fitted(whole, renderer, 200, policy).fate == "needs all of its text"
    told = fitted(renderer.prompt(example), renderer, 200, policy, made)
    assert told.prompt is None and told.fate == "needs all of its text"


def test_a_chain_of_keys_is_not_cut(renderer: Renderer) -> None:
    metadata = {"chain": ["0f", "1e"], "hidden_question": "Who is in Arrow?"}
    links = ("Key 0f leads to key 1e.", "Key 1e holds the question: “Who is in Arrow?”")
    ends = renderer.prompt(
        replace(example_of(links[0] + GOLD, FILLER, links[1]), metadata=metadata)
    )
    prompt = fitted(ends, renderer, 200, "middle").prompt
    assert prompt and all(link in " ".join(prompt.example.documents) for link in links)
    cut = renderer.prompt(replace(example_of(GOLD, FILLER, *links, FILLER), metadata=metadata))
    assert fitted(cut, renderer, 120, "keep_gold").fate == "answer cut out"


def test_gold_documents_of_a_synthetic_task_stay_whole(renderer: Renderer) -> None:
    whole = renderer.prompt(example_of(FILLER, GOLD, FILLER, gold=(1,)))
    assert fitted(whole, renderer, 200, "keep_gold", "needles").prompt
    whole = renderer.prompt(example_of(FILLER, f"{GOLD} {FILLER}", gold=(1,)))
    assert fitted(whole, renderer, 200, "keep_gold").prompt
    assert fitted(whole, renderer, 200, "keep_gold", "needles").fate == "answer cut out"


@pytest.mark.parametrize("answer", ["1998年", "A股", "股票A", "12月5"])
def test_chinese_answers_that_begin_or_end_in_letters_are_found(
    renderer: Renderer, answer: str
) -> None:
    filler = "大雨整夜落在路上。" * 80
    whole = renderer.prompt(example_of(f"{filler}他于{answer}在北京。{filler}", answer=answer))
    result = fitted(whole, renderer, 200, "keep_gold")
    assert result.fate == "cut around gold"
    assert result.prompt and f"于{answer}在" in result.prompt.example.documents[0]


@pytest.mark.parametrize(("answer", "beside"), [("Ann", "Annette"), ("77", "177"), ("É", "ÉA")])
def test_part_of_a_word_is_not_taken_for_the_answer(
    renderer: Renderer, answer: str, beside: str
) -> None:
    text = f"{FILLER} {beside}. {FILLER} {answer}. {FILLER} {FILLER}"
    prompt = fitted(renderer.prompt(example_of(text, answer=answer)), renderer, 90, "keep_gold")
    assert prompt.prompt and f" {answer}. " in prompt.prompt.example.documents[0]


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
    assert fitted(whole, renderer, 200, "middle").fate == "answer cut out"


def test_a_question_that_does_not_fit_is_refused_and_a_chat_dropped(renderer: Renderer) -> None:
    example = Example("a", "m", FILLER, (GOLD, FILLER), ("Ann",))
    for policy in ("middle", "keep_gold"):
        with pytest.raises(InputError, match=r"context=40: does not fit even without"):
            fitted(renderer.prompt(example), renderer, 40, policy)
    turns = [{"role": "user", "content": FILLER}, {"role": "assistant", "content": "Ann."}]
    chat = Example("a", "m", "Who?", (FILLER,), ("Ann",), metadata={"messages": turns})
    assert fitted(renderer.prompt(chat), renderer, 40, "middle").fate == "dropped"


@settings(max_examples=60)
@given(
    st.lists(st.text("ab é東。\n🙂", min_size=1, max_size=60), min_size=1, max_size=5),
    st.integers(0, 4),
    st.sampled_from(["middle", "keep_gold"]),
)
def test_no_text_is_cut_to_more_than_the_limit(
    renderer: Renderer, documents: list[str], gold: int, policy: str
) -> None:
    example = example_of(*documents, gold=(gold % len(documents),), answer="!")
    whole = renderer.prompt(example)
    limit = len(whole.ids) - max(1, len(whole.ids) // 20)
    try:
        prompt = fitted(whole, renderer, limit, policy).prompt
    except InputError:
        return
    if prompt is None:
        return
    assert len(prompt.ids) <= limit
    assert renderer.prompt(prompt.example).ids == prompt.ids
