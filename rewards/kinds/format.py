"""Format: whether a response has the format that is asked for, whatever it says.

``metadata`` asks for one or more of these. Each must hold, or the value is 0:

- ``thinking``: ``present`` (one block, closed by ``</think>``, not empty, nothing before it; the
  template may have opened it in the prompt) or ``absent`` (no tags, or the empty block that Qwen3
  writes without thinking). Without this key the ``thinking`` argument says whether a response must
  close its thinking, as for every other kind.
- ``json_schema``: what follows the thinking is JSON that fits the schema (draft 2020-12), by
  itself, in one fenced block, or as the answer after the marker. NaN, repeated keys, more than
  ``_CHARACTERS`` characters, ``_NODES`` values, ``_DEPTH`` levels or ``_DIGITS`` digits are no JSON
  here; ``text/schema`` says what a schema cannot have.
- ``min_characters``, ``max_characters``: of what follows the thinking, without the space around it.
- ``answer_line``: true: the answer is stated after a marker ("Therefore, the answer is …",
  ``\\boxed{…}``, "Answer: …"), not only in a last line.

Something has to follow the thinking. Gold answers are not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from qwenlong.rewards.kind import Kind, Wording
from qwenlong.rewards.text.answer import (
    LAST_LINE,
    THINK_CLOSE,
    THINK_OPEN,
    after_thinking,
    extract,
    shown,
)
from qwenlong.rewards.text.schema import check_schema, misfit
from qwenlong.types import Example, Score

NAME = "format"
PARTS = ("thinking", "json_schema", "min_characters", "max_characters", "answer_line")
# What jsonschema validates in some 20 ms.
_CHARACTERS, _NODES, _DEPTH, _DIGITS = 20_000, 1000, 32, 300
_FENCED = re.compile(r"```[a-zA-Z]{0,9}[ \t]{0,9}\n(.*?)\n[ \t]{0,9}```", re.DOTALL)


def check(example: Example) -> None:
    """Raises ``ValueError`` unless the metadata asks for a format that can be read."""
    required = _requirements(example)
    if not required:
        raise ValueError(f"metadata: must ask for one of {', '.join(PARTS)}")
    if required.get("thinking", "present") not in ("present", "absent"):
        raise ValueError(f"thinking={required['thinking']!r}: must be present or absent")
    for part in ("min_characters", "max_characters"):
        value = required.get(part, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{part}={value!r}: must be a whole number above 0")
    least, most = required.get("min_characters", 1), required.get("max_characters")
    if most is not None and most < least:
        raise ValueError(f"max_characters={most}: must be {least} or more")
    if required.get("answer_line", True) is not True:
        raise ValueError(f"answer_line={required['answer_line']!r}: must be true or left out")
    if "json_schema" in required:
        check_schema(required["json_schema"])


def score(example: Example, response: str, thinking: bool = True) -> Score:
    """1 if every part of the format that is asked for holds, else 0."""
    required = _requirements(example)
    must_close = required["thinking"] == "present" if "thinking" in required else thinking
    final, unfinished = after_thinking(response, must_close)
    text = final.strip()
    failed: dict[str, str] = {}
    if unfinished:
        failed["thinking"] = unfinished.removeprefix("no answer: ")
    elif "thinking" in required:
        before, closed, _ = response.rpartition(THINK_CLOSE)
        failed["thinking"] = _thinking(before, bool(closed), required["thinking"])
    if not text:
        failed["answer"] = "nothing follows the thinking"
    marked = extract(response, thinking=False)
    stated = marked.answer if marked.how != LAST_LINE else None
    if "json_schema" in required:
        failed["json_schema"] = _fits(text, stated, required["json_schema"])
    if least := required.get("min_characters"):
        few = len(text) < least
        failed["min_characters"] = f"{len(text)} characters, fewer than {least}" if few else ""
    if most := required.get("max_characters"):
        many = len(text) > most
        failed["max_characters"] = f"{len(text)} characters, more than {most}" if many else ""
    if "answer_line" in required:
        failed["answer_line"] = "no marker states the answer" if stated is None else ""
    parts = {part: f"fails: {why}" if why else "holds" for part, why in failed.items()}
    wrong = [f"{part} {verdict}" for part, verdict in parts.items() if verdict != "holds"]
    breakdown = {
        "extracted": shown(text),
        "rule": "all that follows the thinking",
        "compared_with": ", ".join(f"{part}={shown(str(required[part]))}" for part in required),
        **parts,
    }
    if wrong:
        why = ("no answer: " if not text else "wrong: ") + "; ".join(wrong)
        return Score(0.0, NAME, {**breakdown, "why": why})
    return Score(1.0, NAME, {**breakdown, "why": f"right: {', '.join(required)}: each holds"})


def _requirements(example: Example) -> dict[str, Any]:
    return {part: example.metadata[part] for part in PARTS if part in example.metadata}


def _thinking(before: str, closed: bool, wanted: str) -> str:
    """Why the thinking is not as ``wanted``; "" where it is."""
    _, _, inside = before.partition(THINK_OPEN)
    opened = THINK_OPEN in before
    if THINK_CLOSE in before or before.count(THINK_OPEN) > 1:
        return "more than one block"
    if opened and before.partition(THINK_OPEN)[0].strip():
        return f"text before {THINK_OPEN}"
    thought = (inside if opened else before).strip()
    if wanted == "present":
        return "" if thought else "it is empty"
    if closed and not opened:
        return f"{THINK_CLOSE} without {THINK_OPEN}"
    return "there is thinking" if thought else ""


def _fits(text: str, stated: str | None, schema: Mapping[str, Any] | bool) -> str:
    """Why there is no JSON that fits; "" where there is."""
    if len(text) > _CHARACTERS:
        return f"{len(text)} characters, at most {_CHARACTERS} are read"
    fenced = _FENCED.findall(text)
    candidates = [text, *(fenced if len(fenced) == 1 else ()), *([stated] if stated else ())]
    why = "no JSON by itself, in one fenced block or after the answer's marker"
    for candidate in candidates:
        try:
            value = json.loads(
                candidate,
                parse_constant=_refuse,
                parse_float=_float,
                parse_int=_int,
                object_pairs_hook=_object,
            )
        except (ValueError, RecursionError):
            continue
        why = _too_much(value) or misfit(value, schema)
        if not why:
            return ""
    return why


def _too_much(value: Any) -> str:
    """Why ``value`` is too large to be validated in time; "" where it is not."""
    level, nodes = [value], 0
    for _ in range(_DEPTH):
        nodes += len(level)
        if nodes > _NODES:
            return f"more than {_NODES} values"
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return ""
    return f"more than {_DEPTH} levels"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is repeated")
    return dict(pairs)


def _float(digits: str) -> float:
    if float(digits) in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return float(digits)


def _int(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError("a number is too large")
    return int(digits)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _asks(example: Example) -> Wording:
    requests = list(_requests(example.metadata)) or [("answer the question", "回答问题")]
    return Wording(
        "; ".join(english for english, _ in requests),
        "；".join(chinese for _, chinese in requests),
        whole=True,
        thinking={"present": True, "absent": False}.get(str(example.metadata.get("thinking"))),
    )


def _requests(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is asked for besides the thinking, in English and in Chinese."""
    least, most = metadata.get("min_characters"), metadata.get("max_characters")
    if metadata.get("json_schema") is not None:
        schema = json.dumps(metadata["json_schema"], ensure_ascii=False)
        yield (
            f"answer only with JSON of this schema: {schema}",
            f"只用符合此模式的JSON回答：{schema}",
        )
    if least is not None:
        yield f"write at least {least} characters", f"至少写{least}个字符"
    if most is not None:
        yield f"write at most {most} characters", f"最多写{most}个字符"
    if metadata.get("answer_line"):
        yield (
            'end with "Therefore, the answer is" and the answer',
            "最后以“因此，答案是”加上答案结尾",
        )


KIND = Kind(
    NAME,
    score,
    check,
    takes=PARTS,
    needs_gold=False,
    asks=_asks,
    is_bare=lambda example: not example.metadata.get("answer_line"),
    judge=None,  # no gold answer is looked at
    texts=lambda example: (),
)
