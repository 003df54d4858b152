"""The format verifier beyond its cases: properties, time, metadata that is refused."""

from __future__ import annotations

import json
import re
import time
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenlong.rewards.kinds.format import check, score
from qwenlong.types import Example

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "pages": {"type": "array", "uniqueItems": True}},
    "required": ["answer"],
}
EVERY = {
    "thinking": "present",
    "json_schema": SCHEMA,
    "min_characters": 2,
    "max_characters": 100,
    "answer_line": True,
}
PIECES = (
    "</think>", "<think>", "Therefore, the answer is ", "Answer: ", "\\boxed{", "}", "{", "\n",
    " ", "[", "]", '"answer"', ": ", '"x"', ",", "```json\n", "\n```", "NaN", "1e999", "9" * 400,
    "\\u", "\ud800", "\x00", "\u202e", "\u0301", '{"answer": "x"}',
)  # fmt: skip


def example(**metadata: Any) -> Example:
    return Example("1", "test", "Which?", (), (), kind="format", metadata=metadata)


def value(final: str, **metadata: Any) -> float:
    return score(example(**metadata), f"I think.</think>\n{final}").value


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=80))
def test_any_response_gets_one_verdict(response: str) -> None:
    for text in (response, f"x</think>{response}"):
        for gold in (example(**EVERY), example(json_schema={}), example(thinking="absent")):
            verdict = score(gold, text)
            assert verdict == score(gold, text)
            assert verdict.value in (0.0, 1.0)
            assert all(isinstance(value, str) for value in verdict.breakdown.values())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4)
    | st.dictionaries(st.text(max_size=3), children, max_size=4),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=200)
@given(JSON)
def test_any_json_fits_the_schema_of_anything(document: Any) -> None:
    assert value(json.dumps(document), json_schema={}) == 1.0
    assert value(json.dumps(document, ensure_ascii=False), json_schema=True) == 1.0
    assert value(json.dumps(document), json_schema=False) == 0.0


@settings(max_examples=200)
@given(st.lists(JSON, max_size=6))
def test_unique_items(items: list[Any]) -> None:
    assert value(json.dumps([*items, *items[:1]]), json_schema={"uniqueItems": True}) == float(
        not items
    )


@pytest.mark.parametrize(
    "piece", [*PIECES, '{"a":', '[{"a":[', "\\", "```\n", "1,", '\\"', "</think><think>"]
)
@pytest.mark.parametrize("length", [19_000, 200_000])
def test_long_responses_are_quick(piece: str, length: int) -> None:
    for prefix in ["", "Answer: ", "```json\n", '{"answer": "']:
        response = "x</think>" + prefix + piece * max(1, length // len(piece)) + '"}'
        start = time.thread_time()
        score(example(**EVERY), response)
        assert time.thread_time() - start < 0.5


def test_the_largest_json_that_is_read_is_quick() -> None:
    document = {"answer": "x", "pages": [[n, {"k": n}] for n in range(245)]}
    start = time.thread_time()
    assert value(json.dumps(document), json_schema=SCHEMA) == 1.0
    assert time.thread_time() - start < 0.5


def test_breakdown_says_which_part_failed() -> None:
    verdict = score(
        example(**{**EVERY, "max_characters": 20}), 'x</think>Answer: {"answer": "Paris"}'
    )
    assert verdict.verifier == "format"
    assert verdict.value == 0.0
    parts = {part: verdict.breakdown[part] for part in EVERY}
    assert parts == {
        "thinking": "holds",
        "json_schema": "holds",
        "min_characters": "holds",
        "max_characters": "fails: 27 characters, more than 20",
        "answer_line": "holds",
    }
    assert verdict.breakdown["why"] == "wrong: max_characters fails: 27 characters, more than 20"
    right = score(example(**EVERY), 'x</think>Answer: {"answer": "Paris"}')
    assert right.breakdown["why"].startswith("right: thinking, json_schema, min_characters")
    misfit = score(example(json_schema=SCHEMA), 'x</think>{"answer": 75}')
    assert misfit.breakdown["json_schema"] == "fails: $.answer: 75 is not of type 'string'"


def test_the_argument_holds_where_the_metadata_says_nothing() -> None:
    asked = example(max_characters=5)
    assert score(asked, "Paris", thinking=False).value == 1.0
    assert score(asked, "Paris", thinking=True).value == 0.0
    assert score(asked, "<think>Paris", thinking=False).value == 0.0


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({}, "must ask for one of thinking, json_schema"),
        ({"options": ["a"]}, "must ask for one of thinking, json_schema"),
        ({"thinking": "yes"}, "thinking='yes': .*present or absent"),
        ({"thinking": True}, "thinking=True: .*present or absent"),
        ({"max_characters": 0}, "max_characters=0: .*whole number above 0"),
        ({"max_characters": True}, "max_characters=True: .*whole number above 0"),
        ({"min_characters": "5"}, "min_characters='5': .*whole number above 0"),
        ({"min_characters": 6, "max_characters": 5}, "max_characters=5: .*6 or more"),
        ({"answer_line": False}, "answer_line=False: .*true or left out"),
        ({"json_schema": "{}"}, "must be a JSON schema, an object"),
        ({"json_schema": {"type": "objct"}}, "must be a schema of draft 2020-12"),
        ({"json_schema": {"$ref": "https://example.org/s"}}, "must be to a part of itself"),
        ({"json_schema": {"items": {"$ref": "#/$defs/x"}}}, "must be to a part of itself"),
    ],
)
def test_unreadable_metadata(metadata: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check(example(**metadata))


def test_schemas_that_can_be_read() -> None:
    for schema in (SCHEMA, True, {}, {"$ref": "#/$defs/x", "$defs": {"x": {"type": "object"}}}):
        check(example(json_schema=schema))
    check(example(json_schema={"$ref": "#"}))
    # A schema without end fits nothing, and ends.
    assert value("{}", json_schema={"$ref": "#"}) == 0.0


@pytest.mark.parametrize(
    "pattern",
    ["^(a+)+$", "^[a-z]+(-[a-z]+)*$", r"\bab\b", "a|b+c", "[^ab]", "(ab|a)?c{2,3}", "^a*?.{3}$"],
)
def test_patterns_match_as_with_re(pattern: str) -> None:
    random = Random(1)
    for _ in range(500):
        text = "".join(random.choice("abcx-1_ é😀") for _ in range(random.randrange(9)))
        holds = re.search(pattern, text, re.ASCII) is not None
        assert value(json.dumps(text), json_schema={"pattern": pattern}) == holds


@pytest.mark.parametrize(
    ("pattern", "text", "holds"),
    [
        ("^a$", "a\n", False),
        ("a$", "b\na", True),
        ("^a", "b\na", False),
        ("", "", True),
        ("^[\\u4e00-\\u9fff]+$", "巴黎", True),
        ("^\\u0041\\\\u0041$", "A\\u0041", True),
        ("^\\p{L}+$", "Zürich", True),
        ("^\\d+$", "٣", False),
        ("^.$", "\ud800", True),
        ("a\x00b", "xa\x00bx", True),
        ("^\\/(?<name>a|b)[\\s\\S]\\-$", "/a\n-", True),
    ],
)
def test_patterns_match_as_in_ecmascript(pattern: str, text: str, holds: bool) -> None:
    check(example(json_schema={"pattern": pattern}))
    assert value(json.dumps(text), json_schema={"pattern": pattern}) == holds
    assert value(json.dumps(text), json_schema={"not": {"pattern": pattern}}) != holds


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        (r"(a)\1", r"invalid escape sequence: \1;"),
        ("(?=a)b", "invalid perl operator: (?=;"),
        ("(?<!a)b", "invalid perl operator: (?<!;"),
        ("a++", "bad repetition operator: ++;"),
        ("(a{99}){99}", "invalid repetition size: {99};"),
        (r"\p{L}{100}", "pattern too large"),
        ("(?\n)", "invalid perl operator"),
        (r"\ud83d", "invalid escape sequence"),
        ("(" * 5000, "missing )"),
    ],
)
def test_patterns_that_cannot_be_run(
    pattern: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        ValueError, match=f"pattern=.*{re.escape(told)}.*must be one for re2"
    ) as error:
        check(example(json_schema={"items": {"pattern": pattern}}))
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    assert capfd.readouterr() == ("", "")


def test_a_pattern_that_takes_too_long_holds_nowhere() -> None:
    slow = {"pattern": "(a|b)*a(a|b){300}$"}
    text = json.dumps("".join(Random(1).choices("ab", k=19_000)) + "c")
    for schema in (slow, {"not": slow}):
        verdict = score(example(json_schema=schema), text, False)
        assert verdict.value == 0.0 and "takes too long" in verdict.breakdown["why"]


@pytest.mark.parametrize(
    "pattern",
    ["^(a+)+$", "(x+x+)+y", "(a|b)*a(a|b){30}", "a[ab]{200}c", "([ab]*a){20}d", "a.{20}c.{5}$"],
)
def test_patterns_are_quick(pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    texts = ["".join(Random(1).choices("ab", k=19_000)) + "!", "a" * 19_000 + "!", "x" * 19_000]
    check(example(json_schema={"pattern": pattern}))
    for text in [*texts, *(text * 10 for text in texts)]:
        start = time.thread_time()
        verdict = score(example(json_schema={"pattern": pattern}), json.dumps(text), False)
        assert time.thread_time() - start < 0.05
        assert "takes too long" not in verdict.breakdown["why"]
    assert capfd.readouterr() == ("", "")


def test_many_strings_and_patterns_share_one_limit() -> None:
    texts = ["".join(Random(n).choices("ab", k=60)) for n in range(300)]
    schema = {"items": {"allOf": [{"pattern": f"(a|b)*a(a|b){{{n}}}|b|a"} for n in range(20, 40)]}}
    start = time.thread_time()
    assert value(json.dumps(texts), json_schema=schema) == 0.0
    assert time.thread_time() - start < 0.5
