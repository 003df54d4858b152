"""Questions over one long text: BAMBOO, LongBench, LongBench v2, MRCR, NarrativeQA, Qasper.

Answers in people's own words are of kind summary, which is scored by ROUGE-L, as their papers do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qwenlong.data.rows import Rejected, Row, RowError, Rows, Source, json_lines
from qwenlong.data.sources.fields import (
    as_text,
    closed_answer,
    distinct,
    filled_list,
    fingerprint,
    free_kind,
    from_json,
    inner_object,
    records,
    subset_files,
    text,
    texts,
)
from qwenlong.types import Example

_LETTERS = "ABCD"
_BAMBOO_LABEL = re.compile(r"([A-Z])(?:\s?[.:)\\]|\s)\s*")
_BAMBOO_OPENING = 200
"""Characters that identify a text: the 4k and 16k subsets cut the same texts differently."""
_LONGBENCH_KINDS = {
    "narrativeqa": "summary",
    "qasper": "",
    "multifieldqa_en": "summary",
    "multifieldqa_zh": "summary",
    "hotpotqa": "extractive",
    "2wikimqa": "extractive",
    "musique": "extractive",
    "dureader": "summary",
}
"""The tasks that are question answering, by how LongBench scores them. Empty: as in Qasper, each
row's answers decide, and some questions have no answer."""
_FIGURE = re.compile(r"(?:人民币)?\d+(?:\.\d+)?(?:%|％|mm|倍|兆瓦|[万亿]?(?:元|美元|人))?")
_DATE = re.compile(r"\d{4}年\d{1,2}月\d{1,2}日|\d{4}-\d\d-\d\d|\d{4}年")
_PASSAGE = re.compile(r"^(?:Passage \d+:|文章\d+)[ \t]*\n", re.MULTILINE)
_MRCR_ROLES = {"user": "User", "assistant": "Assistant", "system": "System"}
Given = Mapping[str, Any]
"""What one person answered to a question of Qasper."""


def bamboo_rows(source: Source, path: Path, subset: str) -> Rows:
    for file in subset_files(source, path, subset):
        for item in json_lines(file):
            yield item if isinstance(item, Rejected) else (item[0], {**item[1], "part": file.stem})


def bamboo(row: Row) -> Iterator[Example]:
    """PaperQA and MeetingQA; a quotation of the text behind the four options is left out."""
    options = _bamboo_options([as_text(each, "options") for each in filled_list(row, "options")])
    answer = text(row, "answer")
    if answer not in options:
        raise RowError(f"answer {answer!r} is none of the options {', '.join(options)}")
    content, question = text(row, "content"), text(row, "question")
    lines = [f"{letter}. {each}" for letter, each in options.items()]
    part = str(row.get("part", "bamboo"))
    yield Example(
        id=f"{part}-{fingerprint(question + content)}",
        source="bamboo",
        question="\n".join([question, *lines]),
        documents=(content,),
        answers=(answer,),
        kind="choice",
        reasoning=f"The text says: {text(row, 'evidence')}",
        gold_documents=(0,),
        group=f"bamboo:{fingerprint(content[:_BAMBOO_OPENING])}",
        metadata={"options": lines, "part": part, "language": "en"},
    )


def _bamboo_options(given: list[str]) -> dict[str, str]:
    """The options by letter; one of them may have none.

    Raises:
        RowError: the letters are not those of their places.
    """
    labels = [_BAMBOO_LABEL.match(each) for each in given[: len(_LETTERS)]]
    names = [label[1] if label else "" for label in labels]
    right = all(name in ("", letter) for name, letter in zip(names, _LETTERS, strict=False))
    if len(names) < 2 or not right or names.count("") > 1:
        found = ", ".join(name or "none" for name in names)
        raise RowError(f"options must have the letters A, B, C, D; they have {found}")
    bare = [
        " ".join(each[label.end() if label else 0 :].split())
        for each, label in zip(given, labels, strict=False)
    ]
    if not all(bare):
        raise RowError("an option is blank")
    return dict(zip(_LETTERS, bare, strict=False))


def longbench(row: Row) -> Iterator[Example]:
    """Contexts of numbered passages are cut into these; the set does not say which hold the answer.

    An answer of multifieldqa_zh that is one number or one date is numeric or date, because any
    other number would be half right by ROUGE-L.
    """
    dataset = text(row, "dataset")
    task = dataset.removesuffix("_e")
    if task not in _LONGBENCH_KINDS:
        raise RowError(f"dataset={dataset!r}: must be one of {', '.join(_LONGBENCH_KINDS)}")
    answers, context = texts(row, "answers"), text(row, "context")
    documents = _passages(context)
    bare = tuple(answer.rstrip("。.") for answer in answers)
    kind = _LONGBENCH_KINDS[task] or free_kind(answers)
    if closed_answer(answers):
        kind = "yes_no"
    elif task == "multifieldqa_zh" and all(map(_FIGURE.fullmatch, bare)):
        kind, answers = "numeric", bare
    elif task == "multifieldqa_zh" and all(map(_DATE.fullmatch, bare)):
        kind, answers = "date", bare
    answerable = {"answerable": closed_answer(answers) != "unanswerable"}
    yield Example(
        id=text(row, "_id"),
        source="longbench",
        question=text(row, "input"),
        documents=documents,
        answers=answers,
        kind=kind,
        gold_documents=(0,) if len(documents) == 1 else (),
        group=f"longbench:{fingerprint(context)}",
        metadata={
            "dataset": dataset,
            "language": str(row.get("language") or ""),
            **(answerable if task == "qasper" else {}),
        },
    )


def _passages(context: str) -> tuple[str, ...]:
    starts = [match.start() for match in _PASSAGE.finditer(context)]
    if len(starts) < 2:
        return (context,)
    ends = [*starts, len(context)]
    cut = (context[start:end].strip() for start, end in zip([0, *starts], ends, strict=True))
    return tuple(filter(None, cut))


def longbench_v2(row: Row) -> Iterator[Example]:
    options = {letter: text(row, f"choice_{letter}") for letter in _LETTERS}
    gold = text(row, "answer")
    if gold not in options:
        raise RowError(f"answer={gold!r}: must be one of {', '.join(_LETTERS)}")
    context = text(row, "context")
    keys = ("domain", "sub_domain", "difficulty", "length")
    yield Example(
        id=text(row, "_id"),
        source="longbench_v2",
        question=text(row, "question"),
        documents=(context,),
        answers=(gold,),
        kind="choice",
        gold_documents=(0,),
        group=f"longbench_v2:{fingerprint(context)}",
        metadata={"options": options, **{key: text(row, key) for key in keys}},
    )


def mrcr(row: Row) -> Iterator[Example]:
    """The last message asks to copy the n-th like answer, with a random string before it.

    The set's card grades by difflib's ratio, 2M / T for M matching characters of T. ROUGE-L is the
    same over words in order; it does not give 0 where the random string is missing. The whole
    conversation is one document: a distractor in it could change which message is the n-th.
    """
    messages = records(from_json(row["prompt"], "prompt"), "prompt")
    if len(messages) < 2 or messages[-1].get("role") != "user":
        raise RowError("prompt must be a conversation that ends with the user's question")
    gold, prefix = text(row, "answer"), text(row, "random_string_to_prepend")
    if not gold.startswith(prefix) or gold == prefix:
        raise RowError(f"answer does not begin with {prefix!r} and go on")
    question = text(messages[-1], "content")
    wrong = [m.get("role") for m in messages if m.get("role") not in _MRCR_ROLES]
    if wrong:
        raise RowError(f"prompt: role={wrong[0]!r} must be one of {', '.join(_MRCR_ROLES)}")
    conversation = "\n\n".join(
        f"{_MRCR_ROLES[message['role']]}: {text(message, 'content')}" for message in messages[:-1]
    )
    keys = ("n_needles", "desired_msg_index", "total_messages")
    yield Example(
        id=f"mrcr-{fingerprint(conversation, question)}",
        source="mrcr",
        question=question,
        documents=(conversation,),
        answers=(gold,),
        kind="summary",
        gold_documents=(0,),
        group=f"mrcr:{fingerprint(conversation)}",
        metadata={"prefix": prefix, **{key: row.get(key) for key in keys}},
    )


def narrativeqa(row: Row) -> Iterator[Example]:
    """The document is the whole story; two people answered from its summary, which is not used."""
    document = inner_object(row, "document")
    question = text(inner_object(row, "question"), "text")
    story, name = text(document, "text"), text(document, "id")
    answers = distinct(text(each, "text") for each in records(row["answers"], "answers"))
    if not answers:
        raise RowError("answers is empty")
    yield Example(
        id=f"{name}-{fingerprint(question)}",
        source="narrativeqa",
        question=question,
        documents=(story,),
        answers=answers,
        kind="yes_no" if closed_answer(answers) else "summary",
        gold_documents=(0,),
        group=f"narrativeqa:{name}",
        metadata={
            "document_id": name,
            "document_kind": str(document.get("kind") or ""),
            "url": str(document.get("url") or ""),
        },
    )


def qasper(row: Row) -> Iterator[Example]:
    """A row is a paper with several questions, each answered by several people."""
    paper, document = text(row, "id"), _paper(row)
    questions = records(row["qas"], "qas")
    if not questions:
        raise RowError("qas is empty")
    rejected: list[str] = []
    for asked in questions:
        try:
            kind, answers, evidence = _agreed(_given(asked))
            identity, question = text(asked, "question_id"), text(asked, "question")
        except RowError as error:
            rejected.append(f"question {asked.get('question_id')}: {error}")
            continue
        yield Example(
            id=identity,
            source="qasper",
            question=question,
            documents=(document,),
            answers=answers,
            kind=kind,
            gold_documents=(0,),
            group=f"qasper:{paper}",
            metadata={
                "paper": paper,
                "answerable": answers != ("unanswerable",),
                "evidence": list(evidence),
            },
        )
    if rejected:
        raise RowError("; ".join(rejected))


def _paper(row: Row) -> str:
    parts = [text(row, "title"), str(row["abstract"] or "").strip()]
    for section in records(row["full_text"], "full_text"):
        paragraphs = [str(each).strip() for each in section["paragraphs"] or ()]
        parts.append("\n".join(each for each in (section["section_name"], *paragraphs) if each))
    if len(parts) < 3:
        raise RowError("full_text is empty")
    return "\n\n".join(part for part in parts if part)


def _given(asked: Mapping[str, Any]) -> list[Given]:
    given: list[Given] = []
    for each in records(asked["answers"], "answers"):
        inner = each["answer"]
        given += records(inner, "answer") if isinstance(inner, list) else [inner]
    if not given:
        raise RowError("answers is empty")
    return given


def _agreed(given: Sequence[Given]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Kind, gold answers and evidence, by what most of the people say.

    Where they are even, a text counts before yes and no, and these before "unanswerable". One
    person's several spans are a list.

    Raises:
        RowError: as many say yes as no, or an answer is empty.
    """
    said = [_said(each) for each in given]
    counts = Counter("yes or no" if each in ("yes", "no") else each for each in said)
    most = max(("text", "yes or no", "unanswerable"), key=lambda each: counts[each])
    if most == "yes or no":
        yes, no = said.count("yes"), said.count("no")
        if yes == no:
            raise RowError("as many people say yes as no")
        most = "yes" if yes > no else "no"
    chosen = [each for each, word in zip(given, said, strict=True) if word == most]
    evidence = distinct(part for each in chosen for part in each.get("evidence") or ())
    if most != "text":
        return "yes_no", (most,), evidence
    spans = [distinct(each["extractive_spans"] or ()) for each in chosen]
    if len(chosen) == 1 and len(spans[0]) > 1:
        return "list", spans[0], evidence
    answers = distinct(
        ", ".join(own) or str(each["free_form_answer"])
        for own, each in zip(spans, chosen, strict=True)
    )
    return free_kind(answers), answers, evidence


def _said(given: Given) -> str:
    if given["unanswerable"]:
        return "unanswerable"
    if given["yes_no"] is not None:
        return "yes" if given["yes_no"] else "no"
    if distinct(given["extractive_spans"] or ()) or str(given["free_form_answer"] or "").strip():
        return "text"
    raise RowError("an answer is empty")
