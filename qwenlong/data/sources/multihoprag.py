"""MultiHop-RAG (Tang and Yang, arXiv 2401.15391): questions over two to four news articles.

Schema: the card of ``yixuantt/MultiHopRAG`` (licence ODC-BY). Configuration ``MultiHopRAG``:
``query``, ``answer``, ``question_type``, ``evidence_list`` (``title``, ``author``, ``url``,
``source``, ``category``, ``published_at``, ``fact``); configuration ``corpus``, 609 articles:
``title``, ``author``, ``source``, ``published_at``, ``category``, ``url``, ``body``. Questions and
corpus are joined here, so a copy on disk needs both.

Kinds: yes_no for yes, no and, for a ``null_query``, "Insufficient information."; else extractive.
The documents are the articles of the evidence, all of them gold. No article answers a null query;
it gets the ``_NEAREST`` that share most of its rarer words. The reasoning is the evidence's facts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qwenlong.data.rows import Rejected, Row, RowError, Rows, convert
from qwenlong.data.sources.fields import (
    answer_text,
    closed_answer,
    distinct,
    fingerprint,
    group_over,
    records,
    text,
)
from qwenlong.data.sources.hub import Opened, Part, Snapshot, on_hub
from qwenlong.types import Example

ARTICLES = "articles"
"""The column in which a question's articles are joined to its row."""
_NEAREST = 3
_RARE = 0.1
"""A word is rare if at most this share of the articles has it."""
_WORD = re.compile(r"\w{3,}")

Article = Mapping[str, Any]


def examples(row: Row) -> Iterator[Example]:
    query, gold = text(row, "query"), answer_text(row)
    said = closed_answer((gold,))
    evidence = records(row["evidence_list"], "evidence_list")
    unanswerable = said == "unanswerable"
    if unanswerable == bool(evidence):
        raise RowError(f"answer={gold!r} does not go with evidence_list of {len(evidence)}")
    articles = row[ARTICLES]
    if not articles:
        raise RowError("no article of the corpus is near it")
    urls = [str(article.get("url")) for article in articles]
    yield Example(
        id=f"multihoprag-{fingerprint(query)}",
        source="multihoprag",
        question=query,
        documents=tuple(_article(article) for article in articles),
        answers=(said or gold,),
        kind="yes_no" if said else "extractive",
        reasoning=" ".join(_fact(each) for each in evidence),
        gold_documents=() if unanswerable else tuple(range(len(articles))),
        group=group_over("multihoprag", urls),
        metadata={
            "question_type": str(row.get("question_type") or ""),
            "answerable": not unanswerable,
            "urls": urls,
        },
    )


def _article(article: Article) -> str:
    head = [str(article.get(key) or "") for key in ("source", "author", "category")]
    told = ", ".join(part for part in (*head, _day(article)) if part)
    return f"{text(article, 'title')}\n{told}\n\n{text(article, 'body')}"


def _fact(evidence: Article) -> str:
    return f"{evidence.get('source')} ({_day(evidence)}): {text(evidence, 'fact')}"


def _day(article: Article) -> str:
    """The day alone: ``datasets`` may have parsed the time, and then writes it differently."""
    return str(article.get("published_at") or "")[:10]


def _joined(rows: Rows, opened: Opened) -> Rows:
    corpus: list[Article] = []
    for item in opened("corpus"):
        if isinstance(item, Rejected):
            yield item
        else:
            corpus.append(item[1])
    by_url = {str(article.get("url")): article for article in corpus}
    words = [frozenset(_WORD.findall(str(article.get("body")).casefold())) for article in corpus]
    counts = Counter(word for each in words for word in each)
    rare = frozenset(word for word, count in counts.items() if count <= max(1, _RARE * len(corpus)))

    def join(where: str, row: Row) -> Iterator[tuple[str, Row]]:
        evidence = row.get("evidence_list") or []
        if not evidence:
            near = _nearest(str(row.get("query")), words, rare)
            yield where, {**row, ARTICLES: [corpus[place] for place in near]}
            return
        urls = distinct(text(found, "url") for found in records(evidence, "evidence_list"))
        missing = [url for url in urls if url not in by_url]
        if missing:
            raise RowError(f"its article {missing[0]} is not in the corpus")
        yield where, {**row, ARTICLES: [by_url[url] for url in urls]}

    yield from convert(rows, join, "multihoprag")


def _nearest(query: str, words: Sequence[frozenset[str]], rare: frozenset[str]) -> list[int]:
    """The articles that share most rare words with a query, the earlier first where even."""
    asked = rare.intersection(_WORD.findall(query.casefold()))
    shared = {place: len(asked & each) for place, each in enumerate(words)}
    ranked = sorted(shared, key=lambda place: (-shared[place], place))
    return ranked[:_NEAREST]


ROWS = Snapshot(
    "yixuantt/MultiHopRAG",
    {
        "MultiHopRAG": Part("train", "MultiHopRAG"),
        "corpus": Part("train", "corpus", joined=True),
    },
    join=_joined,
)
SOURCE = on_hub(
    "multihoprag",
    examples,
    ROWS,
    licence="ODC-BY",
    citation="Tang and Yang, MultiHop-RAG, arXiv 2401.15391",
)
