"""CUAD (Hendrycks et al., arXiv 2103.06268): contracts, and what lawyers look for in them.

The set has no questions but 41 types of clauses, each with the quotations that annotators marked
in a contract and, for most, an answer. They become, for a contract and a type,

- ``spans``: quote what the contract says; extractive for one quotation, a list for more. Where a
  quotation does not stand in the text as it is (annotators left words out, ``<omitted>``), the
  question is rejected;
- ``answer``: is there such a clause (yes_no), on what date (date), which law (extractive).

A contract is named in the question and at its head, so that other contracts may stand beside it.
Types without a quotation, or without an answer, give no such question.

In a mix, mind the skew of its yes_no: most contracts have few of the clauses, and 1,507 answers of
the 60 contracts in shared/data are no to 473 that are yes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from qwenlong.data.rows import Rejected, Row, RowError, Rows, Source, csv_rows
from qwenlong.data.sources.fields import as_text, text
from qwenlong.types import Example, InputError

_DATED = {
    "Agreement Date": "What is the date of the agreement?",
    "Effective Date": "On what date does the agreement become effective?",
    "Expiration Date": "On what date does the initial term of the agreement expire?",
}
_NAMED = {"Governing Law": "The law of which state or country governs the agreement?"}
_STATED = {
    "Most Favored Nation": "Must one party be given any better terms that a third party gets?",
    "Competitive Restriction Exception": (
        "Are there exceptions to a restriction on competing, an exclusivity or a ban on soliciting"
        " customers?"
    ),
    "Non-Compete": "Is a party restricted in competing with the other, or in some field or region?",
    "Exclusivity": "Is a party bound to deal exclusively with the other?",
    "No-Solicit Of Customers": "Is a party barred from soliciting the other's customers?",
    "No-Solicit Of Employees": "Is a party barred from soliciting or hiring the other's employees?",
    "Non-Disparagement": "Must a party not disparage the other?",
    "Termination For Convenience": "Can a party terminate the agreement without cause?",
    "Rofr/Rofo/Rofn": "Does a party have a right of first refusal, first offer or negotiation?",
    "Change Of Control": (
        "Does a change of control of one party let the other terminate, or need its consent or a"
        " notice to it?"
    ),
    "Anti-Assignment": "Does an assignment of the agreement need consent or notice?",
    "Revenue/Profit Sharing": "Must a party share revenue or profit with the other?",
    "Price Restrictions": "Is a party restricted in raising or lowering prices?",
    "Minimum Commitment": "Must a party buy a minimum amount, or order a minimum size?",
    "Volume Restriction": "Does use beyond some threshold raise the fee or need consent?",
    "Ip Ownership Assignment": "Does what one party creates become the other's property?",
    "Joint Ip Ownership": "Is any intellectual property owned jointly by the parties?",
    "License Grant": "Does a party grant the other a licence?",
    "Non-Transferable License": "Is a granted licence limited in being transferred to others?",
    "Affiliate License-Licensor": "Is a licence granted by affiliates of the licensor as well?",
    "Affiliate License-Licensee": "Is a licence granted to affiliates of the licensee as well?",
    "Unlimited/All-You-Can-Eat-License": "Is a licence of unlimited use granted?",
    "Irrevocable Or Perpetual License": "Is a granted licence irrevocable or perpetual?",
    "Source Code Escrow": "Must a party deposit its source code in escrow?",
    "Post-Termination Services": "Has a party obligations after the agreement has ended?",
    "Audit Rights": "May a party audit the other's books, records or places?",
    "Uncapped Liability": "Is a party's liability unlimited, if only for some breaches?",
    "Cap On Liability": "Is a party's liability limited, in amount or in time?",
    "Liquidated Damages": "Are liquidated damages or a fee for termination agreed on?",
    "Warranty Duration": "Is the duration of a warranty against defects stated?",
    "Insurance": "Must a party keep insurance for the benefit of the other?",
    "Covenant Not To Sue": (
        "Is a party barred from contesting the other's intellectual property or from bringing"
        " claims against it?"
    ),
    "Third Party Beneficiary": "Can a third party enforce rights under the agreement?",
}
_QUOTED = {
    "Document Name": "What is its title?",
    "Parties": "By which names and terms does it introduce its parties?",
    "Renewal Term": "For how long is it renewed after its initial term?",
    "Notice Period To Terminate Renewal": "What notice is needed to end its renewal?",
}
_QUESTIONS = _QUOTED | _DATED | _NAMED | _STATED
_FORMS = ("spans", "answer")
_WORDS = re.compile(r"[^\W_]")
_DATE = re.compile(r"\d{1,2}/\d{1,2}/\d{2}(?:\d\d)?")


def rows(path: Path, subset: str) -> Rows:
    """A row a contract, type of clause and form of question, with the contract."""
    tables = sorted(path.glob("master_clauses*.csv"))
    folder = next(
        (path / n for n in ("contracts", "full_contract_txt") if (path / n).is_dir()), path
    )
    if len(tables) != 1 or folder == path:
        raise InputError(f"{path}: must be {SOURCE.layout}")
    for item in csv_rows(tables[0]):
        if isinstance(item, Rejected):
            yield item
            continue
        where, row = item
        try:
            file = row.get("contract_file") or f"{_stem(text(row, 'Filename'))}.txt"
            content = as_text((folder / file).read_text(encoding="utf-8"), file)
        except OSError as error:
            yield Rejected(where, f"{folder / file}: cannot be read: {error.strerror}")
            continue
        except UnicodeDecodeError as error:
            yield Rejected(where, f"{folder / file}: not UTF-8 (byte {error.start + 1})")
            continue
        except KeyError:
            yield Rejected(where, "Filename is missing, which cuad has")
            continue
        except RowError as error:
            yield Rejected(where, str(error))
            continue
        name = _stem(file)
        # Made once: the examples of a contract share its text.
        contract = {
            "contract": name,
            "document": f"{name}\n{content}",
            "folded": " ".join(content.split()),
        }
        for clause in _QUESTIONS:
            for form in _FORMS:
                more = {"clause": clause, "form": form}
                yield f"{where}, {clause}, {form}", {**row, **contract, **more}


def _stem(name: str) -> str:
    return name[:-4] if name[-4:].lower() in (".pdf", ".txt") else name


def examples(row: Row) -> Iterator[Example]:
    """At most one; the document is the contract."""
    clause = row["clause"]
    found = _spans(row, clause) if row["form"] == "spans" else _answer(row, clause)
    if found is None:
        return
    question, answers, kind = found
    contract = row["contract"]
    yield Example(
        id=f"{contract}: {clause}: {row['form']}",
        source="cuad",
        question=f'The contract is "{contract}". {question}',
        documents=(row["document"],),
        answers=answers,
        kind=kind,
        gold_documents=(0,),
        group=f"cuad:{contract}",
        metadata={
            "contract": contract,
            "clause": clause,
            "form": row["form"],
            "language": "en",
            **({"day_first": False} if kind == "date" else {}),
            # Quotations have semicolons and commas of their own.
            **({"as_json": True} if kind == "list" else {}),
        },
    )


def _spans(row: Row, clause: str) -> tuple[str, tuple[str, ...], str] | None:
    """Question, quotations with single blanks, and kind; None where nothing is quoted."""
    try:
        given = ast.literal_eval(row[clause].strip() or "[]")
    except (ValueError, SyntaxError):
        raise RowError(f"{clause} must be a list of quotations, is {row[clause][:60]!r}") from None
    spans = [" ".join(as_text(each, clause).split()) for each in given]
    absent = [span for span in spans if span not in row["folded"]]
    if absent:
        raise RowError(
            f"{len(absent)} of {len(spans)} quotations of {clause} do not stand in the contract"
            f" as they are: {absent[0][:60]!r}"
        )
    if not spans:
        return None
    if any(span != span.strip("_") or not _WORDS.search(span) for span in spans):
        raise RowError(f"{clause} quotes a blank of an unfilled form: {spans[0][:60]!r}")
    answers = tuple(dict.fromkeys(spans))
    ending = "one passage" if len(answers) == 1 else f"{len(answers)} passages"
    question = f"{_QUESTIONS[clause]} Quote {ending} of it that answer this, word for word."
    if len(answers) == 1:
        return question.replace("answer this", "answers this"), answers, "extractive"
    return question, answers, "list"


def _answer(row: Row, clause: str) -> tuple[str, tuple[str, ...], str] | None:
    """Question, answer and kind; None where the set has no answer."""
    if clause in _QUOTED:
        return None
    answer = row[f"{clause}-Answer"].strip()
    if clause in _STATED:
        if answer not in ("Yes", "No"):
            raise RowError(f"{clause}-Answer={answer!r} must be Yes or No")
        return f"{_STATED[clause]} Answer yes or no.", (answer.lower(),), "yes_no"
    if not answer:
        return None
    if clause in _NAMED:
        return _NAMED[clause], (answer,), "extractive"
    if not _DATE.fullmatch(answer):
        raise RowError(f"{clause}-Answer={answer!r} is no date")
    return f"{_DATED[clause]} Give month, day and year.", (answer,), "date"


SOURCE = Source(
    name="cuad",
    rows=rows,
    examples=examples,
    layout=(
        "a folder with one master_clauses*.csv and contracts/ or full_contract_txt/, such as"
        " CUAD_v1/ of github.com/TheAtticusProject/cuad"
    ),
    licence="CC BY 4.0",
    citation="Hendrycks et al., CUAD: An Expert-Annotated NLP Dataset, arXiv 2103.06268",
)
