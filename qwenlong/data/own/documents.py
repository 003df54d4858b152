"""A user's own documents: the texts of a folder, each with a title.

Read are .txt, .md and .markdown, .html and .htm (beautifulsoup4), .pdf (pypdf) and .jsonl
(``jsonl.py``). Hidden files are skipped; any other file, and one that cannot be read, is rejected
by name.
"""

from __future__ import annotations

import codecs
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from qwenlong.data.own.jsonl import Document, lines
from qwenlong.data.rows import LONGEST_LINE, SURROGATE, Rejected, RowError
from qwenlong.types import Example, InputError

_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\n(.*?)^\1[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title\s*[:=]\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_HEADING = re.compile(
    r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$|^(\S.*)\n(?:=+|-{3,})[ \t]*$", re.MULTILINE
)
_BLANK_LINES = re.compile(r"\n{3,}")
_NOT_TEXT = "script style noscript template svg iframe object nav footer aside form button select"
_NOT_TEXT_ROLES = ["navigation", "banner", "contentinfo", "search", "complementary"]
_BLOCKS = (
    "address article blockquote br caption dd details div dl dt figcaption figure h1 h2 h3 h4 h5"
    " h6 header hr li main ol p pre section summary table tbody tfoot thead tr ul"
)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)


def documents(folder: Path) -> Iterator[Document | Rejected]:
    """Every text of a folder or of one file, by path; memory holds one file, of JSONL one line.

    Raises:
        InputError: there is no such folder, or no file in it.
    """
    yield from _unread(folder)
    for path, name in _files(folder):
        if _is_jsonl(path):
            for item in lines(path, name):
                yield from (item,) if isinstance(item, Rejected) else item.documents
        else:
            yield _document(path, name)


def examples(folder: Path) -> Iterator[Example | Rejected]:
    """The questions in the folder's JSONL files, over the documents of their lines.

    Those of one line are a group. A line without a question gives none; other files are left to
    ``documents``.

    Raises:
        InputError: there is no such folder, or no file in it.
    """
    yield from _unread(folder)
    for path, name in _files(folder):
        for item in lines(path, name) if _is_jsonl(path) else ():
            yield from (item,) if isinstance(item, Rejected) else item.examples


def _is_jsonl(path: Path) -> bool:
    return path.suffix.lower() == ".jsonl"


def _unread(folder: Path) -> Iterator[Rejected]:
    """Folders in it that cannot be listed."""
    errors: list[OSError] = []
    if folder.is_dir():
        deque(os.walk(folder, onerror=errors.append), maxlen=0)
    for error in errors:
        if not _hidden(Path(error.filename).relative_to(folder)):
            yield Rejected(str(error.filename), f"cannot be read: {error.strerror}")


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
        title = _FRONT_TITLE.search(front[2])
        if title:
            return title[1].strip("\"'"), text
    heading = _HEADING.search(text)
    return (heading[1] or heading[2]) if heading else "", text


def _html(path: Path) -> tuple[str, str]:
    try:
        return _page_text(path.read_bytes())
    except (RecursionError, AssertionError) as error:
        raise RowError(f"not HTML that can be read: {error}") from None


def _page_text(raw: bytes) -> tuple[str, str]:
    """Title and text, without what is not the page's own: a line a block, table cells with bars."""
    import bs4

    soup = bs4.BeautifulSoup(_page_decoded(raw), "html.parser")
    heading = soup.find("h1")
    named = soup.title.get_text() if soup.title else ""
    title = named.strip() or (heading.get_text() if heading else "")
    for tag in (*soup.find_all(_NOT_TEXT.split()), *soup.find_all(role=_NOT_TEXT_ROLES)):
        tag.decompose()
    for tag in soup.find_all(["td", "th"]):
        if tag.find_next_sibling(["td", "th"]):
            tag.append(" | ")
    for text in soup.find_all(string=True):
        if not text.find_parent("pre"):
            text.replace_with(type(text)(re.sub(r"\s+", " ", text)))
    for tag in soup.find_all(_BLOCKS.split()):
        tag.insert_before("\n")
        tag.insert_after("\n" if tag.name in ("br", "tr", "li", "dt") else "\n\n")
    body = soup.body or soup
    lines = (line.strip() for line in body.get_text().split("\n"))
    return title, _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _page_decoded(raw: bytes) -> str:
    declared = _CHARSET.search(raw[:4096])
    name = declared[1].decode("ascii").lower() if declared else "utf-8"
    if name in ("utf-8", "utf8") or name.startswith("utf-16"):
        return decoded(raw)
    # Browsers read these as their larger relatives.
    name = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252"}.get(name, name)
    try:
        return raw.decode(name)
    except LookupError:
        raise RowError(f"declares the encoding {name}, which is unknown") from None
    except UnicodeDecodeError as error:
        raise RowError(f"not {name}, which it declares (byte {error.start + 1})") from None


def _pdf(path: Path) -> tuple[str, str]:
    import pypdf

    try:
        with pypdf.PdfReader(path) as reader:
            # Many are encrypted with an empty password, which only keeps them from being edited.
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
    text = SURROGATE.sub("\ufffd", "\n\n".join(page for page in pages if page))
    if not text:
        raise RowError(f"no text in its {len(pages)} pages; a scan needs text recognition first")
    return SURROGATE.sub("\ufffd", title), text


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
    try:
        return raw.decode(encoding_of(raw[:4096]))
    except UnicodeDecodeError as error:
        raise RowError(undecoded(error.encoding, raw, f" (byte {error.start + 1})")) from None


def encoding_of(start: bytes) -> str:
    """The encoding of a text that begins so.

    Raises:
        RowError: it is no text.
    """
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in start:
        raise RowError("not a text: it has null bytes; if it is UTF-16, save it as UTF-8")
    return "utf-8-sig"


def undecoded(encoding: str, start: bytes, place: str = "") -> str:
    """Why a text that begins so could not be decoded, in words."""
    if encoding.startswith("utf-16"):
        return f"not UTF-16, as its first bytes say{place}"
    return f"not UTF-8{place}{_guess(start)}; save the file as UTF-8"


def _guess(raw: bytes) -> str:
    """In words, the encoding that a text which is no UTF-8 may be in."""
    special = sum(byte > 0x7F for byte in raw[:65536])
    try:
        han = sum("\u4e00" <= sign <= "\u9fff" for sign in raw[:65536].decode("gb18030", "ignore"))
        codecs.getincrementaldecoder("gb18030")().decode(raw)
        if special > 8 and 2 * han > 0.7 * special:
            return ", may be GB18030"
    except UnicodeDecodeError:
        pass
    return ", may be Windows-1252 or Latin-1"
