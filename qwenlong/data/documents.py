"""A user's own documents: the texts of a folder, each with a title; what cannot be read is told.

.txt, .md and .markdown, .html and .htm (beautifulsoup4), .pdf (pypdf), .jsonl. A line of JSONL is
an object with ``documents`` (a list of texts or of ``{"title", "text"}``), or ``document``,
``context`` or ``text`` (a text) and ``title``; it may have ``question`` with ``answers`` or
``answer``, or ``questions``, a list of such objects, each with ``kind`` and what the kind takes.
Hidden files are passed over; any other file is rejected by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenlong.data.rows import LONGEST_LINE, Rejected, Row, RowError, json_lines
from qwenlong.data.webpage import page_text
from qwenlong.types import Example, InputError

_ONE_TEXT = ("document", "context", "text")
_ANSWERS = ("answers", "answer")
_TAKEN = {"id", "title", "documents", *_ONE_TEXT, "question", "questions", *_ANSWERS}
_TAKEN |= {"kind", "reasoning", "source"}
_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\n(.*?)^\1[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title\s*[:=]\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_HEADING = re.compile(
    r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$|^(\S.*)\n(?:=+|-{3,})[ \t]*$", re.MULTILINE
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True)
class Document:
    """A titled text of a user's folder."""

    title: str
    text: str
    where: str
    """Its file, within the folder, and the line or place of it in a JSONL file: unique."""


def documents(folder: Path) -> Iterator[Document | Rejected]:
    """Every text of a folder or of one file, by path; memory holds one file, of JSONL one line.

    Raises:
        InputError: there is no such folder, or no file in it.
    """
    for path, name in _files(folder):
        if path.suffix.lower() == ".jsonl":
            for item in _lines(path, name):
                if isinstance(item, Rejected):
                    yield item
                else:
                    yield from item[0]
        else:
            yield _document(path, name)


def examples(folder: Path) -> Iterator[Example | Rejected]:
    """The questions in the folder's JSONL files, over the documents of their lines.

    Those of one line are a group. A line without a question gives none; other files are left to
    ``documents``.

    Raises:
        InputError: there is no such folder, or no file in it.
    """
    for path, name in _files(folder):
        if path.suffix.lower() == ".jsonl":
            for item in _lines(path, name):
                if isinstance(item, Rejected):
                    yield item
                else:
                    yield from item[1]


def _files(folder: Path) -> list[tuple[Path, str]]:
    if folder.is_file():
        return [(folder, folder.name)]
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such file or folder")
    named = [(each, each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()]
    shown = [(each, at.as_posix()) for each, at in named if not _hidden(at)]
    if not shown:
        raise InputError(f"{folder}: no file is there; {', '.join(READERS)} or .jsonl are read")
    return sorted(shown, key=lambda pair: pair[1])


def _hidden(at: Path) -> bool:
    return any(part.startswith(".") for part in at.parts)


def _document(path: Path, name: str) -> Document | Rejected:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        return Rejected(str(path), f"is none of {', '.join(READERS)}, .jsonl")
    try:
        size = path.stat().st_size
        if size > LONGEST_LINE:
            raise RowError(f"{size:,} bytes; a document has at most {LONGEST_LINE:,}: split it")
        if not size:
            raise RowError("the file is empty")
        title, text = reader(path)
    except RowError as error:
        return Rejected(str(path), str(error))
    except OSError as error:
        return Rejected(str(path), f"cannot be read: {error.strerror or error}")
    text = _BLANK_LINES.sub("\n\n", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not text:
        return Rejected(str(path), "there is no text in it")
    return Document(" ".join(title.split()) or path.stem, text, name)


def _plain(path: Path) -> tuple[str, str]:
    return "", decoded(path.read_bytes())


def _markdown(path: Path) -> tuple[str, str]:
    """The title of the front matter, else the first heading; the text without front matter."""
    text = decoded(path.read_bytes()).replace("\r\n", "\n")
    front = _FRONT_MATTER.match(text)
    if front:
        text = text[front.end() :]
        told = _FRONT_TITLE.search(front[2])
        if told:
            return told[1].strip("\"'"), text
    heading = _HEADING.search(text)
    return (heading[1] or heading[2]) if heading else "", text


def _html(path: Path) -> tuple[str, str]:
    try:
        return page_text(path.read_bytes(), decoded)
    except (RecursionError, AssertionError) as error:
        raise RowError(f"not HTML that can be read: {error}") from None


def _pdf(path: Path) -> tuple[str, str]:
    import pypdf

    try:
        with pypdf.PdfReader(path) as reader:
            # Many are encrypted with an empty password, only against being changed.
            if reader.is_encrypted and not reader.decrypt(""):
                raise RowError("the PDF is encrypted; save it without its password")
            pages = [page.extract_text().strip() for page in reader.pages]
            title = str(reader.metadata.title or "") if reader.metadata else ""
    except RowError:
        raise
    except Exception as error:
        # A broken PDF makes pypdf raise nearly anything.
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise RowError(f"not a PDF that can be read: {why}") from None
    text = _SURROGATE.sub("\ufffd", "\n\n".join(page for page in pages if page))
    if not text:
        raise RowError(f"no text in its {len(pages)} pages; a scan needs text recognition first")
    return _SURROGATE.sub("\ufffd", title), text


READERS: dict[str, Callable[[Path], tuple[str, str]]] = {
    ".txt": _plain,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}


def decoded(raw: bytes) -> str:
    """UTF-8, or UTF-16 with its byte order mark.

    Raises:
        RowError: it is neither; says what it may be.
    """
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return raw.decode("utf-16")
        except UnicodeDecodeError as error:
            raise RowError(f"not UTF-16, as its first bytes say (byte {error.start + 1})") from None
    if b"\0" in raw[:4096]:
        raise RowError("not a text: it has null bytes; if it is UTF-16, save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RowError(
            f"not UTF-8 (byte {error.start + 1}){_guess(raw)}; save the file as UTF-8"
        ) from None


def _guess(raw: bytes) -> str:
    """In words, the encoding that a text which is no UTF-8 may be in."""
    special = sum(byte > 0x7F for byte in raw[:65536])
    try:
        han = sum("\u4e00" <= sign <= "\u9fff" for sign in raw[:65536].decode("gb18030", "ignore"))
        raw.decode("gb18030")
        if special > 8 and 2 * han > 0.7 * special:
            return ", may be GB18030"
    except UnicodeDecodeError:
        pass
    return ", may be Windows-1252 or Latin-1"


def _lines(path: Path, name: str) -> Iterator[tuple[list[Document], list[Example]] | Rejected]:
    for item in json_lines(path):
        if isinstance(item, Rejected):
            yield item
            continue
        where, row = item
        at = f"{name}:{where.rpartition(':')[2]}"
        try:
            titled = _titled(row, at)
            yield titled, list(_questions(row, titled, path.stem, at))
        except RowError as error:
            yield Rejected(where, str(error))


def _titled(row: Row, at: str) -> list[Document]:
    given = [key for key in ("documents", *_ONE_TEXT) if row.get(key) is not None]
    if len(given) != 1:
        raise RowError(
            f"has {' and '.join(given) or 'no text'}; one of documents, {', '.join(_ONE_TEXT)}"
            " is needed"
        )
    value = row[given[0]]
    if given[0] != "documents":
        return [Document(str(row.get("title") or at), _text(value, given[0]), at)]
    if not isinstance(value, list) or not value:
        raise RowError("documents must be a list of texts or of objects with title and text")
    found = []
    for place, each in enumerate(value):
        key, title = f"documents[{place}]", row.get("title") if len(value) == 1 else None
        if isinstance(each, Mapping):
            title, each, key = each.get("title"), each.get("text"), f"{key}.text"
        found.append(
            Document(str(title or f"{at}:{place + 1}"), _text(each, key), f"{at}:{place + 1}")
        )
    return found


def _questions(row: Row, titled: list[Document], stem: str, at: str) -> Iterator[Example]:
    asked = row.get("questions", [row] if row.get("question") is not None else [])
    if not isinstance(asked, list):
        raise RowError("questions must be a list of objects with question and answers")
    for place, each in enumerate(asked):
        here = "" if each is row else f"questions[{place}]."
        if not isinstance(each, Mapping):
            raise RowError(f"questions[{place}] must be an object with question and answers")
        identity = each.get("id")
        if identity is None or isinstance(identity, bool | list | dict):
            identity = at if each is row else f"{at}:{place + 1}"
        yield Example(
            id=str(identity),
            source=str(row.get("source") or stem),
            question=_text(each.get("question"), f"{here}question"),
            documents=tuple(_headed(document) for document in titled),
            answers=_answers(each, here),
            kind=str(each.get("kind") or "extractive"),
            reasoning=str(each.get("reasoning") or ""),
            group=at,
            metadata={key: value for key, value in each.items() if key not in _TAKEN},
        )


def _headed(document: Document) -> str:
    """A document as a prompt shows it: under its title, if it was given one."""
    own = document.title != document.where
    return f"{document.title}\n{document.text}" if own else document.text


def _answers(row: Row, here: str) -> tuple[str, ...]:
    given = [key for key in _ANSWERS if row.get(key) is not None]
    if len(given) != 1:
        raise RowError(f"{here}answers: one of answers (a list of texts) and answer is needed")
    value = row[given[0]]
    if given[0] == "answer":
        value = [value]
    if not isinstance(value, list) or not value:
        raise RowError(f"{here}answers must be a list of texts, at least one")
    return tuple(_text(each, f"{here}answers[{place}]") for place, each in enumerate(value))


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        what = "is missing" if value is None else f"must be a text, is a {type(value).__name__}"
        raise RowError(f"{key} {what}")
    if not value.strip():
        raise RowError(f"{key} must not be blank")
    if _SURROGATE.search(value):
        raise RowError(f"{key} has half of a surrogate pair; write the character whole")
    return value
