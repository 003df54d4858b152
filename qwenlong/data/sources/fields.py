"""What the readers of published sets share: checked fields, pages, answer kinds and groups."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from qwenlong.data.rows import SURROGATE, Row, RowError, Source, named
from qwenlong.rewards.kinds.yes_no import closed_answer as closed_answer
from qwenlong.types import InputError

Name = TypeVar("Name", str, tuple[int, int])
SHORT = 5
"""Words of the longest answer that two people are likely to write in the same way."""


def text(row: Row, key: str) -> str:
    """The text under ``key``, without the blanks around it.

    Raises:
        KeyError: it is missing.
        RowError: it is no text, or a blank one.
    """
    return as_text(row[key], key)


def as_text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"{key} must be a text, is {named(value)}")
    if not value.strip():
        raise RowError(f"{key} is blank")
    if SURROGATE.search(value):
        raise RowError(f"{key} has half of a surrogate pair")
    return value.strip()


def texts(row: Row, key: str) -> tuple[str, ...]:
    """The texts of a list, without blank and repeated ones; at least one is left."""
    value = row[key]
    if not isinstance(value, list | tuple):
        raise RowError(f"{key} must be a list of texts, is {named(value)}")
    wrong = [item for item in value if not isinstance(item, str)]
    if wrong:
        raise RowError(f"{key} must hold texts only, holds {named(wrong[0])}")
    found = distinct(as_text(item, key) for item in value if item.strip())
    if not found:
        raise RowError(f"{key} is empty")
    return found


def distinct(items: Iterable[str]) -> tuple[str, ...]:
    """The texts in order, without blank and repeated ones."""
    return tuple(dict.fromkeys(item.strip() for item in items if item.strip()))


def answer_text(row: Row, key: str = "answer") -> str:
    """The gold answer as text; true and false become yes and no."""
    value = row[key]
    if value is None:
        raise RowError(f"{key} is not given, as in splits whose answers are hidden")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return repr(value)
    found = text(row, key)
    if not any(character.isalnum() for character in found):
        raise RowError(f"{key}={found!r} has neither letters nor digits")
    return found


def row_id(row: Row, *keys: str) -> str:
    """The id of a row, from the first of these columns that it has; copies of a set vary."""
    for key in keys:
        if isinstance(row.get(key), str | int) and str(row[key]).strip():
            return str(row[key])
    raise KeyError(keys[0])


def fingerprint(*parts: str) -> str:
    """A name for texts that have none: the same in every run."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]


def filled_list(row: Row, key: str) -> list[Any]:
    """The list under ``key``.

    Raises:
        KeyError: it is missing.
        RowError: it is no list, or an empty one.
    """
    value = row[key]
    if not isinstance(value, list):
        raise RowError(f"{key} must be a list, is {named(value)}")
    if not value:
        raise RowError(f"{key} is empty")
    return value


def inner_object(row: Row, key: str) -> Mapping[str, Any]:
    """An object within a row."""
    value = row[key]
    if not isinstance(value, Mapping):
        raise RowError(f"{key} must be an object, is {named(value)}")
    return value


def records(value: Any, key: str) -> list[Mapping[str, Any]]:
    """A list of objects; ``datasets`` may have made an object of lists of it."""
    if isinstance(value, Mapping):
        columns = list(value)
        lists = [value[column] for column in columns]
        if not all(isinstance(each, list | tuple) for each in lists):
            raise RowError(f"{key} must be a list of objects, is an object")
        if len({len(each) for each in lists}) > 1:
            raise RowError(f"{key}: its columns {', '.join(columns)} differ in length")
        return [dict(zip(columns, each, strict=True)) for each in zip(*lists, strict=True)]
    if not isinstance(value, list | tuple) or not all(isinstance(v, Mapping) for v in value):
        raise RowError(f"{key} must be a list of objects, is {named(value)}")
    return list(value)


def from_json(value: Any, key: str) -> Any:
    """The value of a column; some copies of a set keep it as JSON in a text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, strict=False)
    except ValueError as error:
        raise RowError(f"{key} is a text that is not JSON: {error}") from None


def pairs(value: Any, key: str, first: str, second: str) -> list[tuple[Any, Any]]:
    """``[[a, b], …]``, ``[{first: a, second: b}, …]`` or ``{first: [a, …], second: [b, …]}``."""
    value = from_json(value, key)
    if isinstance(value, list) and all(isinstance(v, list) and len(v) == 2 for v in value):
        return [(a, b) for a, b in value]
    return [(record[first], record[second]) for record in records(value, key)]


def titled_pages(row: Row, key: str = "context") -> tuple[list[str], tuple[str, ...]]:
    """Titles and texts of HotpotQA's kind of context: titles with lists of sentences."""
    found = pairs(row[key], key, "title", "sentences")
    if not found:
        raise RowError(f"{key} is empty")
    for title, sentences in found:
        if not isinstance(title, str) or not isinstance(sentences, list):
            raise RowError(f"{key} must hold titles with lists of sentences")
    titles = [title for title, _ in found]
    bodies = (_joined([str(each) for each in sentences]) for _, sentences in found)
    return titles, tuple(f"{title}\n{body}" for title, body in zip(titles, bodies, strict=True))


def _joined(sentences: list[str]) -> str:
    """The sentences as one text; in some sets they have blanks at their ends, in others not."""
    before = any(each[:1].isspace() for each in sentences[1:])
    own = before or any(each[-1:].isspace() for each in sentences[:-1])
    return ("" if own else " ").join(sentences).strip()


def places_of(gold: Iterable[str], titles: Sequence[str]) -> tuple[int, ...]:
    """The places of the gold titles among all.

    Raises:
        RowError: one is missing, so that the documents do not hold the answer.
    """
    wanted = list(dict.fromkeys(gold))
    missing = [title for title in wanted if title not in titles]
    if missing:
        raise RowError(f"its page {missing[0]!r} is not among the {len(titles)} of its context")
    return tuple(place for place, title in enumerate(titles) if title in wanted)


def group_over(source: str, names: Iterable[str]) -> str:
    """The group of the examples over the same documents, whatever their order."""
    return f"{source}:{fingerprint(*sorted(set(names)))}"


def joined_groups(shared: Mapping[Name, Iterable[Hashable]]) -> dict[Name, Name]:
    """The least name of the set that each name belongs to (union-find).

    Names belong together if they share something, directly or through other names.

    Args:
        shared: of each name, the things that it may share with others.
    """
    members: dict[Name, set[Name]] = {}
    owner: dict[Hashable, Name] = {}
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


def exact_kind(answers: Sequence[str]) -> str:
    """The kind of answers in the documents' own words: ``yes_no`` or ``extractive``."""
    return "yes_no" if closed_answer(answers) else "extractive"


def free_kind(answers: Sequence[str]) -> str:
    """The kind of answers in people's own words: ``extractive`` only if all of them are short."""
    if closed_answer(answers):
        return "yes_no"
    short = all(len(each.split()) <= SHORT and len(each) <= 12 * SHORT for each in answers)
    return "extractive" if short and all(each.isascii() for each in answers) else "summary"


def subset_files(source: Source, path: Path, subset: str) -> list[Path]:
    """``path`` itself, or the file of ``subset`` in it; with "", those of all subsets.

    Raises:
        InputError: there is no such file.
    """
    if path.is_file():
        return [path]
    names = [subset] if subset else source.subsets
    wanted = [path / source.files.format(name) for name in names]
    found = [file for file in wanted if file.is_file()]
    if not found:
        raise InputError(f"{path}: needs {' or '.join(file.name for file in wanted)}")
    return found
