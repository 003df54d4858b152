"""Folds away what does not distinguish two answers, and nothing that does."""

from __future__ import annotations

import re
import unicodedata

_ARTICLES = ("a", "an", "the")
_QUOTES = {'"': '"', "'": "'", "«": "»", "»": "«", "「": "」", "『": "』", "《": "》", "`": "`"}
# A leading full stop, a sign, % or # makes another answer (.5, -5, 5%, C#), so these stay.
_LEADING, _TRAILING = ",;:!?¿¡、", ".,;:!?。、"
_FOLDED = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛ʼ", "'"),
        **dict.fromkeys("“”„‟", '"'),
        **dict.fromkeys("‐‑‒–−", "-"),
        # NFKC alone would make 10² the number 102.
        **{superscript: f"^{digit}" for digit, superscript in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    }
)
# Tokenised sets such as OTT-QA write "Roanoke , Virginia" and "Aristotle 's Poetics".
_LOOSE = re.compile(r" (?=[,;:!?)%]|\.(?: |$)|(?:'s|n't)(?!\w))|(?<=\() ")


def normalise(text: str) -> str:
    """``text`` as it is compared for equality.

    Folds Unicode compatibility forms (NFKC), case, white space and typographic quotes and
    dashes; strips punctuation and paired quotes around the whole; drops one leading English
    article. An answer that is nothing but an article or punctuation stays as it is: no text
    with a visible character becomes empty.
    """
    text = unicodedata.normalize("NFKC", text.translate(_FOLDED))
    text = unicodedata.normalize("NFKC", text.casefold()).translate(_FOLDED)
    text = _LOOSE.sub("", " ".join(text.split()))
    text = _strip(text) or text
    article, _, rest = text.partition(" ")
    if article in _ARTICLES and rest not in _ARTICLES:
        return _strip(rest) or text
    return text


def _strip(text: str) -> str:
    # Quotes within quotes go two deep in practice; more rounds would not be linear.
    for _ in range(3):
        text = text.lstrip(_LEADING + " ").rstrip(_TRAILING + " ")
        if len(text) < 2 or _QUOTES.get(text[0]) != text[-1]:
            break
        text = text[1:-1]
    return text
