"""What models write before and behind the letter of an option, by language."""

from __future__ import annotations

import re

from qwenlong.rewards.tables import patterns
from qwenlong.rewards.text.answer import LEAD_IN

_TABLE = patterns("choice")
LEADS = re.compile(rf"^{LEAD_IN}(?:{_TABLE['before']})?\s{{0,3}}", re.IGNORECASE)
TAILS = re.compile(rf"(?:{_TABLE['behind']})[.。।]?$", re.IGNORECASE)
NAMES = _TABLE["names"]
REASONS = re.compile(_TABLE["reasons"])
DENIED = re.compile(_TABLE["denials"])
OTHER = r"(?:options? |choices? )?[A-Z](?:(?:,| and| or| nor|, and|, or) (?:option )?[A-Z])*"
# What another option is refused with: "not A", "because A and C are ruled out by the text".
REFUSED = re.compile(
    r"(?:^|[,;(]|(?<=\w))\s?(?:(?:because|since|as|and|while|whereas)\s)?(?:"
    rf"(?:not|and not|rather than|instead of) (?P<not>{OTHER})"
    rf"|(?P<is>{OTHER}) (?:is|are)(?: both| all| clearly)?"
    r" (?:wrong|incorrect|false|not correct|not supported|ruled out|excluded|contradicted)"
    r"(?: by the (?:text|passage|document|article))?)\)?(?=[.,;]|$)"
)
LETTER = re.compile("[A-Z]")
ARABIC = dict(zip("أابجده", "AABCDE", strict=True))
