"""What the yes/no verifier reads as which label, and what it reads as none."""

from __future__ import annotations

import time
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.rewards.kinds.yes_no import _LABELS, LIMIT, check, read, score
from qwenlong.types import Example


def example(*answers: str) -> Example:
    return Example("1", "test", "Is it?", ("A document.",), answers, kind="yes_no")


def test_every_form_is_read_alone_and_refused_when_denied() -> None:
    for form, label in _LABELS.items():
        assert read(form)[0] == label, form
        assert read(f"{form}.")[0] == label, form
        assert read(f"not {form}")[0] is None, form
        assert read(f"{form}?")[0] is None, form


def test_no_form_has_become_a_number() -> None:
    assert not [form for form in _LABELS if any(character.isdigit() for character in form)]


def test_two_labels_are_none() -> None:
    for first, second in product(_LABELS, ("yes", "no", "unanswerable")):
        if {_LABELS[first], second} not in ({"yes", "true"}, {"no", "false"}, {second}):
            for mark in (", ", " and ", "/", ". ", " or ", "; "):
                assert read(first + mark + second)[0] is None, (first, mark, second)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("Yes, as no other film was made", "yes"),
        ("Yes. Both were American. They were born there.", "yes"),
        ("yes they are", "yes"),
        ("Yes, both are American, not British", "yes"),
        ("No, they are both American", "no"),
        ("No, not at all", "no"),
        ("No, never", "no"),
        ("Based on the documents, yes", "yes"),
        ("The answer is no", "no"),
        ("According to the text, the question cannot be answered.", "unanswerable"),
        ("Neither is dead, so yes.", "yes"),
        ("No information is given", "unanswerable"),
        ("The information is insufficient", "unanswerable"),
        ("It is true", "true"),
        ("根据文档，无法回答。", "unanswerable"),
        ("No. 5", None),
        ("No one", None),
        ("No evidence", None),
        ("Yes, it is not", None),
        ("No, it was.", None),
        ("Yes, but it is unclear", None),
        ("Yes, depending on the year", None),
        ("so", None),
        ("Is it yes", None),
        ("是否", None),
        ("対", None),
    ],
)
def test_reads(answer: str, label: str | None) -> None:
    assert read(answer)[0] == label


def test_breakdown_says_why() -> None:
    right = score(example("yes"), "</think>Therefore, the answer is Yes, both are.")
    assert right.value == 1.0
    assert right.verifier == "yes_no"
    assert right.breakdown == {
        "extracted": "Yes, both are",
        "rule": "Therefore, the answer is …",
        "compared_with": "yes",
        "why": "right: the answer says yes, the gold answer yes",
    }
    wrong = score(example("no"), "</think>Answer: yes")
    assert wrong.breakdown["why"] == "wrong: the answer says yes, the gold answer no"
    both = score(example("no"), "</think>Answer: no, yes")
    assert both.breakdown["why"].startswith("wrong: the answer says no and takes it back")
    assert score(example("no"), "no").breakdown["why"].startswith("no answer:")


@pytest.mark.parametrize("answers", [(), ("Paris",), ("yes", "no"), ("",), ("yes", "true")])
def test_check_refuses_gold_that_is_no_label(answers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"answers=.*: must all be forms of one of"):
        check(example(*answers))


@pytest.mark.parametrize(
    "answers", [("yes",), ("Yes.", "是"), ("Unanswerable", "信息不足"), ("False",)]
)
def test_check_takes_forms_of_one_label(answers: tuple[str, ...]) -> None:
    check(example(*answers))


PIECES = st.sampled_from(
    "yes|no|unanswerable|not |, |. |是|不是|، |نعم|so |because |if |?|\n|*|'|\ud800|\x00".split("|")
)


@settings(max_examples=500)
@given(st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=12).map("".join)))
def test_any_answer_has_one_verdict(answer: str) -> None:
    response = f"</think>Therefore, the answer is {answer}"
    verdicts = [score(example(gold), response) for gold in ("yes", "no", "unanswerable")]
    assert sum(verdict.value for verdict in verdicts) <= 1.0
    assert verdicts[0] == score(example("yes"), response)
    assert all(verdict.value in (0.0, 1.0) for verdict in verdicts)


@pytest.mark.parametrize(
    "piece",
    ["yes, ", "no ", "是", "不 ", "not answer", "based on ", "- ", "'", "\u0301\u0316", "  "],
)
@pytest.mark.parametrize("length", [LIMIT - 100, 200_000])
def test_long_answers_are_quick(piece: str, length: int) -> None:
    for prefix in ["", "yes, because ", "no, ", "so yes "]:
        response = f"</think>Answer: {prefix}{piece * (length // len(piece))}"
        start = time.thread_time()
        score(example("yes"), response)
        assert time.thread_time() - start < 0.25
