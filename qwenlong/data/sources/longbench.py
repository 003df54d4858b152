"""LongBench (Bai et al., arXiv 2308.14508) and LongBench-E: the question answering of their tasks.

Schema: the card of ``THUDM/LongBench``, now ``zai-org/LongBench`` (MIT, says its repository):
``input`` (the question), ``context``, ``answers``, ``length``, ``dataset``, ``language``,
``all_classes``, ``_id``; a JSONL file a task in ``data.zip``, which is read inside the archive on
the hub and unpacked in a copy.

Kinds, after how LongBench measures each (``_KINDS``): multi-hop questions (hotpotqa, 2wikimqa,
musique) are extractive; answers in people's own words (narrativeqa, multifieldqa_en and _zh,
dureader) summary, which is ROUGE-L; qasper's extractive where short, else summary. Yes, no and
unanswerable are yes_no in all of them. An answer of multifieldqa_zh that is one number or one date
is numeric or date, because by ROUGE-L any other number would be half right. The tasks for
summaries, few-shot learning, retrieval, counting and code are not question answering and are left
out. Contexts of numbered passages are cut into these; the set does not say which hold the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import closed_answer, fingerprint, free_kind, text, texts
from qwenlong.data.sources.hub import Part, Snapshot, on_hub
from qwenlong.types import Example

_KINDS = {
    "narrativeqa": "summary",
    "qasper": "",
    "multifieldqa_en": "summary",
    "multifieldqa_zh": "summary",
    "hotpotqa": "extractive",
    "2wikimqa": "extractive",
    "musique": "extractive",
    "dureader": "summary",
}
"""Empty: each row's answers decide."""
_OPEN = ("qasper",)
"""Tasks in which some questions have no answer."""
_EVENLY_LONG = ("qasper_e", "multifieldqa_en_e", "hotpotqa_e", "2wikimqa_e")
_FIGURE = re.compile(r"(?:人民币)?\d+(?:\.\d+)?(?:%|％|mm|倍|兆瓦|[万亿]?(?:元|美元|人))?")
_DATE = re.compile(r"\d{4}年\d{1,2}月\d{1,2}日|\d{4}-\d\d-\d\d|\d{4}年")
_PASSAGE = re.compile(r"^(?:Passage \d+:|文章\d+)[ \t]*\n", re.MULTILINE)


def examples(row: Row) -> Iterator[Example]:
    dataset = text(row, "dataset")
    task = dataset.removesuffix("_e")
    if task not in _KINDS:
        raise RowError(f"dataset={dataset!r}: must be one of {', '.join(_KINDS)}")
    answers, context = texts(row, "answers"), text(row, "context")
    documents = _passages(context)
    kind, answers = _judged(task, answers)
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
            **({"answerable": closed_answer(answers) != "unanswerable"} if task in _OPEN else {}),
        },
    )


def _judged(task: str, answers: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Kind, and the answers as its verifier takes them."""
    if closed_answer(answers):
        return "yes_no", answers
    bare = tuple(answer.rstrip("。.") for answer in answers)
    if task == "multifieldqa_zh" and all(map(_FIGURE.fullmatch, bare)):
        return "numeric", bare
    if task == "multifieldqa_zh" and all(map(_DATE.fullmatch, bare)):
        return "date", bare
    return _KINDS[task] or free_kind(answers), answers


def _passages(context: str) -> tuple[str, ...]:
    starts = [match.start() for match in _PASSAGE.finditer(context)]
    if len(starts) < 2:
        return (context,)
    ends = [*starts[1:], len(context)]
    first = context[: starts[0]].strip()
    cut = [context[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return tuple(part for part in (first, *cut) if part)


SOURCE = on_hub(
    "longbench",
    examples,
    Snapshot(
        "zai-org/LongBench",
        {
            name: Part(files=f"data/{name}.jsonl", archive="data.zip")
            for name in (*_KINDS, *_EVENLY_LONG)
        },
    ),
    licence="MIT",
    citation="Bai et al., LongBench, arXiv 2308.14508",
)
