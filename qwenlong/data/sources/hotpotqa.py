"""HotpotQA (Yang et al., arXiv 1809.09600), 100 questions of its distractor setting.

The sample is that of nyu-mll/quality: it has the two gold paragraphs apart from the distractors,
which are up to eight paragraphs that a search for the question finds. ``hotpotqa_hub`` reads the
whole set.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from qwenlong.data.rows import Row, RowError, Rows, Source, files, json_list
from qwenlong.data.sources.fields import as_text, digest, objects, text
from qwenlong.types import Example


def rows(path: Path, subset: str) -> Rows:
    for file in files(path, ".json"):
        yield from json_list(file)


def examples(row: Row) -> Iterator[Example]:
    """The documents are the paragraphs, each under its title, the gold ones among the others."""
    name, answer = text(row, "_id"), text(row, "answer")
    gold = [(text(row, f"title_{each}"), objects(row, f"para_{each}")) for each in "ab"]
    context = [*gold, *((title, sentences) for title, sentences, _ in row["distractors"])]
    random.Random(f"hotpotqa {name}").shuffle(context)
    pages = [f"{as_text(title, 'title')}\n{''.join(each)}" for title, each in context]
    titles = [title for title, _ in gold]
    yield Example(
        id=name,
        source="hotpotqa",
        question=text(row, "question"),
        documents=tuple(pages),
        answers=(answer,),
        kind="yes_no" if answer in ("yes", "no") else "extractive",
        reasoning=_reasoning(row, gold),
        gold_documents=tuple(sorted(context.index(page) for page in gold)),
        group=f"hotpotqa:{digest(' | '.join(sorted(titles)))}",
        metadata={"question_id": name, "titles": titles, "language": "en"},
    )


def _reasoning(row: Row, gold: list[tuple[str, list[str]]]) -> str:
    """The supporting sentences."""
    told = []
    for (title, sentences), numbers in zip(gold, row["supporting_facts"], strict=True):
        if not all(0 <= number < len(sentences) for number in numbers):
            raise RowError(f"supporting_facts={numbers}: {title!r} has {len(sentences)} sentences")
        says = " ".join(sentences[number].strip() for number in numbers)
        told.append(f'The passage "{title}" says: {says}')
    return "\n".join(told)


SOURCE = Source(
    name="hotpotqa",
    rows=rows,
    examples=examples,
    layout="docs/js/camera_ready_nd8_dev_sample100.json of github.com/nyu-mll/quality",
    licence="CC BY-SA 4.0",
    citation="Yang et al., HotpotQA: Diverse, Explainable Multi-hop QA, arXiv 1809.09600",
)
