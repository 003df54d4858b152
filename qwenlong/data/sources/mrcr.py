"""OpenAI-MRCR, after Michelangelo (Vodrahalli et al., arXiv 2409.12640): the n-th like request.

Schema: the card of ``openai/mrcr`` (licence MIT): ``prompt`` (chat messages as JSON in a text),
``answer``, ``random_string_to_prepend``, ``n_needles`` (2, 4 or 8), ``desired_msg_index``,
``total_messages``, ``n_chars``; Parquet files in a folder for each number of needles. The last
message asks to copy an earlier answer behind a random string.

Kind: summary. The card grades by difflib's ratio, which is 2M / T for M matching characters of T;
ROUGE-L is the same over words in order, and no other kind gives a copy with a slip in it a part of
the reward. One rule of the card is not kept: there, an answer without the random string is worth 0;
here it lacks one word. The string is kept in the metadata as ``prefix``. The document is the whole
conversation: a distractor within it could change which message is the n-th.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import fingerprint, from_json, records, text
from qwenlong.data.sources.hub import Part, Snapshot, on_hub
from qwenlong.types import Example

_ROLES = {"user": "User", "assistant": "Assistant", "system": "System"}


def examples(row: Row) -> Iterator[Example]:
    messages = records(from_json(row["prompt"], "prompt"), "prompt")
    if len(messages) < 2 or messages[-1].get("role") != "user":
        raise RowError("prompt must be a conversation that ends with the user's question")
    gold, prefix = text(row, "answer"), text(row, "random_string_to_prepend")
    if not gold.startswith(prefix) or gold == prefix:
        raise RowError(f"answer does not begin with {prefix!r} and go on")
    question = text(messages[-1], "content")
    conversation = "\n\n".join(_written(message) for message in messages[:-1])
    yield Example(
        id=f"mrcr-{fingerprint(conversation, question)}",
        source="mrcr",
        question=question,
        documents=(conversation,),
        answers=(gold,),
        kind="summary",
        gold_documents=(0,),
        group=f"mrcr:{fingerprint(conversation)}",
        metadata={
            "prefix": prefix,
            **{key: row.get(key) for key in ("n_needles", "desired_msg_index", "total_messages")},
        },
    )


def _written(message: Mapping[str, Any]) -> str:
    role = message.get("role")
    if role not in _ROLES:
        raise RowError(f"prompt: role={role!r} must be one of {', '.join(_ROLES)}")
    return f"{_ROLES[role]}: {text(message, 'content')}"


SOURCE = on_hub(
    "mrcr",
    examples,
    Snapshot(
        "openai/mrcr",
        {f"{n}needle": Part(files=f"{n}needle/{n}needle_*.parquet") for n in (2, 4, 8)},
    ),
    licence="MIT",
    citation="OpenAI-MRCR (2025), after Vodrahalli et al., Michelangelo, arXiv 2409.12640",
)
