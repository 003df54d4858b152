"""Texts as they are compared: the words alone, folded, each Chinese or Japanese sign a word.

Case, compatibility forms (NFKC), punctuation, white space, Arabic vowel signs and thousands
separators do not count, as in ``rewards/text/normalise.py``; unlike there, Chinese numerals and
articles stay as they are, which is what containment in a long text needs.

Hashes have 64 bits and are the same on every machine; two different texts share one with a
probability of 2^-64. MinHash: Broder, 1997.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
SIGNATURE = 64
"""Hashes of a MinHash signature."""
SHINGLE = 3
"""Words in a row that near duplicates are compared by."""
_BASE, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)

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


@lru_cache(maxsize=2**18)
def hash_of(text: str) -> int:
    return int.from_bytes(raw_digest(text))


def raw_digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def key_of(*texts: str) -> int:
    """The digest of texts, by their folded words."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        digest.update(folded(text).encode("utf-8", "replace") + b"\n")
    return int.from_bytes(digest.digest())


def grams_of(text: list[str], size: int) -> Hashes:
    """A hash of every ``size`` words in a row of a text, given as its words."""
    count = len(text) - size + 1
    if count < 1:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.fromiter(map(hash_of, text), dtype=np.uint64, count=len(text))
    grams = np.zeros(count, dtype=np.uint64)
    # A polynomial of the words' hashes: the order of the words counts. Overflow wraps around.
    for place in range(size):
        grams = grams * _BASE + hashes[place : place + count]
    grams ^= grams >> np.uint64(29)
    return grams * _MIX


def minhash_of(text: str) -> Hashes:
    """The least hashes of a text's shingles; a text shorter than a shingle is one itself."""
    own = words(text)
    shingles = grams_of(own, min(SHINGLE, max(1, len(own))))
    shingles = np.unique(shingles) if len(shingles) else np.zeros(1, dtype=np.uint64)
    least = np.full(SIGNATURE, np.iinfo(np.uint64).max, dtype=np.uint64)
    # Each of the seeds makes another hash function; in chunks, so that memory stays small.
    for start in range(0, len(shingles), _CHUNK):
        mixed = (shingles[start : start + _CHUNK] ^ _SEEDS[:, None]) * _MIX
        mixed ^= mixed >> np.uint64(31)
        np.minimum(least, (mixed * _BASE).min(axis=1), out=least)
    return least


_SEEDS = np.array([hash_of(f"minhash {number}") for number in range(SIGNATURE)], dtype=np.uint64)
