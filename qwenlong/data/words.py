"""Texts as they are compared: the words alone, folded, each Chinese or Japanese sign a word.

Case, compatibility forms (NFKC), punctuation, white space, Arabic vowel signs and thousands
separators do not count, as in ``rewards/normalise.py``; unlike there, Chinese numerals and
articles stay as they are, which is what containment in a long text needs.
"""

from __future__ import annotations

import re
import unicodedata

HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_SIGNS = HAN + "\u3040-\u30ff"
_WORD = re.compile(rf"\d+(?:\.\d+)+|[{_SIGNS}]|[^\W{_SIGNS}]+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
_MARKS = dict.fromkeys(
    map(ord, "\u00ad\u200b\u200c\u200e\u200f\u2060\ufeff\u0640\u0670"), ""
) | dict.fromkeys(range(0x64B, 0x653), "")
_CHUNK = 4096


def words(text: str) -> list[str]:
    """The folded words of ``text``, in order; ``12.5`` is one, ``1,234`` is ``1234``."""
    if not text.isascii():
        # Unicode normalisation is quadratic in a run of combining marks, so not all in one.
        chunks = (text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK))
        text = "".join(unicodedata.normalize("NFKC", chunk) for chunk in chunks).translate(_MARKS)
    return _WORD.findall(_THOUSANDS.sub("", text).casefold())


def folded(text: str) -> str:
    """The words with one blank between them; empty where there is none."""
    return " ".join(words(text))
