"""64-bit hashes of texts, of their n-grams, and MinHash signatures; the same on every machine.

MinHash: Broder, 1997. Two different texts share a hash with a probability of 2^-64.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qwenlong.data.words import folded, words

Hashes = NDArray[np.uint64]
SIGNATURE = 64
"""Hashes of a MinHash signature."""
SHINGLE = 3
"""Words in a row that near duplicates are compared by."""
_BASE, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_CHUNK = 4096


@lru_cache(maxsize=2**18)
def hash_of(text: str) -> int:
    return int.from_bytes(raw_digest(text))


def raw_digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def key_of(*texts: str) -> int:
    """Of texts, by their folded words."""
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
