"""Tables of words in the languages that answers are read in: TOML files in this folder.

Words are separated by blanks. A text in literal quotes is a part of a regular expression: each line
is an alternative, or several with | between them, and an indented line continues the one above.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

_NEWLINE, _CONTINUED = re.compile(r"\n(?=\S)"), re.compile(r"\n\s+")


@cache
def table(name: str) -> dict[str, Any]:
    """The file ``name.toml``, read once."""
    return tomllib.loads(files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def alternatives(lines: str) -> str:
    """The regular expression in a literal text of a table, without a group around it."""
    return _CONTINUED.sub("", _NEWLINE.sub("|", lines.strip()))


def patterns(name: str) -> dict[str, str]:
    """The regular expressions of a file, by name."""
    texts = table(name).items()
    return {key: alternatives(text) for key, text in texts if isinstance(text, str)}


def folds(name: str) -> dict[str, str]:
    """Each character that is folded to the one that takes its place."""
    rows = table("spelling")[name].items()
    return {character: plain for plain, row in rows for character in row.replace("\n", "")}
