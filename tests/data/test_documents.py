"""A folder of one's own documents: what is read of each kind, and how what is not is named."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pypdf
import pytest
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from qwenlong.data import documents as module
from qwenlong.data import rows
from qwenlong.data.documents import Document, documents, examples
from qwenlong.data.rows import Rejected
from qwenlong.types import Example, InputError

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def only(folder: Path) -> Document:
    (found,) = documents(folder)
    assert isinstance(found, Document)
    return found


def why(folder: Path) -> str:
    (found,) = documents(folder)
    assert isinstance(found, Rejected) and "\n" not in found.why
    return found.why


def write_pdf(path: Path, *pages: str, password: str | None = None, title: str = "") -> None:
    writer = pypdf.PdfWriter()
    for text in pages:
        page = writer.add_blank_page(300, 300)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-256")
    writer.write(path)


def test_a_folder_is_read_by_path_and_nothing_vanishes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.TXT").write_text("Two.\r\nLines.\r\n\r\n\r\n\r\nEnd.\n")
    (tmp_path / "a.md").write_text("# One #\n\nText.")
    (tmp_path / "c.docx").write_bytes(b"PK\x03\x04")
    (tmp_path / "d.txt").write_bytes(b"")
    (tmp_path / "e.txt").write_text(" \n ")
    (tmp_path / ".hidden.txt").write_text("Not me.")
    found = list(documents(tmp_path))
    assert found == [
        Document("One", "# One #\n\nText.", "a.md"),
        Document("two", "Two.\nLines.\n\nEnd.", "b/two.TXT"),
        Rejected(
            f"{tmp_path}/c.docx", "is none of .txt, .md, .markdown, .html, .htm, .pdf, .jsonl"
        ),
        Rejected(f"{tmp_path}/d.txt", "the file is empty"),
        Rejected(f"{tmp_path}/e.txt", "there is no text in it"),
    ]
    assert only(tmp_path / "a.md").where == "a.md"


def test_an_empty_or_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file is there; \.txt, \.md"):
        list(documents(tmp_path))
    with pytest.raises(InputError, match="there is no such file or folder"):
        list(examples(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("text", "title", "start"),
    [
        ('---\ntitle: "A  ship"\ntags: [x]\n---\n# Other\nText.', "A ship", "# Other"),
        ("---\nauthor: Ann\n---\nText\n====\nMore.", "Text", "Text"),
        ("+++\ntitle = 'Toml'\n+++\nText.", "Toml", "Text."),
        ("Text without.\n\n## Late heading\n", "Late heading", "Text without."),
        ("Text.\n\n---\n\nMore.", "plain", "Text."),
        ("#nothing\n", "plain", "#nothing"),
    ],
)
def test_markdown_titles(tmp_path: Path, text: str, title: str, start: str) -> None:
    path = tmp_path / "plain.md"
    path.write_text(text)
    found = only(path)
    assert found.title == title and found.text.startswith(start)


def test_html_keeps_its_text_and_drops_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(
        "<!DOCTYPE html><html><head><title>The\n ship</title><style>p{}</style></head><body>"
        "<nav><ul><li>Home</li></ul></nav><header><h1>Head</h1></header>"
        "<p>It <b>sai</b>led\n  on &amp; <!-- not this -->on.</p><script>var x = 1;</script>"
        "<table><tr><th>Year</th><th>Casks</th></tr><tr><td>1851</td><td>12</td></tr></table>"
        "<pre>a\n  b</pre>One<br>two<div role='navigation'>Menu</div>"
        "<footer>Imprint <nav>In it</nav></footer></body></html>"
    )
    found = only(path)
    assert found.title == "The ship"
    assert found.text == (
        "Head\n\nIt sailed on & on.\n\nYear | Casks\n\n1851 | 12\n\na\nb\n\nOne\n\ntwo"
    )
    path.write_bytes("<meta charset='gb2312'><h1>船</h1>东京".encode("gb18030"))
    assert only(path) == Document("船", "船\n\n东京", "page.html")
    path.write_bytes("<meta charset=ascii>é".encode())
    assert why(path) == "not ascii, which it declares (byte 21)"
    path.write_bytes(b"<meta charset=klingon>")
    assert why(path) == "declares the encoding klingon, which is unknown"
    path.write_text("<div>" * 5_000 + "deep")
    assert list(documents(path))


def test_pdf(tmp_path: Path) -> None:
    path = tmp_path / "book.pdf"
    write_pdf(path, "The first page.", "The second.", title="A book")
    assert only(path) == Document("A book", "The first page.\n\nThe second.", "book.pdf")
    write_pdf(path, "Open to read.", password="")
    assert only(path) == Document("book", "Open to read.", "book.pdf")
    write_pdf(path, "Secret.", password="x")
    assert why(path) == "the PDF is encrypted; save it without its password"
    write_pdf(path, "", "")
    assert why(path) == "no text in its 2 pages; a scan needs text recognition first"
    path.write_bytes(path.read_bytes()[:300])
    assert why(path).startswith("not a PDF that can be read: ")
    path.write_bytes(b"")
    assert why(path) == "the file is empty"
    path.write_text("Not a PDF at all.")
    assert why(path).startswith("not a PDF that can be read: ")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("café ".encode("latin-1"), "not UTF-8 (byte 4), may be Windows-1252 or Latin-1; save"),
        ("北京是中国的首都和直辖市".encode("gb18030"), "not UTF-8 (byte 1), may be GB18030; save"),
        ("plain".encode("utf-16-le"), "not a text: it has null bytes; if it is UTF-16"),
        (b"\xff\xfea", "not UTF-16, as its first bytes say"),
    ],
)
def test_wrong_encodings_are_named(tmp_path: Path, raw: bytes, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    assert why(path).startswith(reason)
    path.write_bytes("café".encode("utf-16"))
    assert only(path).text == "café"


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x" * 2_000)
    monkeypatch.setattr(module, "LONGEST_LINE", 1_000)
    assert why(path) == "2,000 bytes; a document has at most 1,000: split it"


def jsonl(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def test_jsonl_gives_documents_and_questions(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        {"title": "Log", "text": "Calm."},
        {"documents": ["One.", {"title": "T", "text": "Two."}], "question": "Who?", "answer": "A"},
        {
            "context": "Red.",
            "source": "s",
            "questions": [
                {"question": "Which?", "answers": ["red", "Red"], "kind": "list", "metric": "iou"},
                {"id": 7, "question": "B?", "answer": "b", "reasoning": "So."},
            ],
        },
    )
    assert list(documents(path)) == [
        Document("Log", "Calm.", "mine.jsonl:1"),
        Document("mine.jsonl:2:1", "One.", "mine.jsonl:2:1"),
        Document("T", "Two.", "mine.jsonl:2:2"),
        Document("mine.jsonl:3", "Red.", "mine.jsonl:3"),
    ]
    assert list(examples(tmp_path)) == [
        Example(
            "mine.jsonl:2", "mine", "Who?", ("One.", "T\nTwo."), ("A",), group="mine.jsonl:2"
        ),
        Example(
            "mine.jsonl:3:1", "s", "Which?", ("Red.",), ("red", "Red"), "list",
            group="mine.jsonl:3", metadata={"metric": "iou"},
        ),
        Example(
            "7", "s", "B?", ("Red.",), ("b",), reasoning="So.", group="mine.jsonl:3"
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({}, "has no text; one of documents, document, context, text is needed"),
        ({"text": "a", "context": "b"}, "has context and text; one of"),
        ({"text": 3}, "text must be a text, is a int"),
        ({"text": " "}, "text must not be blank"),
        ({"text": "\ud800"}, "text has half of a surrogate pair"),
        ({"documents": "a"}, "documents must be a list of texts or of objects"),
        ({"documents": []}, "documents must be a list of texts or of objects"),
        ({"documents": [{"title": "a"}]}, "documents[0].text is missing"),
        ({"text": "a", "question": "b"}, "answers: one of answers (a list of texts) and answer"),
        ({"text": "a", "question": " ", "answer": "c"}, "question must not be blank"),
        ({"text": "a", "question": "b", "answers": "c"}, "answers must be a list of texts"),
        ({"text": "a", "question": "b", "answer": 4.5}, "answers[0] must be a text, is a float"),
        ({"text": "a", "questions": {}}, "questions must be a list of objects"),
        ({"text": "a", "questions": ["b"]}, "questions[0] must be an object"),
        ({"text": "a", "questions": [{"answer": "b"}]}, "questions[0].question is missing"),
        ([1], "must be an object, is a list"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_kept(
    tmp_path: Path, line: Any, reason: str
) -> None:
    good = {"text": "a", "question": "b", "answer": "c"}
    path = jsonl(tmp_path, good, line, good)
    for reader in (documents, examples):
        first, bad, last = reader(path)
        assert isinstance(bad, Rejected) and bad.where == f"{path}:2"
        assert bad.why.startswith(reason)
        assert not isinstance(first, Rejected) and not isinstance(last, Rejected)


def test_a_line_of_200_mb_is_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LONGEST_LINE", 2**23)
    path = tmp_path / "mine.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "')
        for _ in range(200):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"text": "good"}\n')
    tracemalloc.start()
    bad, good = documents(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(bad, Rejected) and "more than" in bad.why and bad.where == f"{path}:1"
    assert isinstance(good, Document) and good.text == "good"
    assert peak < 50 * 2**20


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
def test_real_folders_are_read_whole() -> None:
    found = list(documents(DATA / "extractive_cuad"))
    texts = [each for each in found if isinstance(each, Document)]
    assert len(texts) == 61  # 60 contracts and their README
    assert [each.where for each in found if isinstance(each, Rejected)] == [
        str(DATA / "extractive_cuad" / "master_clauses.subset.csv")
    ]
    book = only(DATA / "filler_gutenberg")
    assert len(book.text) > 1_000_000 and "Ishmael" in book.text
