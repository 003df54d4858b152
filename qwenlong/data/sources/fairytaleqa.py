"""FairytaleQA (Xu et al., arXiv 2203.13947): questions of teachers over fairy tales.

Every question has up to six answers of two annotators. An explicit answer, in the story's words,
of at most five words can be given exactly and is extractive; longer and implicit ones are scored by
ROUGE-L against all of them, which is the set's own measure.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenlong.data.rows import Rejected, Row, RowError, Rows, Source, csv_rows
from qwenlong.data.sources.fields import SHORT, text
from qwenlong.types import Example, InputError


def fairytaleqa_rows(source: Source, path: Path, subset: str) -> Rows:
    """Each question with its ``story``, the ``sections`` of it, and its ``number`` in the file.

    The examples of a story share its sections.
    """
    for questions, stories in _folders(source, path, subset):
        for file in sorted(questions.glob("*-questions.csv")):
            story = file.name.removesuffix("-questions.csv")
            try:
                sections = _sections(stories / f"{story}-story.csv", story.replace("-", " "))
                for number, item in enumerate(csv_rows(file), start=1):
                    if isinstance(item, Rejected):
                        yield item
                        continue
                    more = {"story": story, "sections": sections, "number": number}
                    yield item[0], {**item[1], **more}
            except InputError as error:
                # One story is broken; the others are read.
                yield Rejected(str(file), f"its questions are left out from here on: {error}")


def _folders(source: Source, path: Path, subset: str) -> list[tuple[Path, Path]]:
    """The folders of questions and of stories."""
    if any((path / "questions").glob("*.csv")):
        return [(path / "questions", path / "section-stories")]
    root = path if (path / "questions").is_dir() else path / "data-by-train-split"
    pairs = [
        (root / "questions" / split, root / "section-stories" / split)
        for split in ([subset] if subset else source.subsets)
    ]
    if not any(questions.is_dir() for questions, _ in pairs):
        raise InputError(f"{path}: must be {source.layout}")
    return [pair for pair in pairs if pair[0].is_dir()]


def _sections(file: Path, title: str) -> dict[str, str]:
    """The sections of a story by their numbers, in order, each under the story's title."""
    sections: dict[str, str] = {}
    for item in csv_rows(file):
        if isinstance(item, Rejected):
            raise InputError(f"{item.where}: {item.why}")
        where, row = item
        try:
            number = text(row, "section")
            sections[number] = f"{title}, section {number}\n{text(row, 'text')}"
        except KeyError as error:
            raise InputError(f"{where}: {error.args[0]} is missing") from None
        except RowError as error:
            raise InputError(f"{where}: {error}") from None
    return sections


def fairytaleqa(row: Row) -> Iterator[Example]:
    """The documents are the sections of the story."""
    sections, story = row["sections"], row["story"]
    answers = tuple(dict.fromkeys(filter(None, (row[f"answer{n}"].strip() for n in range(1, 7)))))
    if not answers:
        raise RowError("it has no answer")
    places = {number: at for at, number in enumerate(sections)}
    asked_of = [number.strip() for number in text(row, "cor_section").split(",")]
    unknown = [number for number in asked_of if number not in places]
    if unknown:
        raise RowError(f"cor_section={row['cor_section']}: the story has no section {unknown[0]}")
    yield Example(
        # Some stories have a question_id twice.
        id=f"{story}-{row['number']}",
        source="fairytaleqa",
        question=text(row, "question"),
        documents=tuple(sections.values()),
        answers=answers,
        kind=_kind(answers, row["ex-or-im1"].strip()),
        gold_documents=tuple(sorted({places[number] for number in asked_of})),
        group=f"fairytaleqa:{story}",
        metadata={
            "question_id": text(row, "question_id"),
            "story": story,
            "sections": asked_of,
            "about": row["attribute1"],
            "explicit": row["ex-or-im1"].strip() == "explicit",
            "language": "en",
        },
    )


def _kind(answers: tuple[str, ...], form: str) -> str:
    if form not in ("explicit", "implicit"):
        raise RowError(f"ex-or-im1={form!r} must be explicit or implicit")
    short = all(len(answer.split()) <= SHORT for answer in answers)
    return "extractive" if form == "explicit" and short else "summary"
