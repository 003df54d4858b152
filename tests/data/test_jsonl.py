"""The user's own JSONL: what is read, and how each bad line is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwenlong.config import SourceConfig
from qwenlong.data.jsonl import read
from qwenlong.rewards.registry import verifier
from qwenlong.scoring import score_file
from qwenlong.types import Example, InputError

GOOD: dict[str, Any] = {"question": "Where?", "documents": ["It is here."], "answers": ["here"]}


def read_all(path: Path, examples: int | None = None) -> list[Example]:
    spec = SourceConfig(source="jsonl", path=str(path), examples=examples)
    return list(read(spec, "train", len, 0))


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


def test_takes_at_most_the_examples_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, GOOD, "not JSON")
    assert [example.id for example in read_all(path, examples=2)] == ["mine:1", "mine:2"]


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "Where?"', "not JSON: .* at column"),
        ("[" * 100_000, "not JSON that can be read"),
        ("9" * 5_000, "not JSON that can be read"),
        ([1], "a line must be a JSON object, not a list"),
        ("null", "a line must be a JSON object, not null"),
        (without("question"), "question is missing"),
        (without("documents"), "documents or context or document is missing"),
        (without("answers"), "answers or answer is missing"),
        ({**GOOD, "question": 3}, "question must be a text, not a number"),
        ({**GOOD, "question": " "}, "question=' ': must not be blank"),
        ({**GOOD, "documents": "It is here."}, "documents must be a list of texts, not a text"),
        ({**GOOD, "documents": []}, r"documents=\[\]: at least one text is needed"),
        ({**GOOD, "documents": ["a", {}]}, r"documents\[1\] must be a text, not an object"),
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
    ],
)
def test_refuses_a_bad_line(tmp_path: Path, line: object, message: str) -> None:
    path = written(tmp_path, GOOD, line, GOOD)
    with pytest.raises(InputError, match=rf"mine\.jsonl:2: {message}") as caught:
        read_all(path)
    assert "\n" not in str(caught.value)


def test_refuses_bad_utf8(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    path.write_bytes(path.read_bytes() + b'{"question": "caf\xe9"}\n')
    with pytest.raises(InputError, match=r"mine\.jsonl:2: not UTF-8 \(byte 18 of the line\)"):
        read_all(path)


def test_refuses_a_file_without_examples(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.jsonl: there is no such file"):
        read_all(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_all(tmp_path)
    with pytest.raises(InputError, match=r"mine\.jsonl: the file is empty"):
        read_all(written(tmp_path))
    with pytest.raises(InputError, match=r"mine\.jsonl: the file is empty"):
        read_all(written(tmp_path, "", " "))
    with pytest.raises(InputError, match="path=None: source jsonl needs the path"):
        list(read(SourceConfig(source="jsonl"), "train", len, 0))
