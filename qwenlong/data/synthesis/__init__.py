"""Tasks with checkable answers, hidden in the texts of any corpus.

A task is a function from a ``tasks.Draw`` to a ``tasks.Question``; its words stand in ``words/``.
Called here, a task has the arguments of ``tasks.examples_of``. An example's ``metadata`` has the
``task``, the ``language``, the ``depths`` of what is asked for (characters before it, as a share of
all) and ``stated``, the final answer as it should be written: items joined, citations behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from qwenlong.data.synthesis import keychain, multihop, sentences, tables
from qwenlong.data.synthesis.tasks import examples_of
from qwenlong.types import Example

TASKS: dict[str, Callable[..., Iterator[Example]]] = {
    task.__name__: partial(examples_of, task.__name__, task)
    for task in (
        sentences.needles,
        keychain.keychain,
        multihop.multihop,
        tables.tables,
        sentences.ordering,
        sentences.counting,
        sentences.cited,
    )
}
