"""Takes markdown, LaTeX and tags off an answer, and opens boxes."""

from __future__ import annotations

import re

ANSWER_TAG, ANSWER_END = "<answer>", "</answer>"
_BOX_PARTS = re.compile(r"(?P<box>\\{1,2}boxed[ ]?\{)|\\.|[{}]", re.DOTALL)
_LATEX_TEXT = re.compile(r"\\(?:text\w{0,2}|math(?:rm|bf|sf|it)|emph)\{([^{}\\]{0,500})\}")
# Characters at the end of a text in which boxes are looked for.
_BOXES = 100_000
_ESCAPED = re.compile(r"\\([$%&#_])")
_WRAPPERS = (
    ("\\boxed{", "}"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    (ANSWER_TAG, ANSWER_END),
    ("$", "$"),
    ("*", "*"),
    ("_", "_"),
)
_OPENS, _CLOSES = "\\$*_`<:：", "})]>$*_`"


def last_box(text: str) -> str:
    """What stands in the ``\\boxed{…}`` that closes last, so that a nested one is no answer."""
    if "\\boxed" not in text:
        return ""
    text = text[-_BOXES:]
    opened: list[int | None] = []
    start = end = 0
    for part in _BOX_PARTS.finditer(text, max(0, text.find("\\boxed"))):
        if part["box"]:
            opened.append(part.end())
        elif part[0] == "{":
            opened.append(None)
        elif part[0] == "}" and opened:
            box = opened.pop()
            if box is not None:
                start, end = box, part.start()
    return clean(text[start:end])


def clean(answer: str) -> str:
    """Takes off the colon, the markdown and LaTeX around an answer, and one full stop."""
    answer = _unwrap(answer)
    if "\\" in answer:
        answer = _ESCAPED.sub(r"\1", _LATEX_TEXT.sub(r"\1", answer))
    for stop in (".", "。", "।"):
        answer = answer.removesuffix(stop)
    return _unwrap(answer)


def _unwrap(answer: str) -> str:
    answer = answer.strip()
    if not answer or not (answer[0] in _OPENS or answer[-1] in _CLOSES):
        return answer
    # Models nest wrappers two deep at most, and more rounds would not be linear in time.
    for _ in range(4):
        before = answer
        # ** and backticks at one end alone, too: their partner may precede the marker.
        for mark in ("***", "**", "__", "`"):
            answer = answer.removeprefix(mark).removesuffix(mark).strip()
        answer = answer.removeprefix(":").removeprefix("：").lstrip()
        for opening, closing in _WRAPPERS:
            if _encloses(answer, opening, closing):
                answer = answer[len(opening) : -len(closing)].strip()
        if answer == before:
            break
    return answer


def _encloses(answer: str, opening: str, closing: str) -> bool:
    enclosed = answer.startswith(opening) and answer.endswith(closing)
    if not enclosed or len(answer) < len(opening) + len(closing):
        return False
    inner = answer[len(opening) : -len(closing)]
    if not opening.endswith("{"):
        return opening not in inner
    depth = 0
    for part in _BOX_PARTS.finditer(inner):
        depth += 1 if part["box"] or part[0] == "{" else -1 if part[0] == "}" else 0
        if depth < 0:
            return False
    return depth == 0
