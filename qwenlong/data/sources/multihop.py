"""Questions over several pages: HotpotQA, 2WikiMultihopQA, MuSiQue, FRAMES and MultiHop-RAG.

The kind is extractive, or yes_no for yes, no and unanswerable.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qwenlong.data.rows import Rejected, Row, RowError, Rows, Source, convert
from qwenlong.data.sources import hub
from qwenlong.data.sources.fields import (
    answer_text,
    closed_answer,
    distinct,
    exact_kind,
    filled_list,
    fingerprint,
    from_json,
    group_over,
    pairs,
    places_of,
    records,
    row_id,
    text,
    texts,
    titled_pages,
)
from qwenlong.types import Example

Article = Mapping[str, Any]
_NEAREST = 3
_RARE = 0.1
"""A word is rare if at most this share of the articles has it."""
_WORD = re.compile(r"\w{3,}")


def hotpotqa(row: Row) -> Iterator[Example]:
    """HotpotQA as the hub has it, the original JSON, or the sample of nyu-mll/quality.

    A row of ``fullwiki``, whose pages a retriever found, is rejected if a gold page is not there.
    """
    if "distractors" in row:
        row = _from_sample(row)
    example = _over_pages("hotpotqa", row)
    more = {"question_id": example.id, "level": str(row.get("level") or ""), "language": "en"}
    yield replace(example, reasoning=_sentences(row), metadata={**example.metadata, **more})


def wikimultihop(row: Row) -> Iterator[Example]:
    """2WikiMultihopQA from the hub, the original JSON, or xanhho's copy with JSON in texts."""
    yield replace(_over_pages("wikimultihop", row), reasoning=_triples(row))


def _over_pages(source: str, row: Row) -> Example:
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
        gold_documents=places,
        group=group_over(source, (titles[place] for place in places)),
        metadata={"type": str(row.get("type") or ""), "titles": titles},
    )


def _from_sample(row: Row) -> Row:
    """A row of the sample in the form of the original; its pages are shuffled by its id."""
    gold = [[text(row, f"title_{each}"), filled_list(row, f"para_{each}")] for each in "ab"]
    context = [*gold, *([title, sentences] for title, sentences, _ in row["distractors"])]
    random.Random(f"hotpotqa {row_id(row, 'id', '_id')}").shuffle(context)
    facts = [
        [title, number]
        for (title, _), numbers in zip(gold, row["supporting_facts"], strict=True)
        for number in numbers
    ]
    return {**row, "context": context, "supporting_facts": facts}


def _sentences(row: Row) -> str:
    """The supporting sentences, page by page."""
    sentences = dict(pairs(row["context"], "context", "title", "sentences"))
    quoted: dict[str, list[str]] = {}
    for title, number in pairs(row["supporting_facts"], "supporting_facts", "title", "sent_id"):
        if type(number) is not int:
            raise RowError(f"supporting_facts must number sentences, has {number!r}")
        if 0 <= number < len(sentences[title]):  # a few facts of the set point behind the end
            quoted.setdefault(title, []).append(sentences[title][number].strip())
    return "\n".join(
        f'The passage "{title}" says: {" ".join(each)}' for title, each in quoted.items()
    )


def _triples(row: Row) -> str:
    sentences = []
    for triple in from_json(row.get("evidences") or [], "evidences"):
        if isinstance(triple, Mapping):
            triple = list(triple.values())
        if not isinstance(triple, list) or len(triple) != 3:
            raise RowError(f"evidences must hold triples, holds {triple!r}"[:200])
        subject, relation, found = triple
        sentences.append(f"{subject}, {relation}: {found}.")
    return " ".join(sentences)


def musique(row: Row) -> Iterator[Example]:
    """MuSiQue-Ans from the hub, or MuSiQue-Full from its authors.

    Half of the latter cannot be answered from its paragraphs: its gold answer is "unanswerable".
    """
    paragraphs = records(row["paragraphs"], "paragraphs")
    if not paragraphs:
        raise RowError("paragraphs is empty")
    titles = [text(paragraph, "title") for paragraph in paragraphs]
    bodies = [text(paragraph, "paragraph_text") for paragraph in paragraphs]
    answerable = row.get("answerable", True)
    if not isinstance(answerable, bool):
        raise RowError(f"answerable must be true or false, is {answerable!r}")
    name = row_id(row, "id")
    steps = records(row.get("question_decomposition") or [], "question_decomposition")
    gold: tuple[int, ...] = ()
    answers: tuple[str, ...] = ("unanswerable",)
    reasoning = ""
    if answerable:
        gold = tuple(at for at, each in enumerate(paragraphs) if each["is_supporting"] is True)
        aliases = texts(row, "answer_aliases") if row.get("answer_aliases") else ()
        answers = distinct((answer_text(row), *aliases))
        indices = [paragraph.get("idx") for paragraph in paragraphs]
        reasoning = _solved(steps, dict(zip(indices, titles, strict=True)))
    yield Example(
        id=name if answerable else f"{name}-unanswerable",
        source="musique",
        question=text(row, "question"),
        documents=tuple(f"{title}\n{body}" for title, body in zip(titles, bodies, strict=True)),
        answers=answers,
        kind=exact_kind(answers[:1]),
        reasoning=reasoning,
        gold_documents=gold,
        # The last step names the paragraph with the answer; both forms of a question share it.
        group=f"musique:{steps[-1]['id'] if steps else name}",
        metadata={"hops": len(steps), "answerable": answerable, "titles": titles},
    )


def _solved(steps: Sequence[Mapping[str, Any]], titles: Mapping[Any, str]) -> str:
    """ "Who owned it? Mary Bell. Where was Mary Bell born? Hull." with the pages named."""
    found: list[str] = []
    sentences = []
    for step in steps:
        question = re.sub(
            r"#(\d+)",
            lambda match: found[int(match[1]) - 1] if int(match[1]) <= len(found) else match[0],
            text(step, "question").replace(" >> ", ", "),
        )
        found.append(answer_text(step))
        page = titles.get(step.get("paragraph_support_idx"))
        end = "" if question.endswith("?") else ":"
        sentences.append(f"{question}{end} {found[-1]}" + (f' ("{page}").' if page else "."))
    return " ".join(sentences)


def frames(row: Row) -> Iterator[Example]:
    """QwenLong-L1's copy of FRAMES. Google's own has links to the pages and not their texts.

    Some answers are sentences, which only a judge can compare.
    """
    question, gold = text(row, "Prompt"), answer_text(row, "Answer")
    if "wiki_items" not in row and "wiki_links" in row:
        raise RowError("has links to its pages and not their texts; Tongyi-Zhiwen/frames has both")
    pages = records(row["wiki_items"], "wiki_items")
    if not pages:
        raise RowError("wiki_items is empty")
    titles = [text(page, "title") for page in pages]
    yield Example(
        id=f"frames-{fingerprint(question)}",
        source="frames",
        question=question,
        documents=tuple(f"{text(page, 'title')}\n{text(page, 'text')}" for page in pages),
        answers=(gold,),
        kind=exact_kind((gold,)),
        gold_documents=tuple(range(len(pages))),
        group=group_over("frames", titles),
        metadata={"titles": titles, "reasoning_types": str(row.get("reasoning_types") or "")},
    )


def multihoprag_rows(source: Source, path: Path | None, subset: str) -> Rows:
    """Each question with the ``articles`` of its evidence.

    No article answers a null query; it gets those that share most of its rarer words.
    """
    questions = hub.rows(source, path, subset)
    folder = path.parent if path and path.is_file() else path
    corpus: list[Article] = []
    for item in hub.rows(replace(source, subsets={"corpus": "train"}), folder, "corpus"):
        if isinstance(item, Rejected):
            yield item
        else:
            corpus.append(item[1])
    by_url = {str(article.get("url")): article for article in corpus}
    words = [frozenset(_WORD.findall(str(article.get("body")).casefold())) for article in corpus]
    counts = Counter(word for each in words for word in each)
    rare = {word for word, count in counts.items() if count <= max(1, _RARE * len(corpus))}

    def joined(where: str, row: Row) -> Iterator[tuple[str, Row]]:
        evidence = row.get("evidence_list") or []
        if not evidence:
            asked = rare.intersection(_WORD.findall(str(row.get("query")).casefold()))
            ranked = sorted(range(len(corpus)), key=lambda place: -len(asked & words[place]))
            yield where, {**row, "articles": [corpus[place] for place in ranked[:_NEAREST]]}
            return
        urls = distinct(text(found, "url") for found in records(evidence, "evidence_list"))
        missing = [url for url in urls if url not in by_url]
        if missing:
            raise RowError(f"its article {missing[0]} is not in the corpus")
        yield where, {**row, "articles": [by_url[url] for url in urls]}

    yield from convert(questions, joined, source.name)


def multihoprag(row: Row) -> Iterator[Example]:
    query, gold = text(row, "query"), answer_text(row)
    closed = closed_answer((gold,))
    evidence = records(row["evidence_list"], "evidence_list")
    unanswerable = closed == "unanswerable"
    if unanswerable == bool(evidence):
        raise RowError(f"answer={gold!r} does not go with evidence_list of {len(evidence)}")
    articles = row["articles"]
    if not articles:
        raise RowError("no article of the corpus is near it")
    urls = [str(article.get("url")) for article in articles]
    yield Example(
        id=f"multihoprag-{fingerprint(query)}",
        source="multihoprag",
        question=query,
        documents=tuple(map(_article, articles)),
        answers=(closed or gold,),
        kind="yes_no" if closed else "extractive",
        reasoning=" ".join(
            f"{each.get('source')} ({_day(each)}): {text(each, 'fact')}" for each in evidence
        ),
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
    byline = ", ".join(part for part in (*head, _day(article)) if part)
    return f"{text(article, 'title')}\n{byline}\n\n{text(article, 'body')}"


def _day(article: Article) -> str:
    """The day alone: ``datasets`` may have parsed the time, and then writes it differently."""
    return str(article.get("published_at") or "")[:10]
