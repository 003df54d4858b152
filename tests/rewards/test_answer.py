"""Which part of a response is its final answer, and by which rule."""

from __future__ import annotations

import pytest

from qwenlong.rewards.text.answer import LINE_LIMIT, RULES, announces, asks, extract, without_copula


def found(final: str) -> str | None:
    return extract(f"I think.</think>\n{final}").answer


@pytest.mark.parametrize(
    "final",
    [
        "Therefore, the answer is Paris",
        "therefore the answer is Paris.",
        "**Therefore, the answer is Paris.**",
        "**Therefore, the answer is:** Paris",
        "Therefore, **the answer is** Paris.",
        "**Therefore, the answer is**: Paris.\r\n\nHope that helps!",
        "Therefore, the answer is London.\nWait. Therefore, the answer is Paris.",
        "Therefore, the answer is London. No: therefore, the answer is Paris.",
        "\\boxed{London} and yet\nTherefore, the answer is Paris.\n\\boxed{Rome}\nAnswer: Rome",
        "**Therefore, the answer is:**\n\n\\boxed{Paris}",
        "So it is $\\boxed{Paris}$.",
        "Answer: Rome\n\\boxed{London}, rather \\boxed{Paris}",
        "\\boxed{\\boxed{Paris}}",
        "\\boxed{\\text{Paris}}",
        "Answer: London\nAnswer: Paris.",
        "**Final Answer:** Paris",
        "**Answer**: Paris",
        "The final answer is: Paris",
        "So the final answer is: **Paris**.",
        "My answer: Paris",
        "答案：Paris",
        "最终答案：Paris",
        "答え：Paris",
        "정답: Paris",
        "الإجابة: Paris",
        "\u200fالجواب: Paris",
        "Respuesta: Paris",
        "Antwort: Paris",
        "उत्तर: Paris",
        # The last line.
        "Paris",
        "Paris.",
        "**Paris**",
        "It is in France.\nParis",
        "It is in France.\n\nParis\n\n",
        "As the documents say:\n\n  Paris  ",
        "- London is in England.\n- Lyon is no capital.\n\nParis",
        "**Final Answer**\nParis",
        "## Answer\nParis",
        "Therefore, the answer is:\n\nParis",
        "The answer is Paris.",
        "So, the answer is Paris.",
        "Hence the correct answer is **Paris**.",
        "Thus, the answer to the question is Paris.",
        "因此，答案是Paris。",
        "所以答案为Paris",
        "したがって、答えはParisです。",
        "따라서 정답은 Paris입니다.",
        "Por lo tanto, la respuesta es Paris.",
        "Daher lautet die Antwort Paris.",
        "Die Antwort ist Paris.",
        "لذلك الإجابة هي Paris",
        "इसलिए, उत्तर Paris है।",
        # Where the line that states the answer is not the last.
        "The answer is Paris.\n\nThis is because the government sits there.",
        "**Answer**\n\nParis\n\n**Explanation**\nThe second document says so.",
        "Therefore, the answer is:\n\n**Paris**\n\nThe documents say it.",
        "答えはParisです。\n\n二つ目の文書にあります。",
        "उत्तर Paris है।\n\nदूसरे दस्तावेज़ में लिखा है।",
        "Based on the first document, the answer is Paris.",
        "根据文档2，答案是Paris。",
        "答：Paris",
        "【答案】Paris",
        "Therefore, the final answer is Paris. \n\nI hope that helps.",
        "***Answer: Paris***",
        "\\boxed{\\textrm{Paris}}",
        # Tags.
        "<answer>Paris</answer>",
        "<answer>\nParis\n</answer>\n\nI hope that helps.",
        "<answer>Therefore, the answer is Paris.</answer>",
        "<answer>London</answer> No: <answer>Paris</answer>",
        "Therefore, the answer is Paris.</answer>",
        "\\(\\text{Paris}\\)",
        "- Paris",
        "* Paris",
        "```\nParis\n```",
        "London is wrong.\n\nParis",
        "So it is Paris.\n\nParis",
        "**Conclusion**\n\nParis",
        "Let me see.\n\nParis",
        "Answer: London\n\nActually, the answer is Paris.",
        "Wait, let me check.\nTherefore, the answer is Paris.",
    ],
)
def test_reads_the_final_answer(final: str) -> None:
    assert found(final) == "Paris"


@pytest.mark.parametrize(
    "final",
    [
        "",
        "The answer isn't \\boxed{Paris",
        "Therefore, the answer is not known.\n\\boxed{Paris}",
        "Therefore, the answer is Paris.\nTherefore, the answer is London.",
        "\\boxed{London, \\boxed{Paris}}",
        "A wrong answer: Paris",
        "Therefore, the answer isParis.",
        "The answer is London.\n\nParis",
        "Answer:\nParis\nLondon",
        "Answer:\n\nParis\n\nLondon\n\nRome",
        "Answer:\n- Paris",
        "Some say that the answer is Paris.",
        "<answer>London</answer>\nTherefore, the answer is Paris.",
        # Last lines that are not plain, not short, or in a list.
        "> Paris",
        "| Paris |",
        "# Paris",
        "- London\n- Paris",
        "```\nLondon\nParis\n```",
        "London\nParis",
        # Candidates in lines of their own, and what is taken back below.
        "London.\nParis.",
        "London.\n\nParis",
        "It is London.\n\nParis",
        "Maybe it is the capital of the United Kingdom.\n\nParis",
        "**London**\n\n**Paris**",
        "Therefore, the answer is Paris.\n\nActually, the answer is London.",
        "\\boxed{Paris}\n\nWait, that is wrong.",
        "Answer: Paris\n\nOr London.",
        "London.\nRome\nParis",
        "1. London\n\n2. Paris",
        "Paris\n\nI hope that helps!",
        "The answer is not Paris.",
        "So the answer is Paris or London.",
        "Paris" + " " * 300 + "Paris",
    ],
)
def test_no_or_another_final_answer(final: str) -> None:
    assert found(final) != "Paris"


def test_rules_in_their_order() -> None:
    every = "Answer: C\n\\boxed{B}\nTherefore, the answer is A"
    assert extract(every, thinking=False).answer == "A"
    assert extract(every, thinking=False).how == "Therefore, the answer is …"
    assert extract("Answer: C\n\\boxed{B}", thinking=False).answer == "B"
    assert extract("Answer: C", thinking=False).answer == "C"
    assert extract("Answer: C", thinking=False).how == "Answer: …"
    assert extract("No.\n\nD", thinking=False).answer == "D"
    assert extract("No.\n\nD", thinking=False).how == "the last line"
    assert tuple(RULES)[3] == "the last line"
    assert extract("\\boxed{90\\%}", thinking=False).answer == "90%"
    assert extract("\\boxed{5\\text{ km}}", thinking=False).answer == "5 km"
    assert extract("\\(a\\) and \\(b\\)", thinking=False).answer == "\\(a\\) and \\(b\\)"
    assert extract("\\\\boxed{A} or \\\\boxed{B}", thinking=False).answer == "B"
    assert extract("\\boxed{a_{1} \\} b}", thinking=False).answer == "a_{1} \\} b"


def test_the_last_line_is_short() -> None:
    assert extract("a" * LINE_LIMIT, thinking=False).answer
    assert extract("a" * (LINE_LIMIT + 1), thinking=False).answer is None


CLAIM = "Therefore, the answer is Paris."


@pytest.mark.parametrize(
    ("response", "thinking", "right"),
    [
        (f"<think>Well.</think>{CLAIM}", True, True),
        (f"Well.</think>\n\n{CLAIM}", True, True),
        (f"<think></think>{CLAIM}", False, True),
        (CLAIM, False, True),
        (CLAIM, True, False),
        (f"<think>{CLAIM}", True, False),
        (f"<think>{CLAIM}", False, False),
        (f"<think>{CLAIM}</think>", True, False),
        (f"<think>{CLAIM}</think>I do not know.", False, False),
        (f"{CLAIM}</think>one more</think>nothing", True, False),
        (f"Well.</think><think>{CLAIM}", True, False),
    ],
)
def test_only_what_follows_the_thinking_counts(response: str, thinking: bool, right: bool) -> None:
    assert (extract(response, thinking).answer == "Paris") == right


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("Therefore, the answer is:", "Therefore, the answer is …"),
        ("Both agree. Therefore, the answers are", "Therefore, the answer is …"),
        ("## Final Answer", "Answer: …"),
        ("**Answer:**", "Answer: …"),
        ("答案如下：", "Answer: …"),
        ("Answer: Paris", ""),
        ("What is the answer", ""),
        ("x" * 1000 + " answer:", ""),
    ],
)
def test_a_marker_with_nothing_behind_it_announces(line: str, rule: str) -> None:
    assert announces(line) == rule


def test_questions_and_copulas() -> None:
    assert all(map(asks, ("Paris?", "“Paris？”", "**باريس؟**", "Paris?.")))
    assert not any(map(asks, ("Paris", "", "Who? Paris", "?" + " " * 30 + "Paris")))
    assert [without_copula(said) for said in ("パリです", "파리입니다.", "पेरिस है।", "Paris")] == [
        "パリ", "파리", "पेरिस", "Paris"
    ]  # fmt: skip
