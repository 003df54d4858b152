"""What a source's keys make of real questions: ids of lengthened copies, and hidden questions."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from qwenlong.config import DataConfig, SourceConfig
from qwenlong.data.length.distractors import group_of, pool_of
from qwenlong.data.pipeline import load, prompts_of
from qwenlong.data.prompts import Renderer
from qwenlong.data.rules import Rules, Tally
from qwenlong.data.splits import Side, sides
from qwenlong.data.synthesis.keychain import other_questions, why_not_hidden
from qwenlong.data.words import folded
from qwenlong.rewards.registry import kind_of, score, verifier
from qwenlong.types import Example, InputError, Prompt
from tests.data.published import folder, whole

TRAIN = Side("train")
KEY = "([0-9a-f]{32})"
LINK = re.compile(rf"Key {KEY} leads to key {KEY}\.|After key {KEY} comes key {KEY}\.")
END = re.compile(rf"(?:Key|With key) {KEY} (?:holds the question|ends the way): “(.+?)”(?=\s|$)")


@pytest.fixture
def rules(hotpot_renderer: Renderer) -> Rules:
    return Rules(hotpot_renderer, 0, check=verifier)


def hotpot(**keys: object) -> SourceConfig:
    return SourceConfig("hotpotqa", str(folder("hotpotqa")), **keys)  # type: ignore[arg-type]


def prompts(spec: SourceConfig, rules: Rules, side: Side = TRAIN) -> list[Prompt]:
    return list(prompts_of(spec, side, rules, Tally(spec.source)))


def followed(example: Example) -> tuple[list[str], str, list[str]]:
    """From documents and question alone: the chain, the question at its end, all other ends."""
    text = "\n\n".join(example.documents)
    leads = {
        one or other: next_one or next_other
        for one, next_one, other, next_other in LINK.findall(text)
    }
    ends = dict(END.findall(text))
    chain = re.findall(KEY, example.question)
    while chain[-1] in leads:
        chain.append(leads[chain[-1]])
    return chain, ends[chain[-1]], [each for key, each in ends.items() if key != chain[-1]]


def without_chains(document: str) -> str:
    return "".join(END.sub("", LINK.sub("", document)).split())


@pytest.mark.parametrize(
    ("tokens", "count"), [(8_192, 10), pytest.param(32_768, 2, marks=pytest.mark.slow)]
)
def test_a_hidden_question_is_found_again_by_its_chain(
    tokens: int, count: int, rules: Rules
) -> None:
    known = {example.question: example for example in whole("hotpotqa")[0]}
    made = prompts(hotpot(lengthen=tokens, hide=True, examples=count), rules)
    assert len(made) == count
    spread: list[float] = []
    for prompt in made:
        hidden = prompt.example
        chain, question, others = followed(hidden)
        example = known[question]
        assert hidden.metadata["hidden_question"] == question not in hidden.question
        assert chain == hidden.metadata["chain"] and 3 <= len(chain) <= 6
        assert 2 <= len(others) <= 4 and set(others) < set(known) and question not in others
        assert (hidden.answers, hidden.kind) == (example.answers, example.kind)
        assert score(hidden, f"</think>Therefore, the answer is {example.answers[0]}.").value == 1
        # Exact with the chains in it, which stand all over the documents and leave them whole.
        assert 0.98 * tokens <= len(prompt.ids) <= tokens
        assert rules.renderer.prompt(hidden).ids == prompt.ids
        text = "\n\n".join(hidden.documents)
        spread += [match.start() / len(text) for match in re.finditer(KEY, text)]
        bare = [without_chains(document) for document in hidden.documents]
        assert {"".join(document.split()) for document in example.documents} <= set(bare)
        # Gold are the documents that answer and those of the chain; no other holds an answer.
        gold = {hidden.documents[place] for place in hidden.gold_documents}
        assert all(any(key in document for document in gold) for key in chain)
        if hidden.metadata["lengthened"]["unique"]:
            for document in set(hidden.documents) - gold - set(example.documents):
                own = without_chains(document) in map(without_chains, example.documents)
                assert own or f" {folded(example.answers[0])} " not in f" {folded(document)} "
    quarters = [sum(int(4 * place) == quarter for place in spread) for quarter in range(4)]
    assert min(quarters) > 0.15 * len(spread)


def test_a_seed_decides_the_chains(rules: Rules) -> None:
    spec = hotpot(hide=True, examples=2)
    first = prompts(spec, rules)
    assert prompts(spec, rules) == first
    other = prompts(spec, replace(rules, seed=1))
    assert all(a.example.question != b.example.question for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("over_long", ["middle", "keep_gold"])
def test_an_over_long_document_is_cut_and_its_chain_is_not(over_long: str, rules: Rules) -> None:
    rules = replace(rules, context=2_500, over_long=over_long)
    tally = Tally("hotpotqa")
    made = list(prompts_of(hotpot(hide=True, examples=10), TRAIN, rules, tally))
    assert tally.cut.total() > 3 and sum(prompt.cut > 0 for prompt in made) == tally.cut.total()
    for prompt in made:
        assert len(prompt.ids) <= 2_500
        assert not prompt.cut or len(prompt.ids) > 2_350
        assert followed(prompt.example)[1] == prompt.example.metadata["hidden_question"]


def test_only_kinds_whose_answers_need_no_words_of_the_question_are_hidden(rules: Rules) -> None:
    spec = SourceConfig("tatqa", str(folder("tatqa")), hide=True, examples=100)
    with pytest.raises(
        InputError, match=r"kind=\w+: hide=true takes choice, extractive, .* only \(on_err"
    ):
        prompts(spec, rules)
    tally = Tally("tatqa")
    made = list(prompts_of(spec, TRAIN, replace(rules, on_error="skip"), tally))
    assert len(made) == 100
    assert all(kind_of(prompt.example).may_hide_question for prompt in made)
    assert any("kind=numeric" in reason for reason in tally.left_out)
    assert "a chain of keys already" in why_not_hidden(made[0].example)


def test_a_lone_question_cannot_be_hidden_among_others(rules: Rules, tmp_path: Path) -> None:
    example = {"question": "Who is it?", "documents": ["It is Ann."], "answers": ["Ann"]}
    (tmp_path / "one.jsonl").write_text(json.dumps(example))
    spec = SourceConfig("jsonl", str(tmp_path / "one.jsonl"), hide=True)
    with pytest.raises(InputError, match="hide=true: has no other question to lead astray"):
        prompts(spec, rules)
    tally = Tally("jsonl")
    assert not list(prompts_of(spec, TRAIN, replace(rules, on_error="skip"), tally))
    assert tally.left_out.total() == 1


def test_other_questions_are_of_the_language_and_hold_no_answer() -> None:
    texts = [("Who left Arrow?", ""), ("谁离开了箭城？", ""), ("Was it Ann who left?", "")]
    texts += [(f"Who left place {n}?", "") for n in range(9)]
    pool = pool_of(texts, lambda texts: [0] * len(texts), False)
    example = Example("q", "mine", "Who left Arrow?", ("Ann left Arrow.",), ("Ann",))
    drawn = [other_questions(replace(example, id=f"q{n}"), pool, 0) for n in range(20)]
    assert {len(each) for each in drawn} == {2, 3, 4}
    assert {text for each in drawn for text in each} == {text for text, _ in texts[3:]}


def test_lengthened_copies_have_ids_of_their_own_and_one_group(rules: Rules) -> None:
    entries = [
        hotpot(examples=3),
        hotpot(examples=3, lengthen=4_096, distractors="random"),
        hotpot(examples=3, lengthen=8_192),
        hotpot(examples=3, lengthen=8_192, depth=0.5),
        hotpot(examples=3, hide=True),
    ]
    copies = [[prompt.example for prompt in prompts(spec, rules)] for spec in entries]
    assert len({example.id for each in copies for example in each}) == 5 * 3
    plain = copies[0]
    assert [example.id for example in copies[1]] == [
        f"{example.id}@4096-random" for example in plain
    ]
    for each in copies:
        assert list(map(group_of, each)) == list(map(group_of, plain))
    specs = {str(number): spec for number, spec in enumerate(entries)}
    train, held_out = sides(specs, specs, 0.2, len, 0)
    assert len({side.held_out for side in (*train.values(), *held_out.values())}) == 1
    found = [
        {group_of(prompt.example) for prompt in prompts(replace(spec, examples=None), rules, side)}
        for spec, side in ((entries[1], train["1"]), (entries[2], held_out["2"]))
    ]
    assert len(found[0]) == 80 and len(found[1]) == 20 and not found[0] & found[1]


def test_repeats_are_found_over_a_list_but_a_length_of_its_own_is_none(rules: Rules) -> None:
    rules = replace(rules, deduplicate=True)
    short = sorted(len(prompt.ids) for prompt in prompts(hotpot(), rules))[50]
    entries = [
        hotpot(examples=9, max_tokens=short),
        hotpot(examples=9, min_tokens=short + 1),
        hotpot(examples=9),
        hotpot(examples=9, lengthen=4_096),
    ]
    made, notes = load(DataConfig(train=entries), "train", rules)
    plain = [prompt.example.id for prompt in made if "@" not in prompt.example.id]
    assert len(plain) == len(set(plain)) == 27 and len(made) == 36
    made, notes = load(DataConfig(train=[hotpot(), hotpot(), hotpot(examples=200)]), "train", rules)
    assert len(made) == 100
    assert notes == [
        "data.train.1 (hotpotqa): 100 of 100 left out: repeats an earlier example",
        "data.train.2 (hotpotqa): 100 of 100 left out: repeats an earlier example",
        "data.train.2 (hotpotqa): 200 asked for, 0 are there",
    ]


def test_a_copy_cut_to_a_length_has_an_id_of_its_own_too(rules: Rules) -> None:
    rules = replace(rules, over_long="middle")
    spec = hotpot(examples=3, lengthen=500)
    made = prompts(spec, rules)
    assert all(prompt.cut and prompt.example.id.endswith("@500") for prompt in made)
