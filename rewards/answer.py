"""Finds the final answer in a response; everything else in it is no claim.

The rules, in this order, each over what follows the thinking:

1. "Therefore, the answer is …": the rest of the line after the last of them.
2. ``\\boxed{…}``: the one that closes last.
3. "Answer: …" at the start of a line, also "The final answer is: …", "答案：", "答え：", "정답:",
   "الإجابة:", "Respuesta:", "Antwort:", "उत्तर:": the rest of the line after the last of them.
4. The last line, where it is short (``LINE_LIMIT``), plain (no list item, table, heading, quote
   or code) and stands by itself or after a sentence, so that a list of candidates is no answer.
   "So the answer is …" and its like in the same languages are taken off.

Every pattern has bounded repetition, so a response is read in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

_THEREFORE = re.compile(
    r"therefore,?[\s*_]{1,8}the[\s*_]{1,8}answer[\s*_]{1,8}is(?![^\W_])", re.IGNORECASE
)
_ANSWER = re.compile(
    # The first letters once more, and no way back from the marks, or short lines take long.
    r"^[ \t*_#>\u200e\u200f-]{0,8}+(?=[acefhlmrst最終正答回解정최답اउजअ])(?:"
    r"(?:(?:so|thus|hence|therefore),?[ ])?(?:(?:the|my)[ ])?(?:(?:final|correct)[ ])?answer"
    r"(?:[ ]is)?"
    r"|(?:(?:最终|最終|正确|正確)的?)?答案[是为為]?|(?:最終的な)?(?:答え|回答|解答)"
    r"|(?:최종[ ])?(?:정답|답변|답)"
    r"|(?:الإجابة|الجواب)(?:[ ]النهائية|[ ]النهائي)?|(?:la[ ])?respuesta(?:[ ]final)?(?:[ ]es)?"
    r"|(?:endgültige[ ])?antwort|(?:अंतिम[ ])?(?:उत्तर|जवाब)"
    r")[ *_]{0,4}[:：]",
    re.IGNORECASE | re.MULTILINE,
)
LINE_LIMIT = 200
"""The longest last line that is read as an answer, in characters."""
_NO_PLAIN_LINE = re.compile(r"[-*•+>|#] |[•|]|#{1,6} |```|~~~|[-=_*]{3,}$")
_PARAGRAPH = 4000
_NUMBERED = re.compile(r"\(?\d{1,3}[.)] ")
_SENTENCE_END = ".!?:;。！？：；…।؟"
_FRAMES = tuple(
    re.compile(frame, re.IGNORECASE | re.DOTALL)
    for frame in (
        r"(?:(?:so|thus|hence|therefore|consequently|overall|in conclusion|in summary),?\s{1,3})?"
        r"(?:the|my)\s(?:final\s|correct\s|right\s)?answer(?:\sto\s(?:the|this|your)\squestion)?"
        r"\s(?:is|would be|must be|should be)(?![^\W_]):?(?P<answer>.+)",
        r"(?:(?:因此|所以|故|综上所述|綜上所述|综上|綜上)[,，]?)?(?:(?:最终|最終|正确|正確)的?)?"
        r"答案(?:就?是|为|為)[:：]?(?P<answer>.+)",
        r"(?:(?:したがって|従って|よって|ゆえに|だから|以上より)[、,]?)?(?:最終的な|正しい)?"
        r"(?:答え|回答|正解|解答)は[、,:：]?(?P<answer>.+?)(?:です|となります|である|だ)?[.。]?",
        r"(?:(?:따라서|그러므로|그래서|결론적으로),?\s)?(?:최종\s)?(?:정답|답|답변)은\s(?P<answer>.+?)"
        r"\s?(?:입니다|이다|이에요|예요)?[.。]?",
        r"(?:(?:por lo tanto|por tanto|así que|entonces|en conclusión),?\s)?"
        r"la\srespuesta(?:\sfinal|\scorrecta)?\s(?:es|sería)(?![^\W_]):?(?P<answer>.+)",
        r"(?:(?:daher|also|somit|folglich|deshalb),?\s)?(?:(?:ist|lautet)\sdie\s(?:richtige\s)?"
        r"antwort|die\s(?:richtige\s|endgültige\s)?antwort\s(?:ist|lautet))(?![^\W_]):?(?P<answer>.+)",
        r"(?:(?:لذلك|إذن|إذا|وبالتالي|بالتالي|لذا)[،,]?\s)?(?:فإن\s)?(?:الإجابة|الجواب)"
        r"(?:\sالنهائية|\sالنهائي|\sالصحيحة|\sالصحيح)?\s(?:هي|هو)[:]?\s(?P<answer>.+)",
        r"(?:(?:इसलिए|अतः),?\s)?(?:अंतिम\s|सही\s)?(?:उत्तर|जवाब)\s(?P<answer>.+?)\s(?:है|हैं)[।.]?",
    )
)
_BOX_PARTS = re.compile(r"(?P<box>\\{1,2}boxed[ ]?\{)|\\.|[{}]", re.DOTALL)
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)\{([^{}\\]{0,500})\}")
_ESCAPED = re.compile(r"\\([$%&#_])")
_WRAPPERS = (
    ("\\boxed{", "}"),
    ("\\text{", "}"),
    ("\\textbf{", "}"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("<answer>", "</answer>"),
    ("$", "$"),
    ("*", "*"),
    ("_", "_"),
)
_OPENS, _CLOSES = "\\$*_`<:：", "})]>$*_`"


@dataclass(frozen=True)
class Extraction:
    """The final answer and the rule that found it; without one, ``answer`` is None."""

    answer: str | None
    how: str
    """The rule's name, or in words why there is no answer."""


def extract(response: str, thinking: bool = True) -> Extraction:
    """The final answer of ``response``, by the first of ``RULES`` that finds one.

    Only what follows the last ``</think>`` counts. With ``thinking`` a response must close its
    thinking, which the chat template may have opened in the prompt; without, it need not think,
    but thinking that it opens must still be closed.
    """
    _, closed, final = response.rpartition(THINK_CLOSE)
    if thinking and not closed:
        return Extraction(None, f"no answer: the thinking is never closed by {THINK_CLOSE}")
    if THINK_OPEN in final:
        return Extraction(None, f"no answer: the last {THINK_OPEN} is never closed")
    for how, rule in RULES.items():
        answer = rule(final)
        if answer:
            return Extraction(answer, how)
    return Extraction(None, f"no answer: none of {'; '.join(RULES)} after the thinking")


def _after_last(marker: re.Pattern[str], text: str) -> str:
    """The rest of the line after the last ``marker``; empty where there is none."""
    end = -1
    for match in marker.finditer(text):
        end = match.end()
    return "" if end < 0 else _clean(text[end:].split("\n", 1)[0])


def _boxed(text: str) -> str:
    """What stands in the ``\\boxed{…}`` that closes last, so that a nested one is no answer."""
    if "\\boxed" not in text:
        return ""
    opened: list[int | None] = []
    start = end = 0
    for part in _BOX_PARTS.finditer(text, text.find("\\boxed")):
        if part["box"]:
            opened.append(part.end())
        elif part[0] == "{":
            opened.append(None)
        elif part[0] == "}" and opened:
            box = opened.pop()
            if box is not None:
                start, end = box, part.start()
    return _clean(text[start:end])


def _last_line(text: str) -> str:
    """The last line of ``text`` where it is plain; see the module."""
    before, _, line = text.rstrip().rpartition("\n")
    line = line.strip()
    if len(line) > LINE_LIMIT or _NO_PLAIN_LINE.match(line):
        return ""
    # The lines above it in its paragraph; a long paragraph of lines is looked at no further.
    for above in reversed(before[-_PARAGRAPH:].split("\n")):
        if not above.strip():
            break
        if not _introduces(above.strip()):
            return ""
    if _NUMBERED.match(line) and _NUMBERED.match(_last_of(before.rstrip())):
        return ""
    line = _clean(line)
    for frame in _FRAMES:
        if match := frame.fullmatch(line):
            return _clean(match["answer"])
    return line


def _last_of(text: str) -> str:
    return text[text.rfind("\n") + 1 :].strip()


def _introduces(line: str) -> bool:
    """Whether another line may follow without being the next of a list."""
    bold = len(line) > 4 and line.startswith("**") and line.endswith("**")
    return bold or line.startswith("#") or line.rstrip("*_ ").endswith(tuple(_SENTENCE_END))


def _clean(answer: str) -> str:
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
    # A wrapper within a wrapper is as deep as models write; more would not be linear.
    for _ in range(4):
        before = answer
        answer = _strip_runs(answer)
        for opening, closing in _WRAPPERS:
            if _encloses(answer, opening, closing):
                answer = answer[len(opening) : -len(closing)].strip()
        if answer == before:
            break
    return answer


def _strip_runs(answer: str) -> str:
    """Takes off a colon, and ``**``, ``__``, backticks: a partner may precede the marker."""
    for mark in ("**", "__", "`"):
        answer = answer.removeprefix(mark).removesuffix(mark).strip()
    return answer.removeprefix(":").removeprefix("：").lstrip()


def _encloses(answer: str, opening: str, closing: str) -> bool:
    if len(answer) < len(opening) + len(closing):
        return False
    if not (answer.startswith(opening) and answer.endswith(closing)):
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


RULES: dict[str, Callable[[str], str]] = {
    "Therefore, the answer is …": lambda text: _after_last(_THEREFORE, text),
    "\\boxed{…}": _boxed,
    "Answer: …": lambda text: _after_last(_ANSWER, text),
    "the last line": _last_line,
}
"""The rules in the order in which they are tried: name to a function from text to answer."""
