"""How fast the verifiers are, and a fuzz run over all of them.

Speed: answers a second on one core, by kind, over the short responses (up to 300 characters) of
tests/rewards/cases/; the median of five rounds. Long: the longest time that one response of 200,000
characters takes, over the shapes of ``SHAPES``.

Fuzz: responses drawn from a seed, each a case's response that was cut, spliced, repeated or mixed
with what breaks parsers; one in a thousand is 200,000 characters long. Each is scored twice.
Counted, and the first of each shown, are exceptions, values outside [0, 1], two different scores,
and more than 50 ms (the fastest of three tries, because another process may have had the core).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import console, write_result
from qwenlong.rewards.kind import Verifier
from qwenlong.rewards.registry import find, kinds
from qwenlong.types import Example

CASES = Path(__file__).parent.parent / "tests" / "rewards" / "cases"
SHORT = 300
LONG = 200_000
LIMIT_MS = 50.0
LIKE = {
    "official_docqa": "extractive",
    "official_docmath": "numeric",
    "official_choice": "choice",
}
"""The official rules use the cases of a similar kind, as far as they can read the gold answers."""

SHAPES = (
    *"a1-()[]{}\\$*_.?'\"½万億٣३Ⅻ。、\u200f\u0301\x00\ud800😀 \n",
    *("<think>", "</think>", "\\boxed{", "\\boxed{1}", "\\frac{", "Answer: ", "the answer is "),
    *("A) ", "A B C ", "and ", "or ", "not ", "yes no ", "1,", "1/2 ", "1e9", "1.000.000,"),
    *("二十三", "May ", "2020-01-01 ", "12/11/10 ", "percent ", "million ", "[1] ", "[1-99999] "),
    *("Passage 3, ", "- item\n", "1. item\n", "; "),
)


def main(
    responses: Annotated[int, typer.Option(help="Of the fuzz run, over all kinds.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="Of the timing.")] = 5,
    seed: int = 0,
) -> None:
    """Speed, the longest time, and a fuzz run of all verifiers."""
    cases = {kind: read(kind) for kind in kinds()}
    results: dict[str, Any] = {}
    table = Table("kind", "cases", "answers a second", "longest, ms", "fuzzed", "failures")
    for kind, own in cases.items():
        verifier = find(kind).score
        fuzzed = responses // len(cases)
        failures = fuzz(kind, verifier, own, fuzzed, Random(f"{seed} {kind}"))
        results[kind] = {
            "cases": len(own),
            "answers_per_s": round(median(speed(verifier, own) for _ in range(rounds))),
            "longest_ms": round(longest_ms(verifier, own), 1),
            "fuzzed": fuzzed,
            "failures": failures,
        }
        shown = results[kind]
        failed = ", ".join(f"{n} {what}" for what, n in failures.items()) or "none"
        table.add_row(
            kind, f"{shown['cases']}", f"{shown['answers_per_s']:,}", f"{shown['longest_ms']}",
            f"{fuzzed:,}", failed,
        )  # fmt: skip
    console.print(table)
    write_result("rewards", {"seed": seed, "kinds": results}, threads=1)
    if any(result["failures"] for result in results.values()):
        raise typer.Exit(1)


def read(kind: str) -> list[tuple[Example, str, bool]]:
    """The cases of a kind: example, response, thinking."""
    found = []
    for line in (CASES / f"{LIKE.get(kind, kind)}.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        metadata = dict(case.get("metadata", {}))
        metadata |= {key: case[key] for key in ("options", "gold_citations") if key in case}
        example = Example(
            kind, "cases", case["question"], (), tuple(case["answers"]), kind, metadata=metadata
        )
        if kind not in LIKE or readable(kind, example):
            found.append((example, case["response"], case.get("thinking", True)))
    return found


def readable(kind: str, example: Example) -> bool:
    try:
        find(kind).check(example)
    except ValueError:
        return False
    return True


def speed(verifier: Verifier, cases: Sequence[tuple[Example, str, bool]]) -> float:
    """Answers a second."""
    short = [case for case in cases if len(case[1]) <= SHORT]
    repeats = 2_000 // len(short) + 1
    start = time.perf_counter()
    for _ in range(repeats):
        for case in short:
            verifier(*case)
    return repeats * len(short) / (time.perf_counter() - start)


def longest_ms(verifier: Verifier, cases: Sequence[tuple[Example, str, bool]]) -> float:
    """The longest time over all shapes, before and after the thinking, with random examples."""
    rng, longest = Random(0), 0.0
    for shape in SHAPES:
        text = (shape * (LONG // len(shape) + 1))[:LONG]
        for response in (f"<think>x</think>{text}", f"{text}</think>Answer: {shape}", text):
            example, _, thinking = rng.choice(cases)
            longest = max(longest, took_ms(lambda: verifier(example, response, thinking)))  # noqa: B023
    return longest


def took_ms(action: Callable[[], object]) -> float:
    """Milliseconds of one call; of the fastest of three if the first is too slow."""
    tries: list[float] = []
    while not tries or (min(tries) > LIMIT_MS and len(tries) < 3):
        start = time.perf_counter()
        action()
        tries.append((time.perf_counter() - start) * 1e3)
    return min(tries)


def fuzz(
    kind: str, verifier: Verifier, cases: Sequence[tuple[Example, str, bool]], n: int, rng: Random
) -> dict[str, int]:
    """How often each failure happened."""
    failures: dict[str, int] = {}
    for _ in track(range(n), kind, console=console, transient=True):
        example, _, thinking = rng.choice(cases)
        response = mutated([case[1] for case in rng.choices(cases, k=2)], rng)
        what = failure(verifier, example, response, thinking)
        if what:
            if what not in failures:
                text = repr(response)
                console.print(f"{kind}: {what}: {len(response)} characters, {text[:200]}")
            failures[what] = failures.get(what, 0) + 1
    return failures


def failure(verifier: Verifier, example: Example, response: str, thinking: bool) -> str:
    """What is wrong with the verdict; "" if nothing."""
    try:
        start = time.perf_counter()
        first = verifier(example, response, thinking)
        slow = (time.perf_counter() - start) * 1e3 > LIMIT_MS
        again = verifier(example, response, thinking)
    except Exception as error:  # a verifier must never raise
        return f"raised {type(error).__name__}"
    if first != again:
        return "two scores"
    if not 0.0 <= first.value <= 1.0:
        return "outside [0, 1]"
    if slow and took_ms(lambda: verifier(example, response, thinking)) > LIMIT_MS:
        return "too slow"
    return ""


def mutated(responses: Sequence[str], rng: Random) -> str:
    first, second = responses
    way = rng.randrange(6)
    cut, other = rng.randint(0, len(first)), rng.randint(0, len(second))
    if way == 0:
        text = first[:cut] + second[other:]
    elif way == 1:
        text = first[:cut] + rng.choice(SHAPES) * rng.randint(1, 40) + first[cut:]
    elif way == 2:
        text = first + "\n" + second
    elif way == 3:
        text = "".join(rng.choices(SHAPES, k=rng.randint(1, 60)))
    elif way == 4:
        text = "</think>" + "".join(rng.choices(first + second + "  ", k=rng.randint(1, 80)))
    else:
        characters = list(first)
        for _ in range(min(len(characters), rng.randint(1, 4))):
            characters[rng.randrange(len(characters))] = chr(rng.randrange(0x11_0000))
        text = "".join(characters)
    if rng.random() < 0.001:
        text = (text * (LONG // max(1, len(text)) + 1))[:LONG]
    return text


if __name__ == "__main__":
    typer.run(main)
