"""Gold answers of real numeric sets as models write them, and wrong answers made of real ones.

Prints accepted and paid by set; run with -s to see the table. FinQA and ConvFinQA have their
gold answers from programs, rounded to five places; TAT-QA names a scale.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

import pytest

from qwenlong.rewards.kinds import numeric
from qwenlong.types import Example
from tests.rewards.real import DATA, LEAST_ACCEPTED, MOST_PAID

THOUGHT = "<think>The table has both years: 601,256 and 510,762.</think>\n\n"

PHRASINGS = (
    "Therefore, the answer is {}.",
    "Answer: {}",
    "\\boxed{{{}}}",
    "**Answer:** {}",
    "The final answer is: {}",
    "The table has both figures, 41 and 6, so this follows.\n\n{}",
    "**Therefore, the answer is {}.**",
    "First we look up both years.\n\n### Final Answer\n\n**{}**",
    "We subtract and divide.\n\nSo the answer is {}.",
    "Therefore, the answer is approximately ${}$.",
    "Therefore, the answer is \\boxed{{{}}}.",
)


@dataclass(frozen=True)
class Item:
    question: str
    gold: str
    scale: str
    document: str

    @property
    def example(self) -> Example:
        return Example(
            "real", "test", self.question, (), (self.gold,), metadata={"scale": self.scale}
        )


def tatqa() -> Iterator[Item]:
    path = DATA / "numeric_tatqa" / "tatqa_dataset_dev.json"
    for document in json.loads(path.read_text(encoding="utf-8")):
        text = json.dumps(document["table"]["table"]) + "\n".join(
            paragraph["text"] for paragraph in document["paragraphs"]
        )
        for row in document["questions"]:
            if row["answer_type"] in ("arithmetic", "count"):
                yield Item(row["question"], str(row["answer"]), row["scale"], text)


def finqa() -> Iterator[Item]:
    path = DATA / "numeric_finqa" / "finqa_valid.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        human, assistant = (turn["value"] for turn in json.loads(line)["conversations"])
        context, _, question = human.rpartition("Question:")
        if assistant not in ("yes", "no"):
            yield Item(question.removesuffix("Answer:").strip(), assistant, "", context)


def convfinqa() -> Iterator[Item]:
    path = DATA / "numeric_convfinqa" / "convfinqa_dev.json"
    for row in json.loads(path.read_text(encoding="utf-8")):
        if row["answer"] not in ("yes", "no"):
            yield Item(row["questions"][-1], str(row["answer"]), "", f"{row['text']}{row['table']}")


SETS: dict[str, Callable[[], Iterator[Item]]] = {
    "numeric_tatqa": tatqa,
    "numeric_finqa": finqa,
    "numeric_convfinqa": convfinqa,
}


@cache
def items(name: str) -> tuple[Item, ...]:
    if not (DATA / name).is_dir():
        pytest.skip(f"no data in {DATA / name}")
    found = tuple(SETS[name]())
    assert len(found) > 100
    return found


def grouped(gold: str) -> str:
    """``gold`` with thousands separators: -1,234.5."""
    whole, point, decimals = gold.partition(".")
    if not whole.lstrip("-").isdigit() or "-0" in whole:
        return gold
    return f"{int(whole):,}{point}{decimals}"


def written(item: Item, gold: str) -> dict[str, str]:
    """``gold`` as models write it, by the name of the way."""
    scale = {"percent": "%"}.get(item.scale, f" {item.scale}" if item.scale else "")
    minus, size = ("-", gold[1:]) if gold.startswith("-") else ("", gold)
    ways = {"as it is": f"{gold}{scale}", "grouped": f"{grouped(gold)}{scale}"}
    ways["latex"] = f"{gold}{scale}".replace("%", "\\%")
    ways["true minus"] = f"{grouped(gold)}{scale}".replace("-", "\u2212")
    if item.scale == "percent":
        ways["percent"] = f"{gold} percent"
        ways["bare"] = gold
        return ways
    if float(gold).is_integer() and "e" not in gold:
        ways["whole"] = f"{int(float(gold)):,}{scale}"
    if abs(float(gold)) > 20 and "how many" not in item.question.lower():
        ways["dollars"] = f"{minus}${grouped(size)}{scale}"
        if minus:
            ways["accounting"] = f"(${grouped(size)}{scale})"
    if minus and "change" in item.question and "decrease" not in item.question:
        ways["in words"] = f"a decrease of {grouped(size)}{scale}"
    if item.scale in ("thousand", "million"):
        digits = {"thousand": 3, "million": 6}[item.scale]
        ways["in full"] = f"{round(float(gold) * 10**digits):,}"
    return ways


def wrong(item: Item, others: list[Item]) -> dict[str, str]:
    """Answers that are wrong, by what is wrong with them."""
    scale = {"percent": "%"}.get(item.scale, f" {item.scale}" if item.scale else "")
    gold, other = item.gold, others[0]
    minus, size = ("", gold[1:]) if gold.startswith("-") else ("-", gold)
    ways = {
        "of another question": f"{grouped(other.gold)}{scale}",
        "negation": f"not {gold}{scale}",
        "empty": "",
        "document": item.document,
        "document on a line": " ".join(item.document.split()),
        "sign": f"{minus}{size}{scale}",
        "all at once": ", ".join(f"{each.gold}{scale}" for each in (item, *others)),
        "either": f"{gold}{scale} or {other.gold}{scale}",
        "neither": f"{other.gold}{scale} and {gold}{scale}",
        "last place": f"{next_to(gold)}{scale}",
        "half": f"half of {gold}{scale}",
        "division": f"{float(gold) * 2000:.10g}/2000{scale}",
    }
    if "percent" not in item.question and item.scale != "percent":
        ways["percent"] = f"{gold}%"
    if item.scale == "percent":
        ways["per mille"] = f"{gold}‰"
    for factor in (10, 100, 1000, 10**6):
        ways[f"times {factor}"] = f"{float(gold) * factor:.10g}{scale}"
        ways[f"by {factor}"] = f"{float(gold) / factor:.10g}{scale}"
    for word in ("thousand", "million", "billion"):
        if word != item.scale and word not in item.question:
            ways[f"in {word}"] = f"{gold} {word}"
    if item.scale not in ("", "percent") and item.scale not in item.question:
        ways["no scale"] = gold
    return ways


def last_place(gold: str) -> float:
    return 10.0 ** -len(gold.partition(".")[2]) if "e" not in gold else 1e-5


def next_to(gold: str) -> str:
    """The gold answer with one unit more in its last place, away from zero."""
    if "e" in gold:
        return "0.00002"
    digits = [*gold]
    for i in reversed(range(len(digits))):
        if digits[i].isdigit():
            digits[i] = "0" if digits[i] == "9" else str(int(digits[i]) + 1)
            if digits[i] != "0":
                return "".join(digits)
    return f"1{''.join(digits)}"


def table(name: str, counts: dict[str, tuple[int, int]], total: tuple[int, int]) -> None:
    print(f"\n{name}: {total[0]} of {total[1]} ({total[0] / total[1]:.4%})")
    for way, (hits, tried) in counts.items():
        print(f"  {way:20} {hits:6} of {tried:6}")


@pytest.mark.parametrize("name", SETS)
def test_gold_answers_are_accepted(name: str, every: int) -> None:
    tried, accepted = Counter[str](), Counter[str]()
    missed = []
    for item in items(name)[::every]:
        numeric.check(item.example)
        for way, answer in written(item, item.gold).items():
            for phrasing in PHRASINGS:
                response = THOUGHT + phrasing.format(answer)
                verdict = numeric.score(item.example, response)
                tried[way] += 1
                accepted[way] += verdict.value == 1.0
                if verdict.value != 1.0:
                    missed.append((item.question, item.gold, answer, verdict.breakdown["why"]))
    counts = {way: (accepted[way], tried[way]) for way in tried}
    total = (sum(accepted.values()), sum(tried.values()))
    table(f"{name}, accepted", counts, total)
    assert total[0] >= LEAST_ACCEPTED * total[1], missed[:20]


def spans() -> Iterator[tuple[Example, str]]:
    """TAT-QA's spans that are numbers, such as $(31.5) or S$1.75 billion, with their scale."""
    path = DATA / "numeric_tatqa" / "tatqa_dataset_dev.json"
    for document in json.loads(path.read_text(encoding="utf-8")):
        for row in document["questions"]:
            if row["answer_type"] != "span" or len(row["answer"]) != 1:
                continue
            gold, scale = row["answer"][0], row["scale"]
            example = Example(
                "real", "test", row["question"], (), (gold,), metadata={"scale": scale}
            )
            try:
                numeric.check(example)
            except ValueError:
                continue
            unit = "%" if scale == "percent" and "%" not in gold else f" {scale}".rstrip()
            yield example, gold if scale and scale in gold else gold + unit


def test_spans_that_are_numbers_are_accepted(every: int) -> None:
    if not (DATA / "numeric_tatqa").is_dir():
        pytest.skip(f"no data in {DATA / 'numeric_tatqa'}")
    verdicts = [
        (answer, numeric.score(example, THOUGHT + phrasing.format(answer)))
        for example, answer in islice(spans(), 0, None, every)
        for phrasing in PHRASINGS
    ]
    missed = [
        (answer, dict(verdict.breakdown)) for answer, verdict in verdicts if not verdict.value
    ]
    table("numeric_tatqa, spans, accepted", {}, (len(verdicts) - len(missed), len(verdicts)))
    assert len(verdicts) > 400 // every * len(PHRASINGS)
    assert len(missed) <= (1 - LEAST_ACCEPTED) * len(verdicts), missed[:20]


@pytest.mark.parametrize("name", ["numeric_finqa", "numeric_convfinqa"])
def test_rounded_answers_within_a_relative_tolerance(name: str, every: int) -> None:
    """Models write 12.6 % where FinQA has 0.12574: half a per cent off pays for three digits."""
    tried, paid, flipped = 0, 0, 0
    for item in items(name)[::every]:
        if not float(item.gold):
            continue
        metadata = {"scale": "fraction", "rel_tolerance": 0.005}
        example = Example("real", "test", item.question, (), (item.gold,), metadata=metadata)
        rounded = f"{float(item.gold) * 100:.3g}"
        for phrasing in PHRASINGS:
            tried += 1
            percent = phrasing.format(f"{float(rounded):f}%")
            paid += numeric.score(example, THOUGHT + percent).value == 1.0
            minus = phrasing.format(f"{-float(rounded):f}%")
            flipped += numeric.score(example, THOUGHT + minus).value == 1.0
    table(f"{name}, three digits in percent, accepted", {}, (paid, tried))
    assert paid >= LEAST_ACCEPTED * tried
    assert not flipped


@pytest.mark.parametrize("name", SETS)
def test_wrong_answers_are_refused(name: str, every: int) -> None:
    tried, paid = Counter[str](), Counter[str]()
    slips = []
    everything = items(name)
    draw = random.Random(4)
    for place, item in enumerate(everything):
        if not float(item.gold):
            continue  # nothing scaled or flipped is wrong
        others = [
            other
            for other in draw.sample(everything, 40)
            if abs(float(other.gold) - float(item.gold)) > last_place(item.gold)
        ]
        if place % every:
            continue  # after the draw, so that a question has the same others in a sample
        for way, answer in wrong(item, others[:4]).items():
            for phrasing in PHRASINGS[:6]:
                verdict = numeric.score(item.example, THOUGHT + phrasing.format(answer))
                tried[way] += 1
                paid[way] += verdict.value > 0
                if verdict.value > 0:
                    slips.append((item.question, item.gold, item.scale, way, answer[:80]))
    counts = {way: (paid[way], tried[way]) for way in tried}
    total = (sum(paid.values()), sum(tried.values()))
    table(f"{name}, wrong and paid", counts, total)
    assert total[0] <= MOST_PAID * total[1], slips[:20]


def test_gold_answers_that_are_no_numbers_are_named() -> None:
    for gold in ("yes", "no", "n/a", "between 5 and 6", ""):
        with pytest.raises(ValueError, match=r"answers=.*must be a number"):
            numeric.check(Item("Which?", gold, "", "").example)
