"""Sets in HotpotQA's layout: questions over two to four paragraphs among ten of Wikipedia.

HotpotQA (Yang et al., arXiv 1809.09600) is read in three forms, told apart by a row's own fields:

- ``hotpotqa/hotpot_qa`` on the hub (its card: licence CC BY-SA 4.0): ``id``, ``question``,
  ``answer``, ``type``, ``level``, ``supporting_facts`` (``title``, ``sent_id``), ``context``
  (``title``, ``sentences``);
- the original JSON: ``_id``, and lists of pairs for facts and context;
- the sample of 100 questions of nyu-mll/quality: ``_id``, the gold paragraphs apart (``title_a``,
  ``para_a``, ``title_b``, ``para_b``), ``supporting_facts`` (numbers of sentences of each) and
  ``distractors``. Gold paragraphs and distractors are mixed by a shuffle that the id seeds.

``distractor`` always has the two gold paragraphs. ``fullwiki`` has what a retriever found: a row
whose gold paragraphs are not all there is left out, because its documents do not answer it.
``fullwiki/test`` hides answers.

2WikiMultihopQA (Ho et al., arXiv 2011.01060) adds ``evidences`` (triples). It is read from
``framolfese/2WikiMultihopQA``, the copy on the hub that needs no script (no licence stated there;
the set's own repository, Alab-NII/2wikimultihop, is Apache-2.0), from the original JSON, and from
``xanhho/2WikiMultihopQA`` (JSON in texts).

Kind: extractive, or yes_no. The reasoning is the supporting sentences, or the triples.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from qwenlong.data.rows import Row, RowError
from qwenlong.data.sources.fields import (
    answer_text,
    exact_kind,
    filled_list,
    from_json,
    group_over,
    pairs,
    places_of,
    row_id,
    text,
    titled_pages,
)
from qwenlong.data.sources.hub import Part, Snapshot, on_hub, splits
from qwenlong.types import Example


def hotpotqa(row: Row) -> Iterator[Example]:
    name = row_id(row, "id", "_id")
    if "distractors" in row:
        row = _of_sample(row, name)
    level = str(row.get("level") or "")
    metadata = {"question_id": name, "level": level, "language": "en"}
    yield _example("hotpotqa", row, _sentences, metadata)


def wikimultihop(row: Row) -> Iterator[Example]:
    yield _example("wikimultihop", row, lambda row, _: _triples(row), {})


def _example(
    source: str,
    row: Row,
    reasoning: Callable[[Row, list[tuple[str, Any]]], str],
    metadata: dict[str, Any],
) -> Example:
    titles, documents = titled_pages(row)
    gold = answer_text(row)
    facts = pairs(row["supporting_facts"], "supporting_facts", "title", "sent_id")
    places = places_of([title for title, _ in facts], titles)
    return Example(
        id=row_id(row, "id", "_id"),
        source=source,
        question=text(row, "question"),
        documents=documents,
        answers=(gold,),
        kind=exact_kind((gold,)),
        reasoning=reasoning(row, facts),
        gold_documents=places,
        group=group_over(source, (titles[place] for place in places)),
        metadata={"type": str(row.get("type") or ""), "titles": titles, **metadata},
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


def _sentences(row: Row, facts: list[tuple[str, Any]]) -> str:
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


def _triples(row: Row) -> str:
    told = []
    for triple in from_json(row.get("evidences") or [], "evidences"):
        if isinstance(triple, Mapping):
            triple = list(triple.values())
        if not isinstance(triple, list) or len(triple) != 3:
            raise RowError(f"evidences must hold triples, holds {triple!r}"[:200])
        subject, relation, found = triple
        told.append(f"{subject}, {relation}: {found}.")
    return " ".join(told)


HOTPOTQA = on_hub(
    "hotpotqa",
    hotpotqa,
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
WIKIMULTIHOP = on_hub(
    "wikimultihop",
    wikimultihop,
    Snapshot("framolfese/2WikiMultihopQA", splits("train", "validation", "test")),
    licence="Apache-2.0 (Alab-NII/2wikimultihop); texts from Wikipedia (CC BY-SA)",
    citation="Ho et al., 2WikiMultihopQA, arXiv 2011.01060",
)
SOURCES = (HOTPOTQA, WIKIMULTIHOP)
