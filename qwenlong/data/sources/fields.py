"""What the readers of published sets share: checked fields, figures, and groups of documents."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from qwenlong.data.rows import Row, RowError
from qwenlong.types import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")


def text(row: Row, key: str) -> str:
    """The text under ``key``, without the blanks around it.

    Raises:
        KeyError: it is missing.
        RowError: it is no text, or a blank one.
    """
    return as_text(row[key], key)


def as_text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"{key} must be a text, is a {type(value).__name__}")
    if not value.strip():
        raise RowError(f"{key} is blank")
    if _SURROGATE.search(value):
        raise RowError(f"{key} has half of a surrogate pair")
    return value.strip()


def objects(row: Row, key: str) -> list[Any]:
    """The list under ``key``.

    Raises:
        KeyError: it is missing.
        RowError: it is no list, or an empty one.
    """
    value = row[key]
    if not isinstance(value, list):
        raise RowError(f"{key} must be a list, is a {type(value).__name__}")
    if not value:
        raise RowError(f"{key} is empty")
    return value


def figure(value: Any) -> str:
    """A number as people write it: 688.0 is 688, 1e-05 is 0.00001.

    Raises:
        RowError: it is no number.
    """
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise RowError(f"{value!r} is no number") from None
    if isinstance(value, bool) or not number.is_finite():
        raise RowError(f"{value!r} is no number")
    if not number:
        return "0"
    plain = format(number, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def digest(content: str) -> str:
    """A short name for a text that has none."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def parts(path: Path, subset: str, pattern: str, subsets: Sequence[str]) -> list[Path]:
    """``path`` itself, or of the files in it that of ``subset``; of each subset where it is "".

    Raises:
        InputError: there is no such subset, or no such file.
    """
    if subset and subset not in subsets:
        raise InputError(f"subset={subset}: must be one of {', '.join(subsets)}")
    if path.is_file():
        return [path]
    wanted = [path / pattern.format(name) for name in ([subset] if subset else subsets)]
    found = [file for file in wanted if file.is_file()]
    if not found:
        raise InputError(f"{path}: needs {' or '.join(file.name for file in wanted)}")
    return found


def components(shared: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """To each name the first one, in order, of those that it shares something with.

    ``shared`` has all that a name stands on; sharing counts through others, too.
    """
    members: dict[str, set[str]] = {}
    owner: dict[str, str] = {}
    for name, things in shared.items():
        members[name] = {name}
        for thing in things:
            other = members[owner.setdefault(thing, name)]
            own = members[name]
            if other is not own:
                small, large = sorted((own, other), key=len)
                large |= small
                members.update(dict.fromkeys(small, large))
    firsts = {id(names): min(names) for names in members.values()}
    return {name: firsts[id(names)] for name, names in members.items()}
