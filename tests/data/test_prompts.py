"""From examples to token ids: the template's form in both modes, what is asked, what scores."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from qwenlong.data.prompts import Renderer, documents_text, training_texts
from qwenlong.rewards.registry import score, verifier
from qwenlong.rewards.wording import INSTRUCTION, instruction, is_chinese, question_text
from qwenlong.types import Example

OPTIONS = {"options": ["Ann", "Bob"]}
TURN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.fixture(scope="module")
def renderer(tokenizer: PreTrainedTokenizerBase) -> Renderer:
    return Renderer(tokenizer)


def of_template(tokenizer: PreTrainedTokenizerBase, template: str, thinking: bool) -> Renderer:
    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    return Renderer(other, thinking)


def example_of(*documents: str, question: str = "Who is in Arrow?") -> Example:
    return Example("a", "mine", question, documents, ("Ann",), reasoning="In Arrow Ann.")


def test_a_prompt_is_documents_then_question_in_the_chat_form(renderer: Renderer) -> None:
    """To the letter: published runs depend on it."""
    prompt = renderer.prompt(example_of("One.", "Two."))
    assert renderer.tokenizer.decode(prompt.ids) == (
        "<|im_start|>user\nOne.\n\nTwo.\n\nWho is in Arrow?\nThink first, then end with"
        ' "Therefore, the answer is" and the answer.<|im_end|>\n<|im_start|>assistant\n'
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


GENERATED = "{% if add_generation_prompt %}<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("template", "behind_question", "begins", "solution_begins"),
    [
        # Qwen3's switch: an empty think block.
        (None, "", "<think>\n\n</think>\n\n", "Therefore"),
        # R1's form opens the block: it is closed.
        (TURN + GENERATED + "<think>\n{% endif %}", "", "<think>\n\n</think>\n\n", "Therefore"),
        (TURN + GENERATED + "<think>{% endif %}", "", "<think>\n\n</think>\n\n", "Therefore"),
        # No switch, but a policy that knows the block: the words that it obeys.
        (TURN + GENERATED + "{% endif %}", " /no_think", "", "<think>\n\n</think>\n\nTherefore"),
    ],
)
def test_without_thinking(
    tokenizer: PreTrainedTokenizerBase,
    template: str | None,
    behind_question: str,
    begins: str,
    solution_begins: str,
) -> None:
    renderer = of_template(tokenizer, template or str(tokenizer.chat_template), thinking=False)
    example = example_of("One.")
    text = renderer.tokenizer.decode(renderer.prompt(example).ids)
    assert text == (
        '<|im_start|>user\nOne.\n\nWho is in Arrow?\nEnd with "Therefore, the answer is" and the'
        f" answer.{behind_question}<|im_end|>\n<|im_start|>assistant\n{begins}"
    )
    solution = renderer.tokenizer.decode(renderer.solution(example)[:-1])
    assert solution.startswith(solution_begins)
    assert score(example, solution, thinking=False).value == 1.0


def test_a_policy_that_does_not_think_is_left_as_it_is() -> None:
    words = Tokenizer(models.WordLevel({"<|im_end|>": 0, "?": 1, "Who": 2}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    plain = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|im_end|>", unk_token="?")
    plain.chat_template = TURN + GENERATED + "{% endif %}"
    with_thinking, without = Renderer(plain), Renderer(plain, thinking=False)
    example = Example("a", "m", "Who", ("Who",), ("Who",), "summary")
    longer = len(with_thinking.prompt(example).ids) - len(without.prompt(example).ids)
    assert longer == len(plain.tokenize("Think first, then"))
    assert without.solution(example) == (2, 0)


def test_an_open_think_block_is_not_opened_again(tokenizer: PreTrainedTokenizerBase) -> None:
    renderer = of_template(tokenizer, TURN + GENERATED + "<think>\n{% endif %}", thinking=True)
    example = example_of("One.")
    whole = renderer.tokenizer.decode(
        [*renderer.prompt(example).ids, *renderer.solution(example)[:-1]]
    )
    assert whole.count("<think>") == whole.count("</think>") == 1
    assert score(example, whole.partition("assistant\n")[2]).value == 1.0


KINDS: list[tuple[str, tuple[str, ...], dict[str, Any], str]] = [
    ("extractive", ("Ann",), {}, "and the answer."),
    ("choice", ("B",), OPTIONS, "the letter of the right option"),
    ("choice", ("Bob",), {"options": {"A": "Ann", "B": "Bob"}}, "the letter"),
    ("yes_no", ("unanswerable",), {}, "unanswerable if the documents do not tell"),
    ("numeric", ("12.5",), {"scale": "percent"}, "the number, with its sign"),
    ("numeric", ("-1,234.5",), {"scale": "million"}, "its scale (thousand, million)"),
    ("list", ("Ann", "Bob, Jr.", "C and D"), {}, "separated by semicolons"),
    ("list", ("Ann", "Bob"), {"ordered": True}, "in their order, separated"),
    ("list", ("Ann; Bob", "Cy,"), {"ordered": True}, "in their order, as a JSON array"),
    ("list", ("Ann", '"Bo", Jr.,'), {"as_json": True}, "as a JSON array of texts"),
    ("order", ("3", "1", "2"), {}, "in their order"),
    ("order", ("Cy", "Ann"), {"options": ["Ann", "Cy"]}, "in their order"),
    ("date", ("4 March 2021",), {}, "the date, as precise as the documents"),
    ("summary", ("Ann sailed to the north in winter.",), {}, "rite only the answer."),
    ("summary", ("Ann sailed.",), {"summarisation": True}, "rite only the summary."),
    ("summary", ("Ann sailed.\n\nShe came back.",), {"answerable": True}, "or unanswerable if"),
    ("yes_no", ("No.", "no"), {"answerable": True}, "the answer, several items"),
    ("choice", ("B",), {**OPTIONS, "answerable": True}, "right option, or unanswerable if"),
    ("citation", ("Ann",), {"gold_citations": [1, "Passage 2"]}, "in brackets, as in [1][3]"),
    ("citation", ("Ann",), {"gold_citations": ["P1"]}, "the labels of the passages"),
    ("citation", ("Ann",), {"gold_citations": [1], "answerable": True}, "in [1][3], or unanswer"),
    ("citation", ("7",), {"gold_citations": [2], "answer_kind": "numeric"}, "the number, with"),
    ("format", ('{"a": 1}',), {"json_schema": {"type": "object"}}, '{"type": "object"}'),
    ("format", ("Ann",), {"answer_line": True, "max_characters": 99}, "at most 99 characters"),
    ("format", ("Ann",), {"thinking": "present"}, "Think first, then answer the question."),
]


@pytest.mark.parametrize(("kind", "answers", "metadata", "told"), KINDS)
@pytest.mark.parametrize("thinking", [True, False])
def test_what_is_asked_for_is_what_scores(
    tokenizer: PreTrainedTokenizerBase,
    kind: str,
    answers: tuple[str, ...],
    metadata: dict[str, Any],
    told: str,
    thinking: bool,
) -> None:
    documents = ("[P1] One.", "[P2] Two.")
    example = Example("a", "m", "Who?", documents, answers, kind, "So.", metadata=metadata)
    verifier(example)
    renderer = Renderer(tokenizer, thinking or metadata.get("thinking") == "present")
    said = instruction(example, thinking)
    assert told in said and told in renderer.tokenizer.decode(renderer.prompt(example).ids)
    assert said.startswith("Think first") is renderer.thinking and said.endswith(".")
    for question in ("Who is the captain?", "谁是船长？"):
        asked_so = replace(example, question=question)
        text = renderer.tokenizer.decode(renderer.solution(asked_so)[:-1])
        assert score(asked_so, text, renderer.thinking).value == 1.0, text
        chinese = is_chinese(question)
        assert ("请" in instruction(asked_so, thinking)) is chinese


def test_options_have_letters() -> None:
    for options in (["Ann", "Bob"], ["A. Ann", "B. Bob"], {"A": "Ann", "B": "Bob"}):
        example = Example("a", "m", "Who?", (), ("B",), "choice", metadata={"options": options})
        assert question_text(example) == "Who?\nA. Ann\nB. Bob"
    assert question_text(replace(example, metadata={})) == "Who?"
    assert question_text(replace(example, kind="order", metadata=OPTIONS)) == "Who?\n- Ann\n- Bob"


def test_passages_to_be_cited_are_numbered() -> None:
    example = Example("a", "m", "Who?", ("One.", "Two."), ("Ann",), "citation")
    for cited, text in ((["[2]"], "[1] One.\n\n[2] Two."), (["P1"], "One.\n\nTwo.")):
        assert documents_text(replace(example, metadata={"gold_citations": cited})) == text


@pytest.mark.parametrize(
    ("question", "chinese"),
    [
        ("谁是 Moby Dick 的船长？", True),
        ("Who is 亚哈?", False),
        ("船長は誰ですか", False),
        ("谁在2015年击败了丹佛野马队", True),
        ("Who?", False),
    ],
)
def test_chinese_questions_are_told(question: str, chinese: bool) -> None:
    assert is_chinese(question) is chinese


def test_documents_are_counted_as_the_prompt_has_them(
    renderer: Renderer, examples: list[Example]
) -> None:
    documents = [text for example in examples[:40] for text in example.documents]
    documents += ["Ends in a line.\n", "東京は夜。", " begins with a blank", "- a\n- b"]
    counts = renderer.count_documents(documents)
    none = len(renderer.prompt(example_of("x")).ids) - renderer.count_documents(["x"])[0]
    whole = len(renderer.prompt(example_of(*documents)).ids)
    assert abs(none + sum(counts) - whole) <= 2
    assert renderer.count_documents([]) == []


def test_training_texts_of_an_extractive_set_are_those_of_before() -> None:
    example = example_of("One.")
    common = [INSTRUCTION, "Therefore, the answer is", "user", "assistant", "\n\n"]
    assert training_texts([example]) == [" One.", " Who is in Arrow?", " In Arrow Ann. Ann"] + (
        common * 2
    )
    other = replace(example, kind="yes_no")
    assert training_texts([other])[3:] == [*common, instruction(other, True)] * 2
