"""Words that take back what stands beside them.

What takes back differs, so that each rule has words of its own beside these: a "no" before a list
makes it its opposite, above a list or behind an item it is mostly part of a reason, and a number
is taken back by "half of", too. ``choice`` and ``yes_no`` read the grammar of their short answers.
"""

from __future__ import annotations

NOT = r"not|no|neither|never|except|nicht|kein\w{0,2}|weder|ni"
"""Before a list and beside a number, as whole words."""
WRONG = "wrong|incorrect|false"
"""Above a list and beside a number, as whole words."""
IS_NOT = "不是|不对|不對|并非|並非"
"""Everywhere."""
