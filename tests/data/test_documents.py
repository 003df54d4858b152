"""A folder of one's own documents: what is read of each kind, and how what is not is named."""

from __future__ import annotations

import json
from pathlib import Path

import pypdf
import pytest
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from qwenlong.data.own import documents as module
from qwenlong.data.own.documents import documents, examples
from qwenlong.data.own.jsonl import Document
from qwenlong.data.rows import Rejected
from qwenlong.data.synthesis.corpus import corpus_of
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


def test_jsonl_gives_documents_and_questions(tmp_path: Path) -> None:
    """What a line may hold is tested in test_jsonl."""
    (tmp_path / "b").mkdir()
    lines: list[object] = [
        {"title": "Log", "text": "Calm."},
        {"text": "Red.", "question": "Which?", "answer": "red"},
        {"text": 3},
        [1],
    ]
    for name in ("mine.jsonl", "b/mine.jsonl"):
        (tmp_path / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert [each.where for each in documents(tmp_path)] == [
        *("b/mine:1", "b/mine:2", f"{tmp_path}/b/mine.jsonl:3", f"{tmp_path}/b/mine.jsonl:4"),
        *("mine:1", "mine:2", f"{tmp_path}/mine.jsonl:3", f"{tmp_path}/mine.jsonl:4"),
    ]
    given = list(examples(tmp_path))
    assert [each.id for each in given if isinstance(each, Example)] == ["b/mine:2", "mine:2"]
    assert [each.why for each in given if isinstance(each, Rejected)] == [
        "text must be a text, not a number",
        "must be an object, is a list",
    ] * 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_one_text_as_corpus_is_read_as_in_a_folder(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Der Müller ging zum Fluss. Es war Nacht.\n\nDann kam er heim.\n", encoding)
    alone, rejected = corpus_of(path)
    assert not rejected and alone.running
    folder, _ = corpus_of(tmp_path)
    assert "\n\n".join(text.text for text in alone.texts) == folder.texts[0].text


def test_one_text_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for raw, told in (
        (b"caf\xe9", "not UTF-8, may be Windows-1252"),
        ("北京是中国的首都和直辖市\n".encode("gb18030") * 400, "not UTF-8, may be GB18030"),
        (b"\xff\xfea", "not UTF-16, as its first bytes say"),
        (b"a\0b\0", "not a text: it has null bytes"),
    ):
        path.write_bytes(raw)
        with pytest.raises(InputError, match=rf"corpus={path}: {told}"):
            corpus_of(path)
    path.unlink()
    path.symlink_to("/proc/self/mem")
    with pytest.raises(InputError, match=rf"corpus={path}: cannot be read: "):
        corpus_of(path)


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
