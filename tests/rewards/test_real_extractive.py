"""Gold answers of real sets in the phrasings of models, and wrong answers made of real ones.

Prints accepted and paid by set; run with -s to see the table.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from statistics import fmean

import pytest

from qwenlong.rewards.kinds import extractive, summary, yes_no
from qwenlong.types import Example
from tests.rewards.real import DATA, LEAST_ACCEPTED, MOST_PAID

THOUGHT = "<think>The second document has it.</think>\n\n"

PHRASINGS = (
    "Therefore, the answer is {}.",
    "Answer: {}",
    "\\boxed{{{}}}",
    "**Answer:** {}",
    "The final answer is: {}",
    "The second document names it, so this is what was asked for.\n\n{}",
    "**Therefore, the answer is {}.**",
    "Both documents agree.\n\n### Final Answer\n\n**{}**",
    "Therefore, the answer is “{}”.",
    "The first document does not say, the second does.\n\nSo the answer is {}.",
    "The answer is **{}**.\n\nThis is stated in the second document.",
    "<answer>\n{}\n</answer>",
    "According to the second document, the answer is {}.",
)


@dataclass(frozen=True)
class Item:
    """A question of a set, its gold answers and the document that it is asked of."""

    question: str
    golds: tuple[str, ...]
    document: str


def squad(path: Path) -> Iterator[Item]:
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                golds = dict.fromkeys(answer["text"] for answer in question["answers"])
                yield Item(question["question"], tuple(golds), paragraph["context"])


def hotpot(path: Path) -> Iterator[Item]:
    for row in json.loads(path.read_text(encoding="utf-8")):
        if row["answer"] not in ("yes", "no"):
            document = json.dumps([row["para_a"], row["para_b"]], ensure_ascii=False)
            yield Item(row["question"], (row["answer"],), document)


def ottqa(path: Path) -> Iterator[Item]:
    for row in json.loads(path.read_text(encoding="utf-8")):
        table = path.parent / "tables_tok" / f"{row['table_id']}.json"
        rows = json.loads(table.read_text(encoding="utf-8"))["data"]
        document = "\n".join(" | ".join(cell[0] for cell in cells) for cells in rows)
        yield Item(row["question"], (row["answer-text"],), document)


def cuad(path: Path) -> Iterator[Item]:
    """Dates, names and the law that governs: what a contract answers in a few words."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            contract = path.parent / "contracts" / row["contract_file"]
            document = contract.read_text(encoding="utf-8") if contract.is_file() else ""
            for clause in ("Document Name", "Agreement Date", "Effective Date", "Governing Law"):
                gold = row[f"{clause}-Answer"].strip()
                # Unfilled forms have no date to be asked for.
                if gold and "\n" not in gold and "[" not in gold:
                    yield Item(f"What is the {clause} of this contract?", (gold,), document)


def fairytaleqa(path: Path) -> Iterator[Item]:
    """Every fourth of the questions whose answer stands in the story."""
    stories = path.parent / "section-stories"
    for file in sorted(path.glob("*-questions.csv")):
        story = stories / file.name.replace("-questions", "-story")
        document = story.read_text(encoding="utf-8") if story.is_file() else ""
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for row in list(csv.DictReader(lines))[::4]:
                golds = (row["answer1"].strip(), (row["answer4"] or "").strip())
                if row["ex-or-im1"] == "explicit" and golds[0]:
                    found = tuple(dict.fromkeys(gold for gold in golds if gold))
                    yield Item(row["question"], found, document)


SETS: dict[str, tuple[Callable[[Path], Iterator[Item]], str]] = {
    "multihop_hotpot100": (hotpot, "multihop_hotpot100/hotpot_dev_distractor_sample100.json"),
    "multihop_ottqa": (ottqa, "multihop_ottqa/questions.json"),
    "multiling_xquad.en": (squad, "multiling_xquad/xquad.en.json"),
    "multiling_xquad.zh": (squad, "multiling_xquad/xquad.zh.json"),
    "multiling_xquad.es": (squad, "multiling_xquad/xquad.es.json"),
    "multiling_xquad.ar": (squad, "multiling_xquad/xquad.ar.json"),
    "zh_cmrc2018": (squad, "zh_cmrc2018/cmrc2018_dev.json"),
    "extractive_cuad": (cuad, "extractive_cuad/master_clauses.subset.csv"),
    "narrative_fairytaleqa": (fairytaleqa, "narrative_fairytaleqa/questions"),
}


@cache
def items(name: str) -> tuple[Item, ...]:
    read, path = SETS[name]
    if not (DATA / path).exists():
        pytest.skip(f"{DATA / path} is not there: the real sets are not part of the repository")
    return tuple(read(DATA / path))


def value(item: Item, final: str) -> float:
    example = Example("1", "real", item.question, (), item.golds)
    return extractive.score(example, THOUGHT + final).value


@pytest.mark.parametrize("name", SETS)
def test_gold_answers_in_the_phrasings_of_models(name: str, every: int) -> None:
    tried = refused = 0
    misses = []
    for item in items(name)[::every]:
        for gold in item.golds:
            for phrasing in PHRASINGS:
                tried += 1
                if value(item, phrasing.format(gold)) < 1:
                    refused += 1
                    misses.append((phrasing, gold))
    print(
        f"{name}: {len(items(name))} questions, {tried} tried, {1 - refused / tried:.4%} accepted"
    )
    print(*misses[:10], sep="\n")
    assert 1 - refused / tried >= LEAST_ACCEPTED


def plain(text: str) -> str:
    """Letters and digits only: a measure of sameness that is not the verifier's own."""
    return "".join(re.findall(r"\w", text.casefold())).replace("两", "2")


def same(first: str, second: str) -> bool:
    """Whether two golds may both be right: equal, or one within the other."""
    one, other = plain(first), plain(second)
    return one in other or other in one


def wrong_answers(questions: tuple[Item, ...], at: int) -> Iterator[tuple[str, str]]:
    """Kind and text of what must not be paid for the question at ``at``."""
    item = questions[at]
    gold = item.golds[0]
    for step in (1, 7, 31, 101):
        other = questions[(at + step) % len(questions)].golds[0]
        if not any(same(other, own) for own in item.golds):
            yield "another question's", f"Therefore, the answer is {other}."
            yield "another question's", f"The document says so.\n\n{other}"
            yield "either", f"Therefore, the answer is {gold} or {other}."
            yield (
                "taken back",
                f"Therefore, the answer is {gold}.\n\nTherefore, the answer is {other}.",
            )
    for negation in ("not {}", "It is not {}", "不是{}", "no es {}", "ليس {}", "anything but {}"):
        yield "negation", f"Therefore, the answer is {negation.format(gold)}."
    for empty in ("", "The", "a", "!", "...", "\\boxed{}", "I do not know.", "None of these."):
        if not any(same(empty, own) for own in item.golds if plain(empty)):
            yield "empty", f"Therefore, the answer is {empty}"
            yield "empty", empty
    if re.fullmatch(r"[\d,.]+", gold):
        for number in (f"-{gold}", f"{gold}0", f"{gold} thousand", f"{gold}%", f"0.{gold}"):
            yield "scaled or flipped", f"Therefore, the answer is {number}."


def options(questions: tuple[Item, ...]) -> Iterator[tuple[Item, str]]:
    """All golds asked of one document at once, joined in several ways."""
    by_document = sorted(questions, key=lambda item: item.document)
    for _, group in groupby(by_document, key=lambda item: item.document):
        of_one = list(group)
        golds = list(dict.fromkeys(item.golds[0] for item in of_one))
        if len({plain(gold) for gold in golds}) < 2:
            continue
        for item in of_one:
            for mark in (", ", " or ", "; ", "、", "/"):
                yield item, f"Therefore, the answer is {mark.join(golds)}."
            # A list of lines, the right one last, bare and with bullets.
            lines = [gold for gold in golds if gold != item.golds[0]] + [item.golds[0]]
            yield item, "\n".join(lines)
            yield item, "\n".join(f"- {line}" for line in lines)


@pytest.mark.parametrize("name", SETS)
def test_wrong_answers_are_not_paid(name: str, every: int) -> None:
    questions = items(name)
    tried: dict[str, int] = {}
    paid: dict[str, list[tuple[str, str]]] = {}

    def count(kind: str, item: Item, final: str) -> None:
        tried[kind] = tried.get(kind, 0) + 1
        if value(item, final):
            paid.setdefault(kind, []).append((item.golds[0], final[-150:]))

    for at, item in list(enumerate(questions))[::every]:
        for kind, final in wrong_answers(questions, at):
            count(kind, item, final)
        if item.document and not any(
            same(item.document, gold) and len(plain(gold)) * 2 > len(plain(item.document))
            for gold in item.golds
        ):
            flat = " ".join(item.document.split())
            for final in (item.document, f"Therefore, the answer is {flat}", f"Answer: {flat}"):
                count("whole document", item, final)
    for item, final in islice(options(questions), 0, None, every):
        count("all at once", item, final)
    total, bad = sum(tried.values()), sum(map(len, paid.values()))
    counts = ", ".join(f"{kind} {len(paid.get(kind, ()))}/{n}" for kind, n in tried.items())
    print(f"{name}: {total} wrong answers, {bad / total:.4%} paid ({counts})")
    print(*[(kind, *case) for kind, cases in paid.items() for case in cases[:4]], sep="\n")
    assert bad / total <= MOST_PAID


YES_NO = {
    "yes": ("yes", "Yes", "Yes, because both are", "**Yes**"),
    "no": ("no", "No", "No, only one is", "**No**"),
}


def test_yes_no_of_real_sets() -> None:
    path = DATA / "multihop_hotpot100" / "hotpot_dev_distractor_sample100.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there: the real sets are not part of the repository")
    rows = [row for row in json.loads(path.read_text(encoding="utf-8")) if row["answer"] in YES_NO]
    tried = accepted = wrong = paid = 0
    for row in rows:
        gold = row["answer"]
        example = Example("1", "real", row["question"], (), (gold,))
        yes_no.check(example)
        for phrasing in PHRASINGS:
            for text in YES_NO[gold]:
                tried += 1
                accepted += yes_no.score(example, THOUGHT + phrasing.format(text)).value == 1
            others = YES_NO["no" if gold == "yes" else "yes"]
            for text in (*others, f"not {gold}", "yes and no", "yes, no", "", "unanswerable"):
                wrong += 1
                paid += yes_no.score(example, THOUGHT + phrasing.format(text)).value > 0
        document = json.dumps([row["para_a"], row["para_b"]])
        paid += yes_no.score(example, f"{THOUGHT}Therefore, the answer is {document}").value > 0
    print(f"yes_no: {len(rows)} questions, {accepted}/{tried} accepted, {paid}/{wrong} wrong paid")
    assert accepted == tried
    assert paid == 0


def test_sentences_of_a_real_set_are_summaries() -> None:
    """MultiFieldQA's answers are sentences, and other words may say the same: ROUGE-L.

    A sentence beside the summary costs it precision, as it should: those phrasings are left out.
    """
    beside = ("The second document names it", "This is stated")
    alone = [each for each in PHRASINGS if not any(words in each for words in beside)]
    path = DATA / "zh_longbench_multifieldqa" / "multifieldqa_zh.half_dev.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there: the real sets are not part of the repository")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    accepted, others, documents = [], [], []
    for at, row in enumerate(rows):
        example = Example("1", "real", row["input"], (), tuple(row["answers"]))
        summary.check(example)
        for phrasing in alone:
            said = THOUGHT + phrasing.format(row["answers"][0])
            accepted.append(summary.score(example, said).value > 0.99)
            other = THOUGHT + phrasing.format(rows[(at + 7) % len(rows)]["answers"][0])
            others.append(summary.score(example, other).value)
        documents.append(summary.score(example, THOUGHT + row["context"]).value)
    print(
        f"zh_multifieldqa: {sum(accepted) / len(accepted):.4%} accepted; another question's"
        f" {fmean(others):.3f} in the mean, {max(others):.3f} at most; the whole document"
        f" {fmean(documents):.4f}"
    )
    assert sum(accepted) / len(accepted) >= LEAST_ACCEPTED
    assert max(others) < 1 and max(documents) < 1
    assert fmean(others) < 0.2 and fmean(documents) < 0.02
