"""DocQA-RL-1.6K (Wan et al., QwenLong-L1, arXiv 2505.17667): what QwenLong-L1 was trained on.

Schema: the card of ``Tongyi-Zhiwen/DocQA-RL-1.6K`` (licence Apache-2.0), verl's: ``data_source``
(such as ``docmath_v1``), ``prompt`` (chat messages), ``ability`` (``doc-math``, ``doc-mc`` or
``doc-qa``), ``reward_model`` (``ground_truth``, ``style``), ``extra_info`` (``index`` and more).
The one message has the document in ``<text>``, the question behind it, then how to write the
answer; that last part is left out, because our prompts have their own. Gold answers are sentences
("Therefore, the answer is 32.4.", "The correct answer is (A).") or bare.

Kinds: ``doc-math`` is numeric with DocMath-Eval's tolerance, ``doc-mc`` choice, ``doc-qa``
extractive or yes_no. Some of these may have no answer, because 200 are MultiHop-RAG's (the paper's
section on data). 1,591 rows to train on and 2,006 in ``test``. Columns, abilities and the forms of
prompt and answer are those that public code which converts the real files reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import (
    closed_answer,
    exact_kind,
    fingerprint,
    inner_object,
    split_options,
    text,
    user_message,
)
from qwenlong.data.sources.hub import Snapshot, on_hub, splits
from qwenlong.types import Example

TOLERANCE = 0.0015
"""Relative; QwenLong-L1's, and DocMath-Eval's own."""
_PROMPT = re.compile(
    r"<text>\n?(?P<document>.*)\n?</text>\s*(?P<question>.*?)\s*Format your response as follows:",
    re.DOTALL,
)
_GOLD = re.compile(r"(?:Therefore, the answer is|The correct answer is) (.*?)\.?", re.DOTALL)
_LEAD = "What is the correct answer to this question:"


def examples(row: Row) -> Iterator[Example]:
    asked = _PROMPT.search(user_message(row))
    if asked is None or not asked["document"].strip() or not asked["question"]:
        raise RowError("prompt has no <text>document</text> with a question behind it")
    document, question = asked["document"].strip(), asked["question"]
    reward = inner_object(row, "reward_model")
    gold = text(reward, "ground_truth")
    stated = _GOLD.fullmatch(gold)
    gold = stated[1] if stated else gold
    source, ability = text(row, "data_source"), text(row, "ability")
    extra = inner_object(row, "extra_info")
    kind, question, metadata = _kind(ability, question, gold)
    yield Example(
        id=f"{source}-{extra['index']}",
        source="docqa_rl",
        question=question,
        documents=(document,),
        answers=(gold.strip("()") if kind == "choice" else gold,),
        kind=kind,
        gold_documents=(0,),
        group=f"docqa_rl:{fingerprint(document)}",
        metadata={
            **metadata,
            "data_source": source,
            "ability": ability,
            **{k: v for k, v in extra.items() if isinstance(v, str | int | float) and k != "index"},
        },
    )


def _kind(ability: str, question: str, gold: str) -> tuple[str, str, dict[str, Any]]:
    """Kind, the question alone, and the metadata that the kind's verifier takes."""
    if ability == "doc-math":
        if not re.search(r"\d", gold):
            raise RowError(f"ground_truth={gold!r}: is no number, as doc-math has them")
        return "numeric", question, {"rel_tolerance": TOLERANCE}
    if ability == "doc-mc":
        bare, options = split_options(question)
        if not options:
            raise RowError("its question has no options (A), (B), …")
        if gold.strip("()") not in options:
            raise RowError(f"ground_truth={gold!r}: is none of the options {', '.join(options)}")
        return "choice", bare.removeprefix(_LEAD).strip(), {"options": options}
    if ability == "doc-qa":
        answerable = closed_answer((gold,)) != "unanswerable"
        return exact_kind((gold,)), question, {"answerable": answerable}
    raise RowError(f"ability={ability!r}: must be doc-math, doc-mc or doc-qa")


SOURCE = on_hub(
    "docqa_rl",
    examples,
    Snapshot("Tongyi-Zhiwen/DocQA-RL-1.6K", splits("train", "test")),
    licence="Apache-2.0",
    citation="Wan et al., QwenLong-L1, arXiv 2505.17667",
)
