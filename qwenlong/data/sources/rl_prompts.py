"""Prompts that long-context RL was trained on, in verl's form: DocQA-RL-1.6K and GoLongRL.

The one user message holds the document, the question and how to write the answer; this last part
is left out of the question, because our prompts have their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import (
    closed_answer,
    distinct,
    exact_kind,
    fingerprint,
    inner_object,
    records,
    text,
)
from qwenlong.data.sources.reports import DOCMATH_TOLERANCE
from qwenlong.types import Example

_DOCQA_PROMPT = re.compile(
    r"<text>\n?(?P<document>.*)\n?</text>\s*(?P<question>.*?)\s*Format your response as follows:",
    re.DOTALL,
)
_DOCQA_GOLD = re.compile(r"(?:Therefore, the answer is|The correct answer is) (.*?)\.?", re.DOTALL)
_DOCQA_LEAD = "What is the correct answer to this question:"
_GOLONG_ABILITIES = {
    "precise long-range information retrieval": "em",
    "evidence-grounded comprehension and reasoning": "accuracy",
    "high-recall exhaustive retrieval and verification": "f1",
    "numerical extraction and quantitative reasoning": "math",
    "multi-table structured extraction": "iou",
    "fragment-level structured matching and induction": "subem",
    "dimension-quantified retrieval and graded ranking": "ndcg",
    "sequence reconstruction and ordering": "pairwise",
    "long document summarization": "rouge",
}
"""How the set's own code scores each."""
_NUMBER = re.compile(r"[-−]?[$€£¥]?[-−]?\d[\d,]*(?:\.\d+)?\s?%?")
_LETTER = re.compile(r"(?:The correct answer is )?\(?([A-Z])\)?\.?")
_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[).:：、．][ \t]?(\S.*)$", re.MULTILINE)
_CHOICES = re.compile(r"(?:Choices|Options|选项)[:：]\s*$")


def docqa_rl(row: Row) -> Iterator[Example]:
    """Gold answers are sentences ("Therefore, the answer is 32.4.") or bare.

    Some of ``doc-qa`` may have no answer, because 200 are MultiHop-RAG's (the paper's section on
    data).
    """
    asked = _DOCQA_PROMPT.search(_user_message(row))
    if asked is None or not asked["document"].strip() or not asked["question"]:
        raise RowError("prompt has no <text>document</text> with a question behind it")
    document, question = asked["document"].strip(), asked["question"]
    gold = text(inner_object(row, "reward_model"), "ground_truth")
    stated = _DOCQA_GOLD.fullmatch(gold)
    gold = stated[1] if stated else gold
    source, ability = text(row, "data_source"), text(row, "ability")
    extra = inner_object(row, "extra_info")
    metadata: dict[str, Any]
    if ability == "doc-math":
        if not re.search(r"\d", gold):
            raise RowError(f"ground_truth={gold!r}: is no number, as doc-math has them")
        kind, metadata = "numeric", {"rel_tolerance": DOCMATH_TOLERANCE}
    elif ability == "doc-mc":
        question, options = split_options(question)
        question, gold = question.removeprefix(_DOCQA_LEAD).strip(), gold.strip("()")
        if not options:
            raise RowError("its question has no options (A), (B), …")
        if gold not in options:
            raise RowError(f"ground_truth={gold!r}: is none of the options {', '.join(options)}")
        kind, metadata = "choice", {"options": options}
    elif ability == "doc-qa":
        answerable = closed_answer((gold,)) != "unanswerable"
        kind, metadata = exact_kind((gold,)), {"answerable": answerable}
    else:
        raise RowError(f"ability={ability!r}: must be doc-math, doc-mc or doc-qa")
    yield Example(
        id=f"{source}-{extra['index']}",
        source="docqa_rl",
        question=question,
        documents=(document,),
        answers=(gold,),
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


def golongrl(row: Row) -> Iterator[Example]:
    """How a prompt is put together is not published: the document is taken to be the text before
    the last occurrence of ``extra_info.question``, and the text behind it the instructions."""
    ability = text(row, "ability")
    metric = _GOLONG_ABILITIES.get(ability.casefold())
    if metric is None:
        raise RowError(f"ability={ability!r}: must be one of {', '.join(_GOLONG_ABILITIES)}")
    extra = inner_object(row, "extra_info")
    question = str(extra.get("question") or "").strip()
    if not question:
        raise RowError("extra_info.question is missing: where its document ends is not known")
    before, found, instructions = _user_message(row).rpartition(question)
    document = before.strip()
    if not found or not document:
        raise RowError("extra_info.question does not stand behind a document in the prompt")
    items, gold = _gold(row)
    kind, answers, metadata = _judged(metric, items, gold, question)
    yield Example(
        id=f"golongrl-{fingerprint(document, question, ability, gold)}",
        source="golongrl",
        question=split_options(question)[0] if "options" in metadata else question,
        documents=(document,),
        answers=answers,
        kind=kind,
        gold_documents=(0,),
        group=f"golongrl:{fingerprint(document)}",
        metadata={
            **metadata,
            "ability": ability,
            "data_source": text(row, "data_source"),
            "reward_mode": str(extra.get("reward_mode") or ""),
            "instructions": instructions.strip(),
        },
    )


def _user_message(row: Row) -> str:
    messages = [m for m in records(row["prompt"], "prompt") if m.get("role") == "user"]
    if len(messages) != 1:
        raise RowError(f"prompt must have one user message, has {len(messages)}")
    return text(messages[0], "content")


def _gold(row: Row) -> tuple[tuple[str, ...], str]:
    """The gold answer as a list and as a text."""
    truth = inner_object(inner_object(row, "reward_model"), "ground_truth")
    listed = truth.get("doc_ids") or []
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise RowError("ground_truth.doc_ids must be a list of texts")
    label = truth.get("golden_label") or ""
    if not isinstance(label, str):
        raise RowError(f"ground_truth.golden_label must be a text, is {label!r}"[:200])
    items = distinct(listed) or distinct(label.splitlines())
    if not items:
        raise RowError("ground_truth is empty")
    return items, label.strip() or "\n".join(items)


def _judged(
    metric: str, items: tuple[str, ...], gold: str, question: str
) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Kind, answers, and the metadata that its verifier needs."""
    if metric == "rouge":
        return "summary", items if "\n" not in gold else (gold,), {"summarisation": True}
    if metric in ("f1", "subem"):  # the set's own subem asks for recall only
        return "list", items, {}
    if metric in ("ndcg", "pairwise"):
        if len(items) < 2:
            raise RowError(f"ground_truth={gold!r}: an order needs two items"[:200])
        return "order", items, {"metric": metric}
    if metric == "iou":
        return "list", _cells(gold), {"metric": "iou"}
    if metric == "math":
        return ("numeric" if _NUMBER.fullmatch(gold) else "extractive"), (gold,), {}
    letter = _LETTER.fullmatch(gold) if metric == "accuracy" else None
    if letter:
        options = split_options(question)[1]
        return "choice", (letter[1],), {"options": options} if letter[1] in options else {}
    return exact_kind((gold,)), (gold,), {}


def _cells(gold: str) -> tuple[str, ...]:
    """The rows of a table with one column: ``{"columns": […], "data": [[…], …]}``."""
    try:
        rows = json.loads(gold)["data"]
        cells = [row if isinstance(row, list) else [row] for row in rows]
    except (ValueError, KeyError, TypeError):
        raise RowError("ground_truth.golden_label is no table in JSON") from None
    if any(len(row) != 1 for row in cells):
        raise RowError("its answer is a table of several columns, which no verifier reads")
    found = distinct(str(row[0]) for row in cells)
    if not found:
        raise RowError("ground_truth is a table without rows")
    return found


def split_options(question: str) -> tuple[str, dict[str, str]]:
    """A question without its lettered options, and these; unchanged where it has none.

    The options are the last lines that begin with A, B, C … in this order.
    """
    options: dict[str, str] = {}
    start = len(question)
    for line in _OPTION.finditer(question):
        if line[1] == "A":
            options, start = {}, line.start()
        if options or line[1] == "A":
            expected = chr(ord("A") + len(options))
            options |= {line[1]: line[2].strip()} if line[1] == expected else {}
    if len(options) < 2:
        return question, {}
    return _CHOICES.sub("", question[:start]).strip(), options
