"""HotpotQA (Yang et al., arXiv 1809.09600): two hops over two paragraphs among ten of Wikipedia.

Read in three forms, told apart by a row's own fields:

- ``hotpotqa/hotpot_qa`` on the hub (its card: licence CC BY-SA 4.0): ``id``, ``question``,
  ``answer``, ``type``, ``level``, ``supporting_facts`` (``title``, ``sent_id``), ``context``
  (``title``, ``sentences``);
- the original JSON: ``_id``, and lists of pairs for facts and context;
- the sample of 100 questions of nyu-mll/quality: ``_id``, the gold paragraphs apart (``title_a``,
  ``para_a``, ``title_b``, ``para_b``), ``supporting_facts`` (numbers of sentences of each) and
  ``distractors``, which the gold ones are put among by a shuffle that the id seeds.

``distractor`` always has the two gold paragraphs. ``fullwiki`` has what a retriever found: where a
gold paragraph is not among them the row is left out, since its documents do not answer it.
``fullwiki/test`` hides answers.

Kind: extractive, or yes_no. The reasoning is the supporting sentences.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import (
    answer_text,
    exact_kind,
    filled_list,
    group_over,
    pairs,
    places_of,
    row_id,
    text,
    titled_pages,
)
from qwenlong.data.sources.hub import Part, Snapshot, on_hub
from qwenlong.types import Example


def examples(row: Row) -> Iterator[Example]:
    name, gold = row_id(row, "id", "_id"), answer_text(row)
    if "distractors" in row:
        row = _of_sample(row, name)
    titles, documents = titled_pages(row)
    facts = pairs(row["supporting_facts"], "supporting_facts", "title", "sent_id")
    places = places_of([title for title, _ in facts], titles)
    yield Example(
        id=name,
        source="hotpotqa",
        question=text(row, "question"),
        documents=documents,
        answers=(gold,),
        kind=exact_kind((gold,)),
        reasoning=_reasoning(row, facts),
        gold_documents=places,
        group=group_over("hotpotqa", (titles[place] for place in places)),
        metadata={
            "question_id": name,
            "type": str(row.get("type") or ""),
            "level": str(row.get("level") or ""),
            "titles": titles,
            "language": "en",
        },
    )


def _of_sample(row: Row, name: str) -> Row:
    """A row of the sample in the form of the original."""
    gold = [[text(row, f"title_{each}"), filled_list(row, f"para_{each}")] for each in "ab"]
    context = [*gold, *([title, sentences] for title, sentences, _ in row["distractors"])]
    random.Random(f"hotpotqa {name}").shuffle(context)
    facts = [
        [title, number]
        for (title, _), numbers in zip(gold, row["supporting_facts"], strict=True)
        for number in numbers
    ]
    return {**row, "context": context, "supporting_facts": facts}


def _reasoning(row: Row, facts: list[tuple[str, Any]]) -> str:
    """The supporting sentences, page by page."""
    sentences = dict(pairs(row["context"], "context", "title", "sentences"))
    told: dict[str, list[str]] = {}
    for title, number in facts:
        if type(number) is not int:
            raise RowError(f"supporting_facts must number sentences, has {number!r}")
        if 0 <= number < len(sentences[title]):  # a few facts of the set point behind the end
            told.setdefault(title, []).append(sentences[title][number].strip())
    return "\n".join(
        f'The passage "{title}" says: {" ".join(said)}' for title, said in told.items()
    )


SOURCE = on_hub(
    "hotpotqa",
    examples,
    Snapshot(
        "hotpotqa/hotpot_qa",
        {
            f"{config}/{split}": Part(split, config)
            for config in ("distractor", "fullwiki")
            for split in ("train", "validation", "test")
            if (config, split) != ("distractor", "test")  # the set has none
        },
    ),
    licence="CC BY-SA 4.0",
    citation="Yang et al., HotpotQA: Diverse, Explainable Multi-hop QA, arXiv 1809.09600",
)
