"""Tasks with checkable answers, hidden in the texts of any corpus.

Every kind is a module with

    make(corpus, examples, tokens, count, seed, language="en", depth=None) -> Iterator[Example]

whose documents, joined by blank lines, have ``tokens`` tokens or up to 3 % fewer by ``count``.
Keys and values of facts stand nowhere else in the documents. ``metadata`` has the ``task``, the
``language``, the ``depths`` of what is asked for (characters before it, as a share of all) and
``stated``, the final answer as it should be written: items joined, citations behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from qwenlong.data.synthesis import cited, counting, keychain, multihop, needles, ordering, tables
from qwenlong.data.synthesis.corpus import Corpus
from qwenlong.types import CountTokens, Example


class Make(Protocol):
    def __call__(
        self,
        corpus: Corpus,
        examples: int,
        tokens: int,
        count: CountTokens,
        seed: int,
        language: str = "en",
        depth: float | None = None,
    ) -> Iterator[Example]: ...


MAKERS: dict[str, Make] = {
    "needles": needles.make,
    "keychain": keychain.make,
    "multihop": multihop.make,
    "tables": tables.make,
    "ordering": ordering.make,
    "counting": counting.make,
    "cited": cited.make,
}
