"""Summaries: ROUGE-L F1 against the best of several references.

ROUGE-L (Lin, 2004) is the F-measure of the longest common subsequence of tokens, here with beta 1.
Tokens are words, and characters where words have no spaces between them (Chinese, Japanese,
Korean), normalised and without punctuation; there is no stemming, so figures are a little below
those of stemmers. The subsequence is rapidfuzz's (bit-parallel, exact).

``answers`` are the references, any one of which may be met. A summary may have paragraphs, so it is
everything after the thinking, from the answer's marker on where there is one ("Therefore, the
answer is …", "Answer: …"), or what a box holds; a first line that only announces it is left out.

A summary of more than ``_LONGER`` characters and ``_TIMES`` the longest reference scores 0 and is
not read; its F1 would be 0.4 at most. This is what copying the document or endless repetition comes
to. Shorter copies and repetitions cost precision: a reference said twice scores 0.67. ``check``
refuses references whose tokens multiply to more than ``_TABLE``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rapidfuzz.distance import LCSseq

from qwenlong.rewards.kind import Comparison, JudgeView, Kind, Wording, gold_case, scored
from qwenlong.rewards.tables import patterns
from qwenlong.rewards.text.answer import BOXED, LAST_LINE, Extraction, final_part, find
from qwenlong.rewards.text.normalise import folded, tokens
from qwenlong.types import Example, Score

NAME = "summary"
_TIMES, _LONGER = 4, 500
# Cells of all subsequence tables together, which take some 20 ms.
_TABLE = 100_000_000
_WORDS = patterns("summary")
_ANNOUNCES = re.compile(
    r"\A\s{0,9}(?:(?:(?:sure|certainly|of course)[,!.]?\s)?"
    rf"[^\n.!?。]{{0,80}}(?:{_WORDS['names']})[^\n.!?。]{{0,40}}[:：*#]\s{{0,9}}\n"
    r"|#{1,6} [^\n]{0,120}\n)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    rf"\A[\s*#_]{{0,9}}(?:{_WORDS['labels']})[*_]{{0,3}}\s?(?:[:：][\s*_]{{0,9}}|\n)", re.IGNORECASE
)


def check(example: Example) -> None:
    """Raises ``ValueError`` unless there is a reference with words, and none is too long."""
    counts = [len(_tokens(reference)) for reference in example.answers]
    if not counts or min(counts) == 0:
        raise ValueError(f"answers={list(example.answers)!r}: must be texts with words")
    if max(counts) * sum(counts) > _TABLE:
        raise ValueError(
            f"answers: references of {counts} words or characters take too long; the"
            f" longest times the sum may be {_TABLE:,}, as with one reference of 10,000"
        )


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """ROUGE-L F1 of the summary with the reference that it is closest to."""

    def compare(summary: str) -> Comparison:
        limit = _LONGER + _TIMES * max(map(len, example.answers))
        if len(summary) > limit:
            return 0.0, f"{len(summary)} characters, where the references allow {limit}", {}
        said = tuple(tokens(folded(summary)))
        references = [_tokens(reference) for reference in example.answers]
        read = max(1, _TABLE // max(1, sum(map(len, references))))
        measured = [_rouge_l(said, reference, read) for reference in references]
        f1, precision, recall = max(measured)
        best = str(1 + measured.index((f1, precision, recall)))
        figures = {"precision": f"{precision:.4g}", "recall": f"{recall:.4g}", "reference": best}
        return f1, f"ROUGE-L F1 {f1:.4g} with reference {best} of {len(references)}", figures

    return scored(NAME, _summary(response, thinking), " | ".join(example.answers), compare)


def _rouge_l(
    said: tuple[str, ...], reference: tuple[str, ...], read: int
) -> tuple[float, float, float]:
    """F1, precision and recall; only the first ``read`` tokens of ``said`` can be right."""
    if not said or not reference:
        return 0.0, 0.0, 0.0
    common = int(LCSseq.similarity(said[:read], reference))
    return 2 * common / (len(said) + len(reference)), common / len(said), common / len(reference)


def _summary(response: str, thinking: bool) -> Extraction:
    final, unfinished = final_part(response, thinking)
    if unfinished:
        return Extraction(None, unfinished)
    extraction = find(final)
    answer, how = extraction.answer, extraction.how
    if answer and how == BOXED:
        return extraction
    if answer and how != LAST_LINE:
        # Everything behind the marker, because a summary may have several lines.
        at = final.rfind(answer)
        return Extraction(final[at:].strip() if at >= 0 else answer, f"{how} and all after it")
    final = _LABEL.sub("", _ANNOUNCES.sub("", final)).strip()
    if not final:
        return Extraction(None, "no answer: nothing follows the thinking")
    return Extraction(final, "all that follows the thinking")


@lru_cache(maxsize=256)
def _tokens(reference: str) -> tuple[str, ...]:
    return tuple(tokens(folded(reference)))


def _asks(example: Example) -> Wording:
    """The kind measures any answer in people's own words, and few of them are summaries."""
    if example.metadata.get("summarisation"):
        return Wording("write only the summary", "只写摘要", whole=True)
    return Wording("write only the answer", "只写答案", whole=True)


def _all_paragraphs(response: str, thinking: bool) -> str | None:
    text, unfinished = final_part(response, thinking)
    return None if unfinished else text.strip()


KIND = Kind(
    NAME,
    score,
    check,
    takes=("summarisation",),
    asks=_asks,
    asked_alike=True,
    is_bare=lambda example: True,
    judge=JudgeView(gold_case, _all_paragraphs),
)
