"""Compatible mode: the rules that the QwenLong-L1 repository trained and published with.

For comparing with published numbers, and for nothing else: these rules pay for wrong answers
and refuse right ones (tests/rewards/test_official.py goes through them). They are reached by
their own kinds only, ``official_docqa``, ``official_docmath`` and ``official_choice``.

Behaviour after Tongyi-Zhiwen/QwenLong-L1, verl/utils/reward_score/{docqa,docmath,long}.py,
written anew. What differs on purpose:

- The official number is handed to ``eval``; here a literal is parsed, which is all that could
  reach it, since only digits, points and a minus are left by then.
- A gold answer may be bare ("32.4") or the official sentence ("the answer is 32.4.").
- Several gold answers count as aliases; the official code has one.
- With ``thinking=False`` a response without ``</think>`` is read whole; officially it is a 0.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable

from qwenlong.rewards.text.answer import THINK_CLOSE, shown
from qwenlong.types import Example, Score

DOCQA, DOCMATH, CHOICE = "official_docqa", "official_docmath", "official_choice"

_SAID = "the answer is"
_CHOSEN = "The correct answer is"
_SPECIAL = ("<｜Assistant｜>", "<｜end▁of▁sentence｜>")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# The symbols in this order only, the minus after them: "$-32.4" is read and "-$32.4" is not.
_NUMBER = re.compile(rf"{_SAID} (=?≈?`?%?\$?°?£?€?¥?-?[0-9.,]+)", re.IGNORECASE)
_SYMBOLS = str.maketrans("", "", "=≈`%$°£€¥")
# Possessive, so that a long run of digits is read once.
_POINT_FIRST = re.compile(r"[.]{1,2}([0-9]++|[0-9]*+[.]++[0-9]++)")
_WHOLE = re.compile(r"-?(?:0+|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?[0-9]*[.][0-9]+")
_LETTERS = (re.compile(rf"{_CHOSEN} \(([A-D])\)"), re.compile(rf"{_CHOSEN} ([A-D])"))
_BARE = re.compile(r"\(?[A-D]\)?\.?")
_TEXT_END, _FORMAT = "</text>", "Format your response as follows:"

JUDGE_SYSTEM = (
    "You decide whether two answers to a problem are the same. Do not solve the problem. Answers"
    " in other words or another notation are the same if they have the same value or meaning."
    " First explain, then give your verdict as [[YES]] or [[NO]]."
)
"""In the sense of the official prompt, not in its words; ``official_judge`` takes any other."""


def score_docqa(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if answer and gold, normalised, contain each other in either direction."""
    answer = docqa_answer(response, thinking)
    if not answer:
        return _unread(DOCQA, example, f"nothing after {_SAID!r}")
    said = _docqa_normalised(answer)
    for gold in example.answers:
        meant = _docqa_normalised(_docqa_gold(gold))
        if meant in said or said in meant:
            why = f"right: {shown(said)!r} and {shown(meant)!r} contain one the other"
            return _score(1.0, DOCQA, example, answer, why)
    return _score(0.0, DOCQA, example, answer, f"wrong: {shown(said)!r} and no gold share a text")


def score_docmath(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if the first number after "the answer is" is close to gold, by size alone.

    Raises:
        ValueError: the gold answer has no number, as officially.
    """
    golds = [_docmath_gold(gold) for gold in example.answers]
    read = docmath_answer(response, thinking)
    if not read:
        return _unread(DOCMATH, example, f"no number right after {_SAID!r}")
    number = _docmath_number(read)
    for text, gold in zip(example.answers, golds, strict=True):
        if _docmath_same(number, gold):
            why = f"right: {shown(read)!r} is close enough to {shown(text)!r}"
            return _score(1.0, DOCMATH, example, read, why)
    return _score(0.0, DOCMATH, example, read, f"wrong: {shown(read)!r} is close to no gold")


def score_choice(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if the capital A to D that follows "The correct answer is" is the gold one."""
    letter = choice_answer(response, thinking)
    if letter is None:
        return _unread(CHOICE, example, f"no letter A to D after {_CHOSEN!r}")
    if letter in [_letter(_choice_gold(gold)) for gold in example.answers]:
        return _score(1.0, CHOICE, example, letter, f"right: read as {letter}")
    return _score(0.0, CHOICE, example, letter, f"wrong: read as {letter}")


def docqa_answer(response: str, thinking: bool = True) -> str | None:
    return _docqa_answer(_final(response, thinking) or "") or None


def docmath_answer(response: str, thinking: bool = True) -> str | None:
    return _docmath_read((_final(response, thinking) or "").replace("*", "")) or None


def choice_answer(response: str, thinking: bool = True) -> str | None:
    return _letter(_final(response, thinking) or "")


def check_docmath(example: Example) -> None:
    """Officially a gold answer without a number raises in the middle of training."""
    for gold in example.answers:
        _docmath_gold(gold)


def check_choice(example: Example) -> None:
    """Officially a gold answer without a letter is a silent 0 for every response."""
    for gold in example.answers:
        bare = _CHOSEN not in gold
        if _letter(_choice_gold(gold)) is None or (bare and not _BARE.fullmatch(gold.strip())):
            raise ValueError(f"answers=[{shown(gold)!r}]: must be A, B, C or D for {CHOICE}")


def official_question(prompt: str) -> str:
    """What the official judge takes for the question: all from the first ``</text>`` on.

    A document that contains ``</text>`` is thereby shown to the judge from there on.

    Raises:
        ValueError: the prompt lacks ``</text>`` or the sentence about the format, as officially.
    """
    asked = prompt[prompt.index(_TEXT_END) : prompt.index(_FORMAT)]
    return asked.replace(_TEXT_END, "").strip()


def official_judge(
    prompt: str,
    answer: str,
    gold: str,
    complete: Callable[[list[dict[str, str]]], str],
    system: str = JUDGE_SYSTEM,
) -> float:
    """1 if the reply has a "YES" anywhere; 0 for all else, and for an error of the endpoint.

    The official reward is the larger of this and of the rule, the judge being asked only where
    the rule gives less than 1.
    """
    question = official_question(prompt)
    user = f"\nProblem: {question}\nAnswer 1: {answer}\nAnswer 2: {gold}\n"
    try:
        reply = complete([{"role": "system", "content": system}, {"role": "user", "content": user}])
    except Exception:  # What the official code does with it is what is shown here.
        return 0.0
    return 1.0 if "YES" in reply else 0.0


def _final(response: str, thinking: bool) -> str | None:
    _, closed, final = response.rpartition(THINK_CLOSE)
    return final.strip() if closed or not thinking else None


def _docqa_answer(final: str) -> str:
    _, said, answer = final.replace("*", "").rpartition(_SAID)
    if not said:
        return ""
    answer = answer.strip()
    for token in _SPECIAL:
        answer = answer.replace(token, "")
    return answer.strip().strip(".").strip()


def _docqa_gold(gold: str) -> str:
    return _docqa_answer(gold) if _SAID in gold else gold.replace("*", "")


def _docqa_normalised(text: str) -> str:
    text = _ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION))
    return " ".join(text.split())


def _docmath_read(text: str) -> str | None:
    found = _NUMBER.search(text)
    return found[1].replace(",", "").rstrip(".") if found else None


def _docmath_gold(gold: str) -> float:
    text = gold.replace("*", "")
    read = _docmath_read(text if _SAID in text.lower() else f"{_SAID} {text.strip()}")
    number = None if read is None else _docmath_number(read)
    if number is None or math.isinf(number):
        raise ValueError(
            f"answers=[{shown(gold)!r}]: must be a number in plain digits, such as 32.4 or -1,234,"
            f" for {DOCMATH}"
        )
    return number


def _docmath_number(read: str) -> float:
    """``read`` as a number; what is none counts as 0, and ".5" as 5."""
    text = read.translate(_SYMBOLS).rstrip(".")
    point_first = _POINT_FIRST.fullmatch(text)
    text = point_first[1] if point_first else text
    if _DECIMAL.fullmatch(text):
        return float(text)
    try:
        return int(text) if _WHOLE.fullmatch(text) else 0
    except ValueError:  # more digits than Python takes
        return 0


def _docmath_same(number: float, gold: float) -> bool:
    large, small = max(abs(gold), abs(number)), min(abs(gold), abs(number))
    try:
        if large and small:
            powers = math.log10(large) - math.log10(small)
            if int(powers) == powers:
                return True
        for least, times in ((50, 100), (500, 1_000), (50_000, 100_000)):
            if small <= large / least and _within(small * times, large):
                return True
        if _thousandths(large) == _thousandths(small):
            return True
        return _within(number, gold)
    except OverflowError:
        return False


def _within(number: float, gold: float) -> bool:
    tolerance = abs(gold) * 0.0015
    return gold - tolerance <= number <= gold + tolerance


def _thousandths(number: float) -> float:
    return math.ceil(number * 1000) / 1000


def _letter(text: str) -> str | None:
    text = text.replace("*", "")
    for pattern in _LETTERS:
        found = pattern.search(text)
        if found:
            return found[1]
    return None


def _choice_gold(gold: str) -> str:
    return gold if _CHOSEN in gold else f"{_CHOSEN} {gold.strip()}"


def _unread(kind: str, example: Example, why: str) -> Score:
    return _score(0.0, kind, example, "", f"no answer: {why}")


def _score(value: float, kind: str, example: Example, answer: str, why: str) -> Score:
    breakdown = {
        "extracted": shown(answer),
        "rule": f"official: {_CHOSEN if kind == CHOICE else _SAID} …",
        "compared_with": shown(" | ".join(example.answers)),
        "why": why,
    }
    return Score(value, kind, breakdown)
