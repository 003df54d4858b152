"""The dates of CUAD's contracts as models write them, and wrong dates made of them.

The answer columns have dates such as 11/9/05, month first; the clause columns have them in words.
Prints accepted and paid; run with -s to see the table.
"""

from __future__ import annotations

import ast
import csv
import datetime
from collections import Counter
from dataclasses import dataclass
from functools import cache

import pytest

from qwenlong.rewards.kinds import date
from qwenlong.types import Example
from tests.rewards import real
from tests.rewards.real import LEAST_ACCEPTED, MOST_PAID

DATA = real.DATA / "extractive_cuad"
COLUMNS = ("Agreement Date", "Effective Date", "Expiration Date")
THOUGHT = "<think>The preamble dates it, clause 3 has 30 days.</think>\n\n"
MISLABELLED = {"5/25/08"}
"""CUAD has 5/25/08 for a contract dated May 25th, 2018."""

PHRASINGS = (
    "Therefore, the answer is {}.",
    "Answer: {}",
    "\\boxed{{{}}}",
    "**Answer:** {}",
    "The final answer is: {}",
    "The preamble has the date, 30 days before the term.\n\n{}",
    "**Therefore, the answer is {}.**",
    "The agreement is dated in its preamble.\n\n### Final Answer\n\n**{}**",
    "The preamble has it.\n\nSo the answer is {}.",
    "Therefore, the answer is “{}”.",
)
MONTHS = {
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre"
    " diciembre",
    "hi": "जनवरी फरवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर अक्टूबर नवंबर दिसंबर",
    "ar": "يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر",
}


@dataclass(frozen=True)
class Item:
    column: str
    gold: str
    when: datetime.date
    clause: str
    document: str

    @property
    def example(self) -> Example:
        question = f"What is the {self.column.lower()}?"
        return Example("real", "cuad", question, (), (self.gold,), metadata={"day_first": False})


@cache
def items() -> tuple[Item, ...]:
    if not DATA.is_dir():
        pytest.skip(f"no data in {DATA}")
    found = []
    with (DATA / "master_clauses.subset.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            text = (DATA / "contracts" / row["contract_file"]).read_text(encoding="utf-8")
            for column in COLUMNS:
                gold = row[f"{column}-Answer"].strip()
                if gold.count("/") != 2 or "[" in gold:
                    continue  # perpetual, or left open
                month, day, year = map(int, gold.split("/"))
                when = datetime.date(year + (1900 if year > 68 else 2000), month, day)
                clauses = ast.literal_eval(row[column])
                found.append(Item(column, gold, when, clauses[0] if clauses else "", text))
    assert len(found) > 100
    return tuple(found)


def written(when: datetime.date, gold: str) -> dict[str, str]:
    day, month, year = when.day, when.month, when.year
    suffix = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    name = {tongue: months.split()[month - 1] for tongue, months in MONTHS.items()}
    return {
        "as it is": gold,
        "iso": when.isoformat(),
        "English": f"{when:%B} {day}, {year}",
        "British": f"{day} {when:%B} {year}",
        "short": f"{when:%b} {day}, {year}",
        "ordinal": f"{when:%B} {day}{suffix}, {year}",
        "as in contracts": f"the {day}{suffix} day of {when:%B}, {year}",
        "weekday": f"{when:%A}, {when:%B} {day}, {year}",
        "four digits": f"{month:02}/{day:02}/{year}",
        "points": f"{day:02}.{month:02}.{year}",
        "Chinese": f"{year}年{month}月{day}日",
        "Korean": f"{year}년 {month}월 {day}일",
        "Spanish": f"{day} de {name['es']} de {year}",
        "German": f"{day}. {name['de']} {year}",
        "Hindi": f"{day} {name['hi']} {year}",
        "Arabic": f"{day} {name['ar']} {year}",
    }


def wrong(item: Item, other: Item) -> dict[str, str]:
    when, one = item.when, datetime.timedelta(1)
    gold = f"{when:%B} {when.day}, {when.year}"
    ways = {
        "of another contract": f"{other.when:%B} {other.when.day}, {other.when.year}",
        "as it is, of another": other.gold,
        "negation": f"not {gold}",
        "empty": "",
        "document": item.document,
        "document on a line": " ".join(item.document.split()),
        "a day later": (when + one).isoformat(),
        "a day earlier": f"{when - one:%B %d, %Y}",
        "a year later": f"{when:%B} {when.day}, {when.year + 1}",
        "century": f"{when:%B} {when.day}, {when.year - 100}",
        "month alone": f"{when:%B %Y}",
        "year alone": str(when.year),
        "both": f"{gold} or {other.when:%B} {other.when.day}, {other.when.year}",
        "before": f"before {gold}",
        "weekday": f"{when + one:%A}, {gold}",
    }
    if when.day <= 12 and when.day != when.month:
        ways["day first"] = f"{when.day}/{when.month}/{when.year}"
    return ways


def table(title: str, hits: Counter[str], tried: Counter[str]) -> tuple[int, int]:
    total = (sum(hits.values()), sum(tried.values()))
    print(f"\nextractive_cuad, {title}: {total[0]} of {total[1]} ({total[0] / total[1]:.4%})")
    for way, count in tried.items():
        print(f"  {way:20} {hits[way]:6} of {count:6}")
    return total


def test_gold_answers_are_accepted(every: int) -> None:
    tried, accepted = Counter[str](), Counter[str]()
    missed = []
    for item in items()[::every]:
        date.check(item.example)
        for way, answer in written(item.when, item.gold).items():
            for phrasing in PHRASINGS:
                verdict = date.score(item.example, THOUGHT + phrasing.format(answer))
                tried[way] += 1
                accepted[way] += verdict.value == 1.0
                if verdict.value != 1.0:
                    missed.append((item.gold, answer, verdict.breakdown["why"]))
    hits, total = table("accepted", accepted, tried)
    assert hits >= LEAST_ACCEPTED * total, missed[:20]


def test_wrong_answers_are_refused(every: int) -> None:
    tried, paid = Counter[str](), Counter[str]()
    slips = []
    everything = items()
    for place, item in list(enumerate(everything))[::every]:
        rest = everything[place + 1 :] + everything[:place]
        other = next(each for each in rest if each.when != item.when)
        for way, answer in wrong(item, other).items():
            for phrasing in PHRASINGS:
                verdict = date.score(item.example, THOUGHT + phrasing.format(answer))
                tried[way] += 1
                paid[way] += verdict.value > 0
                if verdict.value > 0:
                    slips.append((item.gold, way, answer[:80]))
    hits, total = table("wrong and paid", paid, tried)
    assert hits <= MOST_PAID * total, slips[:20]


def test_clauses_say_the_same_as_answers() -> None:
    """The clause "4th day of April, 2003" beside the answer 4/4/03, where it holds one date."""
    tried = agree = 0
    for item in items():
        clause = Example("clause", "cuad", "When?", (), (item.clause,))
        try:
            date.check(clause)
        except ValueError:
            continue  # a sentence, an open date, or one spoilt by the scan ("1s t day")
        tried += 1
        verdict = date.score(item.example, f"{THOUGHT}Answer: {' '.join(item.clause.split())}")
        agree += verdict.value == 1.0
        if verdict.value != 1.0:
            print(item.gold, "|", item.clause[:100], "|", verdict.breakdown["why"])
    print(f"\nextractive_cuad, clauses that agree with answers: {agree} of {tried}")
    assert agree >= tried - len(MISLABELLED)
    assert tried > 50
