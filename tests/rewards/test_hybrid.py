"""Rule and judge together: who decides, who is asked, and what is written down."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from qwenlong.config import RewardConfig
from qwenlong.rewards import hybrid, registry
from qwenlong.rewards.hybrid import Rewards, UnjudgedError
from qwenlong.rewards.judge.judge import Verdict
from qwenlong.rewards.judge.prompt import Case
from qwenlong.rewards.kind import Kind
from qwenlong.types import Example, InputError, Score


def of_rule(rule: str | None = None, combine: str = "rule") -> RewardConfig:
    return RewardConfig("", rule, combine)


def example(source: str = "docs", kind: str = "extractive", name: str = "e1") -> Example:
    return Example(name, source, "Who?", (), ("Ada", "Lovelace"), kind=kind)


def said(answer: str) -> str:
    return f"<think>Babbage?</think>Therefore, the answer is {answer}."


class Fake:
    """A judge by hand: what it says of an answer, and what it was asked."""

    def __init__(self, **says: float | None) -> None:
        self.says = says
        self.asked: list[Case] = []

    def verdicts(self, cases: Sequence[Case]) -> list[Verdict]:
        self.asked += cases
        values = [self.says.get(case.answer, 0.0) for case in cases]
        return [Verdict(value, f"it says {value}") for value in values]


def scored(rewards: Rewards, example: Example, response: str) -> Score:
    return hybrid.score_all(rewards, [(example, response)])[0]


def rewards(judge: Any, combine: str = "max", policy: str = "stop", **route: Any) -> Rewards:
    return Rewards({"*": of_rule(combine=combine, **route)}, judge, policy)


@pytest.mark.parametrize(
    ("combine", "values"),
    # Rule and judge: both wrong, judge alone, rule alone, both right.
    [
        ("rule", (0.0, 0.0, 1.0, 1.0)),
        ("judge", (0.0, 1.0, 0.0, 1.0)),
        ("max", (0.0, 1.0, 1.0, 1.0)),
        ("min", (0.0, 0.0, 0.0, 1.0)),
        ("mean", (0.0, 0.5, 0.5, 1.0)),
    ],
)
def test_combined_by_name(combine: str, values: tuple[float, ...]) -> None:
    judge = Fake(Countess=1.0, Ada=0.0, Lovelace=1.0)
    answered = [(example(), said(answer)) for answer in ("Bob", "Countess", "Ada", "Lovelace")]
    scores = hybrid.score_all(rewards(judge, combine), answered)
    assert tuple(score.value for score in scores) == values
    for score in scores:
        word = {0.0: "wrong:", 0.5: "partly:", 1.0: "right:"}[score.value]
        assert score.breakdown["why"].startswith(word)
        assert {"extracted", "rule", "compared_with", "why"} <= set(score.breakdown)
        assert score.verifier == (
            "extractive" if combine == "rule" else f"{combine}(extractive, judge)"
        )


def test_every_part_is_in_the_breakdown() -> None:
    [score] = hybrid.score_all(rewards(Fake(Countess=1.0)), [(example(), said("Countess"))])
    assert (score.value, score.verifier) == (1.0, "max(extractive, judge)")
    rule = registry.score(example(), said("Countess"))
    wrong = rule.breakdown["why"]
    # All that the rule says, its own verdict under another name.
    assert score.breakdown == {
        **rule.breakdown,
        "why": f"right: max of rule ({wrong}) and judge (it says 1.0)",
        "rule_score": "0",
        "rule_why": wrong,
        "judge_score": "1",
        "judge_why": "it says 1.0",
    }


@pytest.mark.parametrize(
    ("combine", "answer", "asked"),
    [
        ("rule", "Bob", False),
        ("rule", "Ada", False),
        ("max", "Bob", True),
        ("max", "Ada", False),
        ("min", "Bob", False),
        ("min", "Ada", True),
        ("mean", "Bob", True),
        ("mean", "Ada", True),
        ("judge", "Bob", True),
        ("judge", "Ada", True),
    ],
)
def test_the_judge_is_asked_where_it_can_change_something(
    combine: str, answer: str, asked: bool
) -> None:
    judge = Fake()
    score = scored(rewards(judge, combine), example(), said(answer))
    # Shown is the final answer, nothing else of the response.
    assert judge.asked == ([Case("Who?", ("Ada", "Lovelace"), answer)] if asked else [])
    if not asked and combine != "rule":
        assert score.breakdown["judge_score"] == "not asked: the rule decides"


@pytest.mark.parametrize("combine", ["judge", "max", "mean"])
def test_without_an_answer_there_is_nothing_to_judge(combine: str) -> None:
    judge = Fake()
    score = scored(rewards(judge, combine), example(), "I shall never close my thinking")
    assert (score.value, judge.asked) == (0.0, [])
    assert score.breakdown["judge_score"] == "0"
    assert score.breakdown["judge_why"].startswith("no answer:")


def test_all_are_asked_in_one_batch_and_keep_their_places() -> None:
    judge = Fake(a=1.0, b=0.0, c=1.0)
    answers = ["a", "Ada", "b", "c", "Lovelace", "a"]
    scores = hybrid.score_all(rewards(judge), [(example(), said(answer)) for answer in answers])
    assert [score.value for score in scores] == [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    assert [case.answer for case in judge.asked] == ["a", "b", "c", "a"]
    assert hybrid.score_all(rewards(judge), []) == []


@pytest.mark.parametrize("kind", ["extractive", "choice", "official_choice", "numeric"])
def test_a_judge_is_shown_the_question_behind_a_chain_of_keys(kind: str) -> None:
    hidden = Example(
        "e1", "docs", "Begin with key 0f and follow the chain.", (), ("B",), kind,
        metadata={"hidden_question": "Who?", "options": ["Ada", "Bob"]},
    )  # fmt: skip
    show = registry.find(kind).judge
    assert show is not None and show.case(hidden).question.startswith("Who?")
    assert "chain" not in show.case(hidden).question


def test_unjudged_stop() -> None:
    with pytest.raises(UnjudgedError, match=r"example 'e1' of source 'docs'.*it says None"):
        scored(rewards(Fake(Bob=None), "max", "stop"), example(), said("Bob"))


@pytest.mark.parametrize("combine", ["judge", "max", "mean"])
@pytest.mark.parametrize(("answer", "value"), [("Bob", 0.0), ("Ada", 1.0)])
def test_unjudged_rule(combine: str, answer: str, value: float) -> None:
    judge = Fake(Bob=None, Ada=None)
    score = scored(rewards(judge, combine, "rule"), example(), said(answer))
    assert score.value == value
    if combine == "max" and value:
        return  # The judge was not asked.
    assert score.breakdown["unjudged"] == "rule"
    assert score.breakdown["judge_score"] == "unjudged"
    assert (
        "the rule alone, because the judge gave no verdict: it says None" in score.breakdown["why"]
    )
    assert score.breakdown["why"].startswith(("right:", "wrong:"))
    assert score.judged


def test_unjudged_drop_is_no_number() -> None:
    score = scored(rewards(Fake(Bob=None), "max", "drop"), example(), said("Bob"))
    assert math.isnan(score.value) and not score.judged
    assert score.breakdown["unjudged"] == "drop"
    assert score.breakdown["rule_score"] == "0"


# Routing.


def test_each_source_has_its_route() -> None:
    judge = Fake(Bob=1.0)
    routed = Rewards(
        {
            "plain": of_rule(),
            "hard": of_rule(combine="judge"),
            "*": of_rule("official_docqa", "max"),
        },
        judge,  # type: ignore[arg-type]
    )
    sources = ["plain", "hard", "another", "yet another"]
    scores = hybrid.score_all(routed, [(example(source), said("Bob")) for source in sources])
    assert [score.verifier for score in scores] == [
        "extractive",
        "judge(extractive, judge)",
        "max(official_docqa, judge)",
        "max(official_docqa, judge)",
    ]
    assert [score.value for score in scores] == [0.0, 1.0, 1.0, 1.0]


def test_without_routes_the_examples_own_kind_decides() -> None:
    assert scored(Rewards(), example(), said("Ada")).verifier == "extractive"
    own = example(kind="official_docqa")
    assert scored(Rewards(), own, said("Ada")).verifier == "official_docqa"


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A module ``mine`` that can be imported."""
    module = SimpleNamespace(
        score=lambda example, response, thinking: Score(0.25, "mine", {"why": "partly: mine"}),
        number=lambda example, response, thinking: 0.5,
        boolean=lambda example, response, thinking: "Ada" in response and thinking,
        too_much=lambda example, response, thinking: 1.5,
        nan=lambda example, response, thinking: math.nan,
        nothing=lambda example, response, thinking: None,
        inner=SimpleNamespace(score=lambda example, response, thinking: 1),
        text="score",
    )
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


@pytest.mark.parametrize(
    ("name", "value"), [("score", 0.25), ("number", 0.5), ("boolean", 1.0), ("inner.score", 1.0)]
)
def test_a_rule_may_be_any_callable(name: str, value: float, mine: SimpleNamespace) -> None:
    routed = Rewards({"docs": of_rule(f"mine:{name}")})
    hybrid.check(routed, [example(kind="a kind that only mine knows")])
    assert scored(routed, example(), said("Ada")).value == value
    combined = scored(
        Rewards({"docs": of_rule(f"mine:{name}", "mean")}, Fake(Ada=1.0)),  # type: ignore[arg-type]
        example(),
        said("Ada"),
    )
    assert combined.value == (value + 1) / 2
    assert combined.breakdown["rule_score"] == f"{value:g}"


@pytest.mark.parametrize("name", ["too_much", "nan", "nothing"])
def test_a_callable_that_gives_no_score_is_named(name: str, mine: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=rf"rule=mine:{name} gave .* 'e1': must be a Score or"):
        scored(Rewards({"*": of_rule(f"mine:{name}")}), example(), said("Ada"))


BAD: dict[str, tuple[Rewards, str]] = {
    "kind": (Rewards({"docs": of_rule("essay")}), "rule=essay: must be module:callable or one of"),
    "module": (Rewards({"docs": of_rule("no_such:f")}), "rule=no_such:f: cannot be imported"),
    "empty module": (Rewards({"docs": of_rule(":f")}), "rule=:f: cannot be imported"),
    "attribute": (Rewards({"docs": of_rule("mine:absent")}), "cannot be imported"),
    "no attribute": (Rewards({"docs": of_rule("mine:")}), "cannot be imported"),
    "text": (
        Rewards({"docs": of_rule("mine:text")}),
        "rule=mine:text: cannot be called; it is str",
    ),
    "source": (
        Rewards({"docks": of_rule(), "*": of_rule()}),
        "source=docks: no example is of that source; there are docs",
    ),
    "gold": (
        Rewards({"docs": of_rule("official_docmath")}),
        "example 'e1': answers=['Ada']: must be a number in plain digits",
    ),
}


def checked(rewards: Rewards) -> None:
    hybrid.check_sources(rewards, {"docs"})
    for reward in rewards.by_source.values():
        hybrid.load_rule(reward.rule or "extractive")
    hybrid.check(rewards, [example()])


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_found_before_a_run(what: str, mine: SimpleNamespace) -> None:
    bad, told = BAD[what]
    with pytest.raises(InputError) as error:
        checked(bad)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_what_is_right_passes(mine: SimpleNamespace) -> None:
    for rule in (None, "extractive", "mine:score"):
        checked(Rewards({"docs": of_rule(rule)}))


def test_kinds_are_looked_up_as_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = lambda example, response, thinking=True: Score(0.5, "new")  # noqa: E731
    monkeypatch.setitem(registry.kinds(), "new", Kind("new", mine))
    assert hybrid.load_rule("new") is mine


def test_a_breakdown_is_of_texts() -> None:
    answered = [(example(), said("Bob")), (example(), said("Ada"))]
    for score in hybrid.score_all(rewards(Fake(Bob=None), "max", "rule"), answered):
        assert all(isinstance(value, str) for value in score.breakdown.values())


# What the judge is shown, by kind.


class Lenient:
    """Finds any of the gold answers anywhere in the candidate; asks nobody else."""

    def __init__(self) -> None:
        self.asked: list[Case] = []

    def verdicts(self, cases: Sequence[Case]) -> list[Verdict]:
        self.asked += cases
        return [
            Verdict(float(any(gold in case.answer for gold in case.golds)), "so it reads")
            for case in cases
        ]


def of_kind(kind: str, *golds: str, question: str = "Which?", **metadata: Any) -> Example:
    return Example("e1", "docs", question, (), golds, kind=kind, metadata=metadata)


LONG = "the ninth of " + "very " * 60 + "many"
CAPITALS = {"A": "London", "B": "Paris", "C": "Rome"}
ASKED: dict[str, tuple[Example, str, Case]] = {
    "aliases": (of_kind("extractive", "UN", "United Nations"), "the U.N.",
                Case("Which?", ("UN", "United Nations"), "the U.N.")),
    "the whole answer": (of_kind("extractive", "x" * 99), LONG,
                         Case("Which?", ("x" * 99,), LONG)),
    "a scale": (of_kind("numeric", "35", scale="million"), "35",
                Case("Which?", ("35 million",), "35")),
    "a scale of its own": (of_kind("numeric", "12.5%", scale="percent"), "12.5 million",
                           Case("Which?", ("12.5%",), "12.5 million")),
    "a percentage": (of_kind("numeric", "12.5", scale="percent"), "12.5 million",
                     Case("Which?", ("12.5 percent",), "12.5 million")),
    "a fraction": (of_kind("numeric", "0.125", scale="fraction"), "0.125%",
                   Case("Which?", ("0.125, as a fraction and not in percent",), "0.125%")),
    "options": (of_kind("choice", "B", options=CAPITALS), "the French one",
                Case("Which?\nA. London\nB. Paris\nC. Rome", ("B. Paris",), "the French one",
                     "A. London")),
    "options in a list": (of_kind("choice", "London", options=["London", "Paris"]), "B",
                          Case("Which?\nA. London\nB. Paris", ("A. London",), "B", "B. Paris")),
    "letters alone": (of_kind("choice", "B"), "A", Case("Which?", ("B",), "A")),
    "yes": (of_kind("yes_no", "yes"), "It is so", Case("Which?", ("yes",), "It is so")),
    "a date": (of_kind("date", "2021-03-04"), "Ash Thursday",
               Case("Which?", ("2021-03-04",), "Ash Thursday")),
    "an official answer": (of_kind("official_docqa", "Rome"), "Paris, not\nLondon",
                           Case("Which?", ("Rome",), "Paris, not\nLondon")),
}  # fmt: skip


@pytest.mark.parametrize("what", ASKED)
def test_the_judge_is_shown_what_the_kind_needs(what: str) -> None:
    asked, answer, case = ASKED[what]
    judge = Fake()
    scored(rewards(judge, "judge"), asked, said(answer))
    assert judge.asked == [case]


def test_of_a_summary_the_judge_is_shown_every_line() -> None:
    judge, summary = Fake(), "It rained.\n\nThen the sun came out. All were glad."
    gold = of_kind("summary", "Rain, then sun.")
    scored(rewards(judge), gold, f"<think></think>\n{summary}\n")
    assert judge.asked == [Case("Which?", ("Rain, then sun.",), summary)]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (of_kind("numeric", "35", scale="million"), "35"),
        (of_kind("numeric", "12.5", scale="percent"), "12.5 million"),
        (of_kind("choice", "B", options=CAPITALS), "A"),
    ],
)
def test_a_judge_that_finds_the_gold_answer_pays_for_no_part_of_it(
    asked: Example, answer: str
) -> None:
    assert scored(rewards(Lenient()), asked, said(answer)).value == 0.0


@pytest.mark.parametrize("kind", ["list", "order", "citation", "format"])
@pytest.mark.parametrize("combine", ["judge", "max", "min", "mean"])
def test_a_judge_cannot_replace_these_kinds(combine: str, kind: str) -> None:
    asked = of_kind(kind, "a", "b", gold_citations=["1"], min_characters=1)
    for route in ({"*": of_rule(combine=combine)}, {"docs": of_rule(kind, combine)}):
        with pytest.raises(InputError, match=rf"source=docs and kind={kind}: .*combine={combine}"):
            hybrid.check(Rewards(route, Fake()), [asked])  # type: ignore[arg-type]
    hybrid.check(Rewards({"*": of_rule(combine=combine), "docs": of_rule()}), [asked])


def test_a_callable_does_not_make_a_list_one_to_judge(mine: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="kind=list"):
        hybrid.check(Rewards({"*": of_rule("mine:score", "max")}), [of_kind("list", "a", "b")])


def test_gold_answers_that_a_judge_is_to_be_shown_are_read_before_a_run(
    mine: SimpleNamespace,
) -> None:
    odd = of_kind("choice", "D", options=CAPITALS)
    hybrid.check(Rewards({"*": of_rule("mine:score")}), [odd])
    with pytest.raises(InputError, match="must name exactly one of the options"):
        hybrid.check(Rewards({"*": of_rule("mine:score", "max")}), [odd])


@pytest.mark.parametrize("policy", ["stop", "rule", "drop"])
def test_an_answer_that_only_the_rule_finds_is_unjudged_and_no_0(
    policy: str, mine: SimpleNamespace
) -> None:
    judge, response = Fake(), "<think></think>\n| Ada |\n"
    given = rewards(judge, "judge", policy, rule="mine:score")
    if policy == "stop":
        with pytest.raises(UnjudgedError, match="can be shown nothing"):
            scored(given, example(), response)
    else:
        score = scored(given, example(), response)
        assert score.breakdown["unjudged"] == policy
        assert score.judged == (policy == "rule") and score.value != 0.0
    assert judge.asked == []


@pytest.mark.parametrize("combine", ["judge", "max", "min", "mean"])
def test_a_kind_that_says_nothing_of_a_judge_is_shown_to_none(
    combine: str, mine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Kind("silent", lambda example, response, thinking: Score(0.0, "silent"))
    monkeypatch.setitem(registry.kinds(), "silent", silent)
    for kind in ("silent", "a kind that only mine knows"):
        with pytest.raises(InputError, match=rf"kind={kind}: .*a judge cannot replace"):
            hybrid.check(Rewards({"*": of_rule("mine:score", combine)}), [of_kind(kind, "a")])


# A function of one's own that combines.


@pytest.fixture
def blend(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    module = SimpleNamespace(
        mean=lambda example, response, rule, judge: (rule.value + (judge or 0.0)) / 2,
        length=lambda example, response, rule, judge: rule.value * (len(response) < 60),
        too_much=lambda example, response, rule, judge: 1.5,
    )
    monkeypatch.setitem(sys.modules, "blend", module)
    return module


@pytest.mark.parametrize(
    ("answer", "verdict", "value"), [("Bob", 1.0, 0.5), ("Ada", 1.0, 1.0), ("Ada", None, 0.5)]
)
def test_a_function_combines_rule_and_judge(
    answer: str, verdict: float | None, value: float, blend: SimpleNamespace
) -> None:
    score = scored(rewards(Fake(Bob=verdict, Ada=verdict), "blend:mean"), example(), said(answer))
    assert (score.value, score.verifier) == (value, "blend:mean(extractive, judge)")
    assert score.breakdown["judge_score"] == ("no verdict" if verdict is None else "1")
    assert ("unjudged" in score.breakdown) == (verdict is None)
    assert score.breakdown["rule_score"] == f"{float(answer == 'Ada'):g}"


def test_a_function_combines_without_a_judge_and_for_every_kind(blend: SimpleNamespace) -> None:
    alone = Rewards({"*": of_rule(combine="blend:length")})
    order = of_kind("order", "a", "b")
    hybrid.check(alone, [example(), order])
    assert scored(alone, example(), said("Ada")).value == 1.0
    assert scored(alone, example(), said("Ada") + " " * 20).value == 0.0
    judge = Fake(b=1.0)
    assert scored(rewards(judge, "blend:length"), order, said("a; b")).value == 1.0
    assert judge.asked == []


def test_gold_that_a_judge_would_be_shown_is_read_before_the_run(
    blend: SimpleNamespace, mine: SimpleNamespace
) -> None:
    unreadable = of_kind("choice", "none of them")
    with pytest.raises(InputError, match="example 'e1'"):
        hybrid.check(Rewards({"*": of_rule("mine:score", "blend:mean")}), [unreadable])


def test_a_function_that_gives_no_reward_is_named(blend: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"combine=blend:too_much gave 1.5 for example 'e1'"):
        scored(Rewards({"*": of_rule(combine="blend:too_much")}), example(), said("Ada"))


# The control's gold answer.


def decoys(*examples: Example, combine: str = "judge") -> list[str]:
    judge = Fake()
    hybrid.score_all(rewards(judge, combine), [(each, said("Bob")) for each in examples])
    return [case.decoy for case in judge.asked]


def test_the_control_is_another_examples_gold_answer() -> None:
    ada, eva = of_kind("extractive", "Ada"), of_kind("extractive", "Eva", "Eve")
    assert decoys(ada, eva, ada) == ["Eva", "Ada", "Eva"]
    assert decoys(ada, ada) == ["", ""]


def test_what_is_right_here_too_is_no_control() -> None:
    assert decoys(of_kind("extractive", "1954"), of_kind("extractive", "in 1954")) == ["", ""]
    assert decoys(of_kind("numeric", "32.4"), of_kind("numeric", "32.40")) == ["", ""]
    assert decoys(of_kind("yes_no", "yes"), of_kind("yes_no", "no")) == ["no", "yes"]


def test_another_source_or_kind_gives_no_control() -> None:
    elsewhere = Example("e2", "web", "Which?", (), ("Eva",))
    assert decoys(of_kind("extractive", "Ada"), elsewhere, of_kind("date", "2021")) == [""] * 3
