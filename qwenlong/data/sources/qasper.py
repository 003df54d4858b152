"""Qasper (Dasigi et al., arXiv 2105.03011): questions over papers on language processing.

Schema: the card of ``allenai/qasper`` (licence CC BY 4.0), whose script the hub has converted to
Parquet (revision ``refs/convert/parquet``): ``id``, ``title``, ``abstract``, ``full_text``
(``section_name``, ``paragraphs``), ``qas`` (``question``, ``question_id``, …, ``answers`` of
several people: ``answer`` with ``unanswerable``, ``extractive_spans``, ``yes_no``,
``free_form_answer``, ``evidence``, ``highlighted_evidence``) and ``figures_and_tables``. A row is a
paper, so one row gives several examples.

Kinds, by what most of the people say (an answer before "unanswerable" where they are even):
yes_no, with the gold answer "unanswerable" too; list for one person's several spans; extractive
where every answer is short; else summary, since the answers are in people's own words. A question
with as many yes as no is left out. The document is the paper: title, abstract, sections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import distinct, free_kind, records, text
from qwenlong.data.sources.hub import Part, Snapshot, on_hub
from qwenlong.types import Example

Given = Mapping[str, Any]


def examples(row: Row) -> Iterator[Example]:
    paper, document = text(row, "id"), _document(row)
    questions = records(row["qas"], "qas")
    if not questions:
        raise RowError("qas is empty")
    rejected: list[str] = []
    for asked in questions:
        try:
            kind, answers, evidence = _judged(_given(asked))
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


def _document(row: Row) -> str:
    parts = [text(row, "title"), str(row["abstract"] or "").strip()]
    for section in records(row["full_text"], "full_text"):
        paragraphs = [str(each).strip() for each in section["paragraphs"] or ()]
        parts.append("\n".join(each for each in (section["section_name"], *paragraphs) if each))
    if len(parts) < 3:
        raise RowError("full_text is empty")
    return "\n\n".join(part for part in parts if part)


def _given(asked: Given) -> list[Given]:
    """What each of the people answered."""
    given: list[Given] = []
    for each in records(asked["answers"], "answers"):
        inner = each["answer"]
        given += records(inner, "answer") if isinstance(inner, list) else [inner]
    if not given:
        raise RowError("answers is empty")
    return given


def _class(given: Given) -> str:
    if given["unanswerable"]:
        return "unanswerable"
    if given["yes_no"] is not None:
        return "yes" if given["yes_no"] else "no"
    if distinct(given["extractive_spans"] or ()) or str(given["free_form_answer"] or "").strip():
        return "text"
    raise RowError("an answer is empty")


def _judged(given: Sequence[Given]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Kind, gold answers and evidence."""
    classes = [_class(each) for each in given]
    counts = Counter("yes or no" if each in ("yes", "no") else each for each in classes)
    most = max(("text", "yes or no", "unanswerable"), key=lambda each: counts[each])
    if most == "yes or no":
        yes, no = classes.count("yes"), classes.count("no")
        if yes == no:
            raise RowError("as many people say yes as no")
        most = "yes" if yes > no else "no"
    chosen = [each for each, said in zip(given, classes, strict=True) if said == most]
    evidence = distinct(part for each in chosen for part in each.get("evidence") or ())
    if most != "text":
        return "yes_no", (most,), evidence
    spans = distinct(chosen[0]["extractive_spans"] or ())
    if len(chosen) == 1 and len(spans) > 1:
        return "list", spans, evidence
    answers = distinct(_written(each) for each in chosen)
    return free_kind(answers), answers, evidence


def _written(given: Given) -> str:
    spans = distinct(given["extractive_spans"] or ())
    return ", ".join(spans) or str(given["free_form_answer"])


SOURCE = on_hub(
    "qasper",
    examples,
    Snapshot(
        "allenai/qasper",
        {
            name: Part(name, files=f"qasper/{name}/*.parquet")
            for name in ("train", "validation", "test")
        },
        revision="refs/convert/parquet",
    ),
    licence="CC BY 4.0",
    citation="Dasigi et al., Qasper, arXiv 2105.03011",
)
