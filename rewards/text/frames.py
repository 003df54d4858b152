"""Takes an answer out of a sentence that only repeats the question.

Nothing else may stand in the sentence, so that none denies, doubts or turns round the question:

- "The author of the novel is X", where the words before "is" are the question's or small words;
- "The novel was written by **X**": likewise, with X as the only thing in bold and the last;
- 作者是X, 作者はXです, where the question has 作者是 or 作者は;
- before a list, "The cities are …", "The company has offices in …", "There are three: …".

"John is the father of X" is not read: its words are those of "Who is the father of John?", too.
"""

from __future__ import annotations

import re
from functools import lru_cache

from qwenlong.rewards.tables import table

_LONGEST = 120
_TABLE = table("frames")
_SMALL, _DONE = (frozenset(_TABLE[name].split()) for name in ("small", "done"))
_DENIES = re.compile(_TABLE["denials"].strip())
_WORD = re.compile(r"[^\W_]+")
_IS = re.compile(
    r"(?:the|der|die|das|el|la|los|las)\s(?P<head>[^.;:!?*]{2,120}?)\s"
    r"(?:is|was|are|were|ist|war|sind|waren|es|fue|son|fueron)\s(?P<rest>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_BY = re.compile(
    r"(?:the|it|he|she|they)\b(?P<head>[^.;:!?*]{2,120}\s(?:by|in|on|at|is|was|are|were))\s$",
    re.IGNORECASE,
)
_CJK_IS = re.compile(
    r"(?P<head>[\u3040-\u9fffA-Za-z0-9]{2,40}?)(?P<is>是|は|為|为)(?P<rest>.+)", re.DOTALL
)
_LIST = re.compile(
    r"(?P<head>[^.;:!?,，、：\n]{2,120}?)"
    r"(?:[:：]\s?|\s(?:are|were|in|include|includes|sind|waren|son)\s)"
    r"(?P<rest>[^:：]+)",
    re.IGNORECASE | re.DOTALL,
)


def unframed(answer: str, question: str) -> str:
    """The answer in a sentence that repeats the question; "" where it is no such sentence."""
    if not question:
        return ""
    if "**" in answer:
        head, _, rest = answer.partition("**")
        rest, _, after = rest.partition("**")
        framed = _BY.fullmatch(head) if not after.strip(" .") else None
        return rest if framed and _repeats(framed["head"], question, _DONE) else ""
    if framed := _IS.fullmatch(answer):
        return framed["rest"] if _repeats(framed["head"], question) else ""
    framed = None if answer.isascii() else _CJK_IS.fullmatch(answer)
    if framed and framed["head"] + framed["is"] in question:
        return framed["rest"]
    return ""


def listed(answer: str, question: str) -> str:
    """The list behind words that only repeat the question; "" where there are none."""
    framed = _LIST.fullmatch(answer)
    return framed["rest"] if framed and _repeats(framed["head"], question) else ""


def _repeats(head: str, question: str, others: frozenset[str] = frozenset()) -> bool:
    if len(head) > _LONGEST or _DENIES.search(head.casefold()):
        return False
    words = _WORD.findall(head.casefold())
    known = _words(question)
    return bool(words) and all(
        word in _SMALL or word in others or word in known or word.removesuffix("s") in known
        for word in words
    )


@lru_cache(maxsize=1024)
def _words(question: str) -> frozenset[str]:
    words = _WORD.findall(question[:4000].casefold())
    return frozenset(words) | frozenset(word.removesuffix("s") for word in words)
