"""The text of a web page, without what is not of the page's own text."""

from __future__ import annotations

import re
from collections.abc import Callable

from qwenlong.data.rows import RowError

_NOT_TEXT = "script style noscript template svg iframe object nav footer aside form button select"
_NOT_TEXT_ROLES = ["navigation", "banner", "contentinfo", "search", "complementary"]
_BLOCKS = (
    "address article blockquote br caption dd details div dl dt figcaption figure h1 h2 h3 h4 h5"
    " h6 header hr li main ol p pre section summary table tbody tfoot thead tr ul"
)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_MANY_LINES = re.compile(r"\n{3,}")


def page_text(raw: bytes, decoded: Callable[[bytes], str]) -> tuple[str, str]:
    """Title and text: a line a block, cells of a table parted by bars.

    The encoding is the one that the page declares, else ``decoded`` decides.

    Raises:
        RowError: the page is not in its encoding.
    """
    import bs4

    soup = bs4.BeautifulSoup(_decoded(raw, decoded), "html.parser")
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
    return title, _MANY_LINES.sub("\n\n", "\n".join(lines)).strip()


def _decoded(raw: bytes, decoded: Callable[[bytes], str]) -> str:
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
