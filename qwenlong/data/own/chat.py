"""SFT triplets in chat form: a document and a question, a reasoning, an answer.

A line of JSONL is ``{"messages": [{"role": "user", "content": …}, {"role": "assistant",
"content": …, "reasoning_content": …}]}``; a system turn may come first, earlier turns before the
last question. The reasoning stands in ``reasoning_content``, or in ``<think>`` in the content;
without one, or with an empty one, the answer is to be given without thinking. A line may have
``id`` and ``source``.

The prompt is the chat as it stands: nothing is put before or behind it. Only for the reader of a
set, and for checks against contamination, it is divided into a document and a question: a
``<text>`` block is the document, else all but the last paragraph of the first user turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qwenlong.data.prompts import END_THINK, THINK
from qwenlong.data.rows import Rejected, Row, RowError, convert, json_lines
from qwenlong.types import Example

_ROLES = ("system", "user", "assistant")
_BLOCK = re.compile(r"<(text|document|context)>\s*(.*?)\s*</\1>", re.DOTALL)
_ANSWER = re.compile(r"(?:Therefore, the answer is|因此，答案是)[:：]?\s*(.+?)\s*[.。]?\s*$")


def read(path: Path) -> Iterator[Example | Rejected]:
    """The triplets of a file, in its order.

    Raises:
        InputError: there is no such file.
    """

    def example(where: str, row: Row) -> Iterator[Example]:
        yield _example(row, path.stem, where.rpartition(":")[2])

    return convert(json_lines(path), example, "chat")


def _example(row: Row, stem: str, number: str) -> Example:
    messages = _messages(row.get("messages"))
    last = messages[-1]
    reasoning, answer = _reasoning_and_answer(last)
    if not answer:
        raise RowError("messages: the last has no answer behind its reasoning")
    first = next(message for message in messages if message["role"] == "user")
    document, question = _document_and_question(first["content"])
    if len([message for message in messages if message["role"] == "user"]) > 1:
        question = messages[-2]["content"].strip()
    stated = _ANSWER.search(answer)
    turns = [{"role": each["role"], "content": each["content"]} for each in messages[:-1]]
    return Example(
        id=str(row.get("id") or f"{stem}:{number}"),
        source=str(row.get("source") or stem),
        question=question,
        documents=(document,) if document else (),
        answers=(stated[1] if stated else answer,),
        reasoning=reasoning,
        metadata={"messages": [*turns, {"role": "assistant", "content": answer}]},
    )


def _messages(given: Any) -> Sequence[Mapping[str, str]]:
    if not isinstance(given, list) or not given:
        raise RowError("messages is missing: a list of a user's and an assistant's turns")
    for place, message in enumerate(given):
        here = f"messages[{place}]"
        if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
            raise RowError(f"{here}: must be an object with a role, one of {', '.join(_ROLES)}")
        if not isinstance(message.get("content"), str):
            raise RowError(f"{here}: content must be a text")
    roles = [message["role"] for message in given]
    turns = roles[1:] if roles[0] == "system" else roles
    if len(turns) < 2 or turns != ["user", "assistant"] * (len(turns) // 2):
        raise RowError(
            f"messages: the roles are {', '.join(roles)}; user and assistant must take turns,"
            " the assistant last"
        )
    if not given[-2]["content"].strip():
        raise RowError("messages: the last question is blank")
    return given


def _reasoning_and_answer(message: Mapping[str, Any]) -> tuple[str, str]:
    content, given = message["content"], message.get("reasoning_content")
    if given is not None and not isinstance(given, str):
        raise RowError("messages: reasoning_content must be a text")
    if given and END_THINK in content:
        raise RowError("messages: reasoning both in reasoning_content and in <think>; keep one")
    if given or (THINK not in content and END_THINK not in content):
        return (given or "").strip(), content.strip()
    before, closed, answer = content.partition(END_THINK)
    if not closed or THINK in answer or END_THINK in answer:
        raise RowError("messages: the last must have one <think> block, closed by </think>")
    opening, _, inside = before.rpartition(THINK)
    if opening.strip():
        raise RowError("messages: text stands before <think>")
    return inside.strip(), answer.strip()


def _document_and_question(content: str) -> tuple[str, str]:
    block = _BLOCK.search(content)
    if block:
        around = f"{content[: block.start()].strip()}\n{content[block.end() :].strip()}"
        return block[2], around.strip()
    document, _, question = content.strip().rpartition("\n\n")
    return document.strip(), question.strip()
