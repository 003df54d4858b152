"""Chats as SFT triplets: rendered as they stand, and how each that is none is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from qwenlong.data.own.chat import read
from qwenlong.data.prompts import Renderer
from qwenlong.data.rows import Rejected
from qwenlong.types import Example


@pytest.fixture(scope="module")
def renderer(tokenizer: PreTrainedTokenizerBase) -> Renderer:
    return Renderer(tokenizer)


def chat(tmp_path: Path, *rows: Any) -> list[Example | Rejected]:
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return list(read(path))


def turns(*contents: str, **last: str) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(contents)
    messages: list[dict[str, str]] = [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=False)
    ]
    messages[-1].update(last)
    return {"messages": messages}


def test_chats_are_rendered_as_they_stand(tmp_path: Path, renderer: Renderer) -> None:
    document = "Read it.\n\nAnn is in Arrow."
    answer = "Therefore, the answer is Ann."
    inside = turns(f"{document}\n\nWho is in Arrow?", f"<think>\nSo.\n</think>\n\n{answer}")
    beside = turns(f"{document}\n\nWho is in Arrow?", answer, reasoning_content="So.")
    first, second = chat(tmp_path, inside, beside | {"id": 7, "source": "s"})
    assert isinstance(first, Example) and isinstance(second, Example)
    assert (first.documents, first.question) == ((document,), "Who is in Arrow?")
    assert (first.answers, first.reasoning, first.id) == (("Ann",), "So.", "chat:1")
    assert (second.id, second.source) == ("7", "s")
    for example in (first, second):
        ids = [*renderer.prompt(example).ids, *renderer.solution(example)]
        assert renderer.tokenizer.decode(ids) == (
            f"<|im_start|>user\n{document}\n\nWho is in Arrow?<|im_end|>\n<|im_start|>assistant\n"
            f"<think>\nSo.\n</think>\n\n{answer}<|im_end|>"
        )


def test_earlier_turns_and_a_system_turn_are_part_of_the_prompt(
    tmp_path: Path, renderer: Renderer
) -> None:
    row = turns("<text>\nRed.\n</text>\n\nWhich?", "Red.", "And then?", "Blue.")
    row["messages"].insert(0, {"role": "system", "content": "Be brief."})
    (example,) = chat(tmp_path, row)
    assert isinstance(example, Example)
    assert (example.documents, example.question) == (("Red.",), "And then?")
    assert (example.answers, example.reasoning) == (("Blue.",), "")
    text = renderer.tokenizer.decode(renderer.prompt(example).ids)
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<text>")
    assert text.endswith("And then?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "messages is missing"),
        ({"messages": []}, "messages is missing"),
        ({"messages": [1]}, "messages[0]: must be an object with a role"),
        ({"messages": [{"role": "tool", "content": ""}]}, "messages[0]: must be an object"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0]: content must be a text"),
        (turns("Who?"), "messages: the roles are user; user and assistant must take turns"),
        (turns("Who?", "Ann.", "Who?"), "messages: the roles are user, assistant, user; user"),
        (turns(" ", "Ann."), "messages: the last question is blank"),
        (turns("Who?", " "), "messages: the last has no answer"),
        (turns("Who?", "<think>So."), "messages: the last must have one <think> block"),
        (turns("Who?", "<think>a</think>b</think>c"), "messages: the last must have one"),
        (turns("Who?", "Hm. <think>a</think>b"), "messages: text stands before <think>"),
        (turns("Who?", "<think>a</think>"), "messages: the last has no answer"),
        (
            turns("Who?", "<think>a</think>b", reasoning_content="a"),
            "messages: reasoning both in reasoning_content and in <think>; keep one",
        ),
    ],
)
def test_a_chat_of_another_form_is_rejected_with_its_line(
    tmp_path: Path, row: Any, reason: str
) -> None:
    good, bad = chat(tmp_path, turns("Who?", "Ann."), row)
    assert isinstance(good, Example) and isinstance(bad, Rejected)
    assert bad.where.endswith("chat.jsonl:2") and bad.why.startswith(reason)
