"""The user's own JSONL: what is read, and how each bad line is refused."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from qwenlong.commands.score import score_file
from qwenlong.config import SourceConfig
from qwenlong.data import rows
from qwenlong.data.own.documents import documents, examples
from qwenlong.data.own.jsonl import Document, read
from qwenlong.data.rows import Rejected
from qwenlong.rewards.registry import verifier
from qwenlong.types import Example, InputError

GOOD: dict[str, Any] = {"question": "Where?", "documents": ["It is here."], "answers": ["here"]}


def items(path: Path) -> list[Example | Rejected]:
    return list(read(SourceConfig(source="jsonl", path=str(path)), "train", len, 0))


def read_all(path: Path) -> list[Example]:
    """Every line's example; none is rejected, and a folder's reader gives the same."""
    found = items(path)
    assert found == list(examples(path))
    return [item for item in found if isinstance(item, Example)]


def written(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "mine.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def test_reads_every_form(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        GOOD,
        {"question": "Who?", "context": "Ann.", "answer": "Ann", "hops": 2, "id": 7},
        "",
        {
            "id": "x",
            "source": "notes",
            "question": "Who?",
            "document": "One line\u2028still it\x85.",
            "answers": ["Ann", "Anne"],
            "kind": "choice",
            "reasoning": "It says so.",
        },
    )
    first, second, third = read_all(path)
    assert first == Example("mine:1", "mine", "Where?", ("It is here.",), ("here",))
    assert (second.id, second.documents, second.answers) == ("7", ("Ann.",), ("Ann",))
    assert second.metadata == {"hops": 2}
    assert third == Example(
        "x",
        "notes",
        "Who?",
        ("One line\u2028still it\x85.",),
        ("Ann", "Anne"),
        "choice",
        "It says so.",
    )


LINES: list[dict[str, Any]] = [
    {**GOOD, "kind": "extractive", "response": "here"},
    {**GOOD, "answers": ["12.5"], "kind": "numeric", "scale": "percent", "response": "12.5%"},
    {
        **GOOD,
        "answers": ["12.5"],
        "kind": "numeric",
        "scale": "percent",
        "metadata": {"scale": "million"},
        "response": "12.5 million",
        "thinking": False,
        "score": {"value": 1.0},
    },
    {**GOOD, "kind": "extractive", "metadata": None, "response": "here"},
    {
        "question": "Where?",
        "context": "Here.",
        "kind": "format",
        "thinking": "absent",
        "response": "Here.",
    },
    {
        "question": "Where?",
        "context": "Here.",
        "kind": "format",
        "answers": [],
        "metadata": {"max_characters": 9},
        "thinking": True,
        "response": "<think>\nSo.\n</think>\n\nHere.",
    },
]


def test_a_line_is_read_as_it_is_scored(tmp_path: Path) -> None:
    """A file of answers is data, too: both ways its examples are the same to their verifiers."""
    path = written(tmp_path, *LINES)
    out = tmp_path / "scored.jsonl"
    assert score_file(path, out=out).malformed == 0
    scored = [json.loads(line) for line in out.read_text().splitlines()]
    for example, line in zip(read_all(path), scored, strict=True):
        thinking = line.get("thinking") is True
        value = verifier(example)(example, line["response"], thinking).value
        assert value == line["score"]["value"] == 1.0
    metadata = [dict(example.metadata) for example in read_all(path)]
    forms = [{"thinking": "absent"}, {"max_characters": 9}]
    assert metadata == [{}, {"scale": "percent"}, {"scale": "million"}, {}, *forms]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    line = json.dumps({**GOOD, "question": "a\u2028b\x85c?"}, ensure_ascii=False)
    path.write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n{line}".encode())
    assert [example.question for example in read_all(path)] == ["a\u2028b\x85c?"] * 2


def test_a_line_may_have_titles_and_questions(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {
            "documents": ["One.", {"title": "T", "text": "Two."}],
            "question": "Who?",
            "answer": "A",
            "gold_documents": [1],
            "group": "g",
        },
        {
            "context": "Red.",
            "title": "Log",
            "source": "s",
            "language": "en",
            "questions": [
                {"question": "Which?", "answers": ["red", "Red"], "kind": "list", "metric": "iou"},
                {"id": 7, "question": "B?", "answer": "b", "reasoning": "So.", "language": "de"},
                {"question": "Free?", "kind": "format", "metadata": {"max_characters": 9}},
            ],
        },
    )
    document = ("Log\nRed.",)
    assert read_all(path) == [
        Example(
            "mine:1", "mine", "Who?", ("One.", "T\nTwo."), ("A",), gold_documents=(1,), group="g"
        ),
        Example(
            "mine:2:1", "s", "Which?", document, ("red", "Red"), "list", group="mine:2",
            metadata={"title": "Log", "metric": "iou", "language": "en"},
        ),
        Example(
            "7", "s", "B?", document, ("b",), reasoning="So.", group="mine:2",
            metadata={"title": "Log", "language": "de"},
        ),
        Example(
            "mine:2:3", "s", "Free?", document, (), "format", group="mine:2",
            metadata={"title": "Log", "language": "en", "max_characters": 9},
        ),
    ]  # fmt: skip
    assert list(documents(path)) == [
        Document("mine:1:1", "One.", "mine:1:1"),
        Document("T", "Two.", "mine:1:2"),
        Document("Log", "Red.", "mine:2"),
    ]


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "Where?"', "not JSON: .* at column"),
        ("[" * 100_000, "not JSON that can be read"),
        ("9" * 5_000, "not JSON that can be read"),
        ([1], "must be an object, is a list"),
        ("null", "must be an object, is null"),
        (without("question"), "question is missing"),
        (without("documents"), "documents or document or context or text is missing"),
        (without("answers"), "answers or answer is missing"),
        ({**GOOD, "question": 3}, "question must be a text, not a number"),
        ({**GOOD, "question": " "}, "question=' ': must not be blank"),
        ({**GOOD, "documents": "It is here."}, "documents must be a list of texts or of objects"),
        ({**GOOD, "documents": []}, r"documents=\[\]: at least one text is needed"),
        ({**GOOD, "documents": ["a", {}]}, r"documents\[1\]\.text is missing"),
        ({**GOOD, "context": "More."}, "has both documents and context; keep one of them"),
        ({**GOOD, "answers": []}, r"answers=\[\]: at least one text is needed"),
        ({**GOOD, "answers": [""]}, r"answers\[0\]='': must not be blank"),
        ({**GOOD, "answers": ["here", " \n"]}, r"answers\[1\]=' \\n': must not be blank"),
        ({**GOOD, "answers": [True]}, r"answers\[0\] must be a text, not true or false"),
        ({**without("answers"), "answer": ""}, "answer='': must not be blank"),
        ({**without("answers"), "answer": 4.5}, "answer must be a text, not a number"),
        ({**GOOD, "id": ["x"]}, "id must be a text, not a list"),
        ({**GOOD, "kind": 1}, "kind must be a text, not a number"),
        ({**GOOD, "metadata": ["x"]}, "metadata must be an object, not a list"),
        ({**without("answers"), "kind": "list"}, "answers or answer is missing"),
        ({**GOOD, "answers": "here", "kind": "format"}, "answers must be a list of texts, not a"),
        ({**GOOD, "reasoning": {}}, "reasoning must be a text, not an object"),
        ({**GOOD, "question": "\ud800"}, "question has half of a surrogate pair"),
        ({**GOOD, "id": "mine:1"}, "id 'mine:1' is already that of line 1"),
        ({**GOOD, "documents": [{"title": "a"}]}, r"documents\[0\]\.text is missing"),
        ({**GOOD, "title": 3}, "title must be a text, not a number"),
        ({**GOOD, "group": ["a"]}, "group must be a text, not a list"),
        ({**GOOD, "gold_documents": 0}, "gold_documents must be a list of the documents' places"),
        ({**GOOD, "gold_documents": [True]}, "gold_documents must be a list of the documents'"),
        ({**GOOD, "gold_documents": [1]}, "gold_documents: there is no 1 of 1 documents, from 0"),
        ({**GOOD, "messages": "x"}, "messages are a chat, which source chat reads"),
        ({**GOOD, "metadata": {"messages": []}}, "messages are a chat, which source chat reads"),
        ({**GOOD, "questions": []}, "has both question and questions; keep one of them"),
        ({**without("question"), "questions": {}}, "questions must be a list of objects"),
        ({**without("question"), "questions": ["b"]}, r"questions\[0\] must be an object"),
        (
            {"text": "a", "questions": [{"answer": "b"}]},
            r"questions\[0\]\.question is missing",
        ),
        (
            {"text": "a", "questions": [{"question": "b", "answer": "c", "context": "d"}]},
            r"questions\[0\] has documents; they stand in the line",
        ),
    ],
)
def test_a_bad_line_is_rejected_and_the_others_are_kept(
    tmp_path: Path, line: object, message: str
) -> None:
    path = written(tmp_path, GOOD, line, GOOD)
    first, bad, last = items(path)
    assert isinstance(first, Example) and isinstance(last, Example) and isinstance(bad, Rejected)
    assert bad.where == f"{path}:2" and "\n" not in bad.why
    assert re.match(message, bad.why)
    # A folder may hold texts without a question.
    assert list(examples(path)) in ([first, bad, last], [first, last])


def test_refuses_bad_utf8(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    path.write_bytes(path.read_bytes() + b'{"question": "caf\xe9"}\n')
    _, bad = items(path)
    assert isinstance(bad, Rejected) and bad.why.startswith("not UTF-8 (byte 18 of the line)")


def test_a_line_of_200_mb_is_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LONGEST_LINE", 2**23)
    path = tmp_path / "mine.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "')
        for _ in range(200):
            file.write(b"x" * 2**20)
        file.write(f'"}}\n{json.dumps(GOOD)}\n'.encode())
    for reader in (items, lambda path: list(documents(path))):
        tracemalloc.start()
        bad, good = reader(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(bad, Rejected) and "more than" in bad.why and bad.where == f"{path}:1"
        assert not isinstance(good, Rejected)
        assert peak < 50 * 2**20


def test_refuses_a_file_without_examples(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.jsonl: there is no such file"):
        items(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        items(tmp_path)
    with pytest.raises(InputError, match=r"mine\.jsonl: the file is empty"):
        items(written(tmp_path))
    with pytest.raises(InputError, match=r"mine\.jsonl: the file is empty"):
        items(written(tmp_path, "", " "))
    with pytest.raises(InputError, match="path=None: source jsonl needs the path"):
        list(read(SourceConfig(source="jsonl"), "train", len, 0))
