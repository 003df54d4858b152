"""Solvers of the synthetic tasks: they read documents and question, nothing else.

    python -m tests.data.solvers [EXAMPLES [TOKENS ...]]

makes that many examples (1,000) of each length (1,024 and 65,536) of every kind from Moby Dick and
OTT-QA's passages (English, words for tokens) and CMRC 2018 (Chinese, characters for tokens), and
prints how many each solver answers just as stated.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from qwenlong.data.synthesis import TASKS
from qwenlong.data.synthesis.corpus import Corpus, Text, of_documents, of_running_text
from qwenlong.types import CountTokens

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
VALUE = re.compile(r"(?<![A-Za-z0-9-])(?:\d{7}|[A-Z]{3}-\d{4})(?![A-Za-z0-9-])")
KEY = re.compile(r"[0-9a-f]{32}")
STEPS = {"one step": 1, "two steps": 2, "three steps": 3, "一步": 1, "两步": 2, "三步": 3}

Documents = Sequence[str]


def needle(documents: Documents, question: str) -> str:
    key = re.search(r"(?:of|for) the ([a-z]+ [a-z]+)[.?]|“(.+?)”", question)
    assert key, question
    name = f"the {key[1]}" if key[1] else key[2]
    found = [
        value for said in sentences(documents) if name in said for value in VALUE.findall(said)
    ]
    return ("、" if key[2] else ", ").join(found)


def keychain(documents: Documents, question: str) -> str:
    text = "\n".join(documents)
    leads = dict(re.findall(rf"({KEY.pattern})[^.。?？:：]*?({KEY.pattern})[.。]", text))
    ends = dict(re.findall(rf"({KEY.pattern})[^.。?？:：]*?[:：] ?([^?？]+[?？])", text))
    key = KEY.findall(question)[0]
    while key in leads:
        key = leads[key]
    return needle(documents, ends[key])


def multihop(documents: Documents, question: str) -> str:
    parts = [document.partition("\n") for document in documents]
    titled = [(title, body) for title, _, body in parts if body]
    steps = [n for words, n in STEPS.items() if f"走{words}" in question or words in question]
    start = re.search(r'document "(.+?)"|《(.+?)》', question)
    asked = re.search(r"Which (.+?) does|What is the (.+?) of|文件的([^。]+?)是什么", question)
    assert start and asked, question
    title, thing = start[1] or start[2], asked[1] or asked[2] or asked[3]
    for _ in range(steps[-1]):
        (body,) = [body for name, body in titled if name == title]
        (title,) = {name for name, _ in titled if name != title and name in body}
    (body,) = [body for name, body in titled if name == title]
    (found,) = [
        value
        for said in sentences([body])
        if re.search("this document|本文件|这份文件", said, re.I) and thing in said
        for value in VALUE.findall(said)
    ]
    return found


def table(documents: Documents, question: str) -> str:
    tables = dict(filter(None, map(_table, documents)))
    quoted = re.findall(r'"(.+?)"|“(.+?)”', question)
    names = [one or other for one, other in quoted]
    titles = [name for name in names if name in tables]
    cells = [
        {row: int(values[column]) for row, values in tables[title].items()}
        for title in titles
        for column in names
        if column in next(iter(tables[title].values()))
    ]
    bare = re.sub(r'".+?"|“.+?”', "_", question)
    rows = sorted((row for row in cells[0] if re.search(_word(row), bare)), key=bare.index)
    if len(titles) == 2:
        return str(cells[0][rows[0]] - cells[1][rows[0]])
    numbers = list(cells[0].values())
    if limit := re.search(r"(?:more than|above|大于|超过) ?(\d+)", bare):
        return str(sum(number > int(limit[1]) for number in numbers))
    if re.search("sum of|Add up|总和|相加", bare):
        return str(sum(numbers))
    if re.search("largest|highest|最大", bare):
        return max(cells[0], key=lambda row: cells[0][row])
    first, second = (cells[0][row] for row in rows)
    if re.search("^How many times|^Take the number", bare):
        first, second = second, first
    if re.search("two decimals|两位小数", bare):
        return f"{first / second:.2f}"
    return str(first - second)


def ordering(documents: Documents, question: str) -> str:
    items = re.findall(r"([A-F])\. (?:the ([a-z]+ [a-z]+)|“(.+?)”)", question)
    labels = {one or other: label for label, one, other in items}
    text = "\n".join(documents)
    if "text" in question or "文中" in question:
        order = sorted(labels, key=text.index)
    else:
        said = {name: [s for s in sentences(documents) if name in s] for name in labels}
        years = {name: re.findall(r"(?<!\d)1[5-9]\d\d(?!\d)", said[name][0]) for name in labels}
        order = sorted(
            labels, key=lambda name: int(years[name][-1 if "in 1" in said[name][0] else 0])
        )
    return " > ".join(labels[name] for name in order)


def counting(documents: Documents, question: str) -> str:
    bird = re.search(r"one ([a-z]+ [a-z]+)|一只(.+?)？", question)
    assert bird, question
    return str(sum(document.count(bird[1] or bird[2]) for document in documents))


def cited(documents: Documents, question: str) -> str:
    passages = {int(re.findall(r"\d+", text)[0]): text.partition("\n")[2] for text in documents}
    citations = []
    key = re.search(r"the ([a-z]+ [a-z]+)(?: is kept\?|\?)|“(.+?)”", question)
    place = re.search(r"(?:at|of) ([A-Z][a-z]+)[?.]|^(\w{3})的门禁码|打开(\w{3})的门", question)
    if key:
        name = key[1] or key[2]
        ((number, said),) = [(n, s) for n, s in _said(passages) if name in s]
        place = re.search(r"(?:kept at|At) ([A-Z][a-z]+)[. ]|存放在(\w{3})|(\w{3})存放着", said)
        citations.append(number)
    assert place, question
    where = next(filter(None, place.groups()))
    ((number, said),) = [(n, s) for n, s in _said(passages) if where in s and VALUE.search(s)]
    citations = sorted({*citations, number})
    return f"{VALUE.findall(said)[-1]} {''.join(f'[{n}]' for n in citations)}"


SOLVERS: dict[str, Callable[[Documents, str], str]] = {
    "needles": needle,
    "keychain": keychain,
    "multihop": multihop,
    "tables": table,
    "ordering": ordering,
    "counting": counting,
    "cited": cited,
}


def sentences(documents: Documents) -> list[str]:
    return [said for text in documents for said in re.split(r"(?<=[.!?])\s|(?<=[。！？])|\n", text)]


def _said(passages: dict[int, str]) -> list[tuple[int, str]]:
    return [(number, said) for number, text in passages.items() for said in sentences([text])]


def _table(document: str) -> tuple[str, dict[str, dict[str, str]]] | None:
    """Title and cells by row and column, if the document is a table."""
    title, *lines = document.split("\n")
    if not lines or not re.match(r"\| |Goods[:,]|货物[:,]", lines[0]):
        return None
    if lines[0].startswith("| "):
        grid = [line.strip("| ").split(" | ") for line in (lines[0], *lines[2:])]
    elif " | " in lines[0]:
        pairs = [[cell.split(": ") for cell in line.split(" | ")] for line in lines]
        grid = [[head for head, _ in pairs[0]], *([cell for _, cell in row] for row in pairs)]
    else:
        grid = [line.split(",") for line in lines]
    return title, {row[0]: dict(zip(grid[0][1:], row[1:], strict=True)) for row in grid[1:]}


def _word(row: str) -> str:
    return rf"\b{row}\b" if row.isascii() else row


def words(text: str) -> int:
    return len(text.split())


def moby_dick() -> Corpus:
    with (DATA / "filler_gutenberg/moby_dick_2701-0.txt").open(encoding="utf-8-sig") as file:
        return of_running_text(file, "en")


def ottqa() -> Corpus:
    def passages() -> Iterator[Text]:
        for path in sorted((DATA / "multihop_ottqa/request_tok").iterdir()):
            for link, text in json.loads(path.read_text(encoding="utf-8")).items():
                yield Text(link.removeprefix("/wiki/").replace("_", " "), text, "en")

    return of_documents(passages())


def squad_form(path: str, language: str) -> Corpus:
    articles = json.loads((DATA / path).read_text(encoding="utf-8"))["data"]
    return of_documents(
        Text(article["title"], paragraph["context"], language)
        for article in articles
        for paragraph in article["paragraphs"]
    )


def cmrc2018() -> Corpus:
    return squad_form("zh_cmrc2018/cmrc2018_dev.json", "zh")


CORPORA: dict[str, tuple[Callable[[], Corpus], str, CountTokens]] = {
    "Moby Dick": (moby_dick, "en", words),
    "OTT-QA": (ottqa, "en", words),
    "CMRC 2018": (cmrc2018, "zh", len),
}


def main(examples: int, lengths: Sequence[int]) -> None:
    for name, (load, language, count) in CORPORA.items():
        corpus = load()
        for kind, make in TASKS.items():
            for tokens in lengths:
                start, solved, shares = time.perf_counter(), 0, []
                for example in islice(make(corpus, examples, tokens, count, 0, language), examples):
                    said = SOLVERS[kind](example.documents, example.question)
                    solved += said == example.metadata["stated"]
                    shares.append(count("\n\n".join(example.documents)) / tokens)
                took = time.perf_counter() - start
                print(
                    f"{name:10} {kind:9} {tokens:6} tokens: {solved} of {examples} solved, lengths"
                    f" {min(shares):.4f} to {max(shares):.4f}, {took:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(numbers[0] if numbers else 1000, numbers[1:] or [1024, 65_536])
