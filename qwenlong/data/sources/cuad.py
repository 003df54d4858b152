"""CUAD (Hendrycks et al., arXiv 2103.06268): contracts, and what lawyers look for in them.

The set has no questions but 41 types of clauses. For a contract and a type they become ``spans``
(quote what the contract says) and ``answer`` (is there such a clause, on what date, which law).
The contract is named in the question and at its head, so that others may be put next to it.
Most yes_no answers are no: 1,507 of 1,980 in a sample of 60 contracts.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from qwenlong.data.rows import Row, RowError, Rows, Source, convert, csv_rows
from qwenlong.data.sources.fields import as_text, text
from qwenlong.types import Example, InputError

_QUESTIONS: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
_ASKED = {clause: asked for part in _QUESTIONS.values() for clause, asked in part.items()}
_FORMS = ("spans", "answer")
_WORDS = re.compile(r"[^\W_]")
_DATE = re.compile(r"\d{1,2}/\d{1,2}/\d{2}(?:\d\d)?")


def cuad_rows(source: Source, path: Path, subset: str) -> Rows:
    """A row a contract, type of clause and form of question, with the contract."""
    tables = sorted(path.glob("master_clauses*.csv"))
    folder = next(
        (path / n for n in ("contracts", "full_contract_txt") if (path / n).is_dir()), path
    )
    if len(tables) != 1 or folder == path:
        raise InputError(f"{path}: must be {source.layout}")

    def asked(where: str, row: Row) -> Iterator[tuple[str, Row]]:
        contract = {**row, **_contract(folder, row)}
        for clause in _ASKED:
            for form in _FORMS:
                yield f"{where}, {clause}, {form}", {**contract, "clause": clause, "form": form}

    return convert(csv_rows(tables[0]), asked, source.name)


def _contract(folder: Path, row: Row) -> dict[str, str]:
    """Name and text of a contract. Made once, so that its examples share the text."""
    file = row.get("contract_file") or f"{_stem(text(row, 'Filename'))}.txt"
    try:
        content = as_text((folder / file).read_text(encoding="utf-8"), file)
    except OSError as error:
        raise RowError(f"{folder / file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RowError(f"{folder / file}: not UTF-8 (byte {error.start + 1})") from None
    name = _stem(file)
    document, folded = f"{name}\n{content}", " ".join(content.split())
    return {"contract": name, "document": document, "folded": folded}


def _stem(name: str) -> str:
    return name[:-4] if name[-4:].lower() in (".pdf", ".txt") else name


def cuad(row: Row) -> Iterator[Example]:
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
    question = f"{_ASKED[clause]} Quote {ending} of it that answer this, word for word."
    if len(answers) == 1:
        return question.replace("answer this", "answers this"), answers, "extractive"
    return question, answers, "list"


def _answer(row: Row, clause: str) -> tuple[str, tuple[str, ...], str] | None:
    """Question, answer and kind; None where the set has no answer."""
    if clause in _QUESTIONS["quoted"]:
        return None
    answer, question = row[f"{clause}-Answer"].strip(), _ASKED[clause]
    if clause in _QUESTIONS["stated"]:
        if answer not in ("Yes", "No"):
            raise RowError(f"{clause}-Answer={answer!r} must be Yes or No")
        return f"{question} Answer yes or no.", (answer.lower(),), "yes_no"
    if not answer:
        return None
    if clause in _QUESTIONS["named"]:
        return question, (answer,), "extractive"
    if not _DATE.fullmatch(answer):
        raise RowError(f"{clause}-Answer={answer!r} is no date")
    return f"{question} Give month, day and year.", (answer,), "date"
